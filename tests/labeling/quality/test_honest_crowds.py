"""Honest people of three kinds, simulated: nobody is ever certain to be a cheat or paused, however quick or badly connected."""

from __future__ import annotations

import numpy as np
import pytest

from labeling.crowd import anatomy, depth
from labeling.crowd.config import DepthConfig
from labeling.quality import suspicion
from labeling.skeletons import LSP_14

PEOPLE, ANSWERS, PICTURES, DELAY_MS = 300, 60, 500, 750


def times(kind: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """When the server took the answers (s), and how long each took by the page's clock (ms)."""
    if kind == 0:  # takes his time
        took = DELAY_MS + rng.gamma(3, 500, ANSWERS)
        return np.cumsum(took) / 1000, took
    if kind == 1:  # decides while waiting, and presses about 200 ms after the buttons open
        took = DELAY_MS + rng.normal(200, 40, ANSWERS).clip(80)
        return np.cumsum(took) / 1000, took
    took = DELAY_MS + rng.gamma(3, 1500, ANSWERS)  # goes through tunnels: three answers arrive at once, a delay apart
    at = np.cumsum(took) / 1000
    for n in range(0, ANSWERS, 3):
        at[n : n + 3] = at[min(n + 2, ANSWERS - 1)] + DELAY_MS / 1000 * np.arange(len(at[n : n + 3]))
    return at, took


@pytest.mark.parametrize("seed", range(5))
def test_no_honest_person_is_certain_to_be_a_cheat(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sigma = anatomy.covariance(LSP_14)
    joints = len(sigma)
    seen = rng.multivariate_normal(np.zeros(joints), sigma, PICTURES) + rng.normal(0, 60, (PICTURES, joints))
    count = PEOPLE * ANSWERS
    who = np.repeat(np.arange(PEOPLE), ANSWERS)
    picture, first = rng.integers(0, PICTURES, count), rng.integers(0, joints, count)
    second = (first + rng.integers(1, joints, count)) % joints
    noise = 250 * np.exp(rng.normal(0, 0.4, PEOPLE))
    closer = seen[picture, first] - seen[picture, second] + rng.normal(0, noise[who]) > 0
    closer ^= rng.random(count) < 0.02
    look = rng.integers(0, 4, count)
    votes = depth.PairVotes(picture, first, second, who, closer, PEOPLE, look)
    before = depth.Pictures(np.zeros((PICTURES, joints)), sigma, np.zeros(PICTURES, bool))
    state = depth.fit(before, votes, DepthConfig(rounds=15))
    clocks = [times(person % 3, rng) for person in range(PEOPLE)]
    recent = suspicion.Recent(
        who,
        np.concatenate([at for at, _ in clocks]),
        np.where(look & 2, ~closer, closer).astype(float),
        np.concatenate([took for _, took in clocks]),
    )
    flags = suspicion.suspicions(DELAY_MS, np.arange(PEOPLE), state.belief, np.full(PEOPLE, ANSWERS), recent)
    assert [text for text, certain in flags.values() if certain] == []
    assert len(flags) <= 0.03 * PEOPLE  # few are even shown
