"""The crowd model that predicts votes best: two-coin, ease or shared misperception, chosen by votes it has not seen.

A fifth of the votes on a sample of the questions is held out; each candidate is fitted to the rest and says how likely the
held-out votes are. No truth is needed. The winner is then fitted to all votes.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.crowd.config import ChosenConfig, EaseConfig, TwoCoinConfig
from labeling.crowd.question_models import ease, two_coin
from labeling.crowd.votes import CrowdResult, Votes
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
CANDIDATES = ("two-coin", "ease", "shared")
HELD_OUT = 5  # one vote of so many


def fit(
    votes: Votes,
    config: ChosenConfig,
    *,
    gold: Float[np.ndarray, " Q"] | None = None,
    progress: Progress = silent,
) -> CrowdResult:
    """Posterior by the model under which held-out votes are likeliest; its name and all scores are in `notes`."""
    scores = held_out(votes, config, gold, progress)
    best = max(scores, key=lambda name: scores[name]) if scores else CANDIDATES[0]
    if best == "two-coin":
        result = two_coin.fit(votes, TwoCoinConfig(), gold=gold, progress=progress)
    else:
        result = ease.fit(votes, EaseConfig(kind=best), gold=gold, progress=progress)
    rounded = {name: round(score, 6) for name, score in scores.items()}
    return CrowdResult(result.p_second, result.skill, result.rates, {**result.notes, "held_out": rounded})


def held_out(
    votes: Votes, config: ChosenConfig, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress = silent
) -> dict[str, float]:
    """Mean log-probability (natural) of held-out votes under each candidate; empty if there are too few votes to tell."""
    rng = np.random.default_rng(config.seed)
    several = np.flatnonzero(votes.per_question() > 1)
    if len(several) < 2:
        return {}
    sample = rng.choice(several, size=min(config.sample, len(several)), replace=False)
    place = np.full(votes.questions, -1)
    place[sample] = np.arange(len(sample))
    among = votes.only(place[votes.question] >= 0)
    few = Votes(place[among.question], among.annotator, among.second, len(sample), votes.annotators, among.presentation)
    known = None if gold is None else gold[sample]
    part = rng.integers(HELD_OUT, size=len(few.question))
    scores = dict.fromkeys(CANDIDATES, 0.0)
    for turn in range(config.turns):
        out = part == turn
        seen, unseen = few.only(~out), few.only(out)
        for number, name in enumerate(CANDIDATES):
            progress(turn * len(CANDIDATES) + number, config.turns * len(CANDIDATES), "candidates")
            scores[name] += (
                float(_log_p(name, seen, unseen, known).mean()) / config.turns if len(unseen.question) else 0.0
            )
    return scores


def _log_p(name: str, seen: Votes, unseen: Votes, gold: Array | None) -> Array:
    if name != "two-coin":
        return ease.states(seen, EaseConfig(kind=name), gold=gold).log_p(unseen)
    result = two_coin.fit(seen, TwoCoinConfig(), gold=gold)
    assert result.rates is not None  # noqa: S101  (two-coin always has them)
    p = result.p_second[unseen.question]
    second = p * result.rates[unseen.annotator, 0] + (1 - p) * result.rates[unseen.annotator, 1]
    return np.log(np.where(unseen.second, second, 1 - second))
