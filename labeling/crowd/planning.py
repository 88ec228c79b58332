"""What votes will buy, before the first one is paid: simulated people, simulated annotators, the campaign's own model.

Depths are drawn from the prior, seen by annotators of the usual kinds, and asked in the order the queue would ask; the model's own
risk after each vote, which is calibrated where the prior is, says how many votes a wanted risk costs. Nothing here is human data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.crowd import depth, selection
from labeling.crowd.config import DepthConfig

Array = NDArray[np.float64]
PEOPLE = 48
CONFIG = DepthConfig(rounds=6, tolerance=0.02)


@dataclass(frozen=True)
class Outlook:
    """Mean risk of all pairs of a person and share of pairs surer than 0.9, after 0, 1, 2, ... votes on it."""

    risk: Float[np.ndarray, " V"]
    sure: Float[np.ndarray, " V"]

    def votes_for(self, risk: float) -> int | None:
        """Fewest votes per person after which the mean risk is low enough; None if it is not within the votes tried."""
        reached = np.flatnonzero(self.risk <= risk)
        return int(reached[0]) if len(reached) else None


def adaptive(
    covariance: Float[np.ndarray, "J J"], crowd: depth.Crowd, votes: int, *, seed: int = 0, people: int = PEOPLE
) -> Outlook:
    """The outlook of an adaptive campaign. `covariance` J x J of depths (mm^2) about their expectation."""
    rng = np.random.default_rng(seed)
    joints = len(covariance)
    first, second = selection.pairs_of(joints)
    z = rng.multivariate_normal(np.zeros(joints), covariance, people)
    perceived = z + rng.normal(0, crowd.shared_mm, z.shape)
    seeing = np.array([k.noise_mm for k in depth.KINDS])
    honest = np.array([k.name == "honest" for k in depth.KINDS])
    shares = np.where(honest, crowd.shares, 0.0)
    every, none = np.arange(people), np.zeros(0, np.int64)
    columns = [none, none, none, none.astype(bool)]
    state = _fit(covariance, people, columns, crowd)
    risks, sures = [], []
    for step in range(votes + 1):
        p = state.p_second(every[:, None], first, second)
        risks.append(float(np.minimum(p, 1 - p).mean()))
        sures.append(float((np.maximum(p, 1 - p) > 0.9).mean()))
        if step == votes:
            break
        gap, variance = depth.difference(
            state.perceived_mean, state.perceived_covariance, every[:, None], first, second
        )
        pair = selection.information(gap, variance, depth.noise_of(crowd.shares)).argmax(axis=1)
        noise = rng.choice(seeing, people, p=shares / shares.sum())
        says = perceived[every, first[pair]] - perceived[every, second[pair]] + rng.normal(0, noise) > 0
        columns = [np.concatenate(both) for both in zip(columns, (every, first[pair], second[pair], says))]
        state = _fit(covariance, people, columns, crowd, state)
    return Outlook(np.array(risks), np.array(sures))


def _fit(
    covariance: Array,
    people: int,
    columns: list[NDArray],
    crowd: depth.Crowd,
    previous: depth.DepthPosteriors | None = None,
) -> depth.DepthPosteriors:
    """Every vote by somebody of whom nothing is known but the crowd."""
    count = len(columns[0])
    pictures = depth.Pictures(np.zeros((people, len(covariance))), covariance, np.zeros(people, bool))
    votes = depth.PairVotes(columns[0], columns[1], columns[2], np.arange(count), columns[3], count)
    belief = np.tile(crowd.shares, (count, 1))
    return depth.fit(pictures, votes, CONFIG, crowd=crowd, belief=belief, previous=previous)
