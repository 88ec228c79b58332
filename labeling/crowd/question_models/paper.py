"""The paper's crowd model: two error rates per annotator under pooled Beta priors, by EM.

Source: Branson, Van Horn, Perona, 'Lean Crowdsourcing', CVPR 2017, binary model, as used by Ronchi et al. 2018 for the
aggregated labels. y in {0, 1} truth, z vote, P = P(y = 1 | votes), a = P(z=1 | y=1), b = P(z=0 | y=0) per annotator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.crowd.config import PaperConfig
from labeling.crowd.votes import CrowdResult, Votes
from webapp.progress import Progress, silent

EDGE = 1e-4


def fit(
    votes: Votes,
    config: PaperConfig,
    *,
    gold: Float[np.ndarray, " Q"] | None = None,
    progress: Progress = silent,
) -> CrowdResult:
    """Posterior of every question. `gold`: known answers (1 = second closer, 0 = first), NaN where unknown."""
    z, item, who = votes.second.astype(float), votes.question, votes.annotator
    count = votes.per_question()
    ones = np.bincount(item, weights=z, minlength=votes.questions)
    majority = np.divide(ones, count, out=np.full(votes.questions, 0.5), where=count > 0)
    posterior = np.where(majority > 0.5, 1.0, np.where(majority < 0.5, 0.0, 0.5))
    posterior = _with_gold(posterior, gold)
    p = posterior[item]
    s, m = config.pooled_strength, config.mean_skill
    prior = _clip((s * 0.5 + p.sum()) / (s + len(z)))
    a0 = float(_clip((s * m + (p * z).sum()) / (s + p.sum())))
    b0 = float(_clip((s * m + ((1 - p) * (1 - z)).sum()) / (s + (1 - p).sum())))
    a = b = np.zeros(votes.annotators)
    for number in range(config.rounds):
        progress(number, config.rounds, "rounds")
        p = posterior[item]
        a = _clip(_rate(p * z, p, who, votes.annotators, a0, config.annotator_strength))
        b = _clip(_rate((1 - p) * (1 - z), 1 - p, who, votes.annotators, b0, config.annotator_strength))
        evidence = np.where(votes.second, np.log(a / (1 - b))[who], np.log((1 - a) / b)[who])
        logit = np.log(prior / (1 - prior)) + np.bincount(item, weights=evidence, minlength=votes.questions)
        fresh = _with_gold(np.where(count > 0, 1 / (1 + np.exp(-np.clip(logit, -500, 500))), 0.5), gold)
        change = np.abs(fresh - posterior).max(initial=0.0)
        posterior = fresh
        if change < 1e-6:
            break
    active = np.bincount(who, minlength=votes.annotators) > 0
    return CrowdResult(posterior, np.where(active, (a + b) / 2, np.nan))


def _rate(
    hits: NDArray[np.float64],
    chances: NDArray[np.float64],
    who: NDArray[np.integer[Any]],
    annotators: int,
    prior: float,
    strength: float,
) -> NDArray[np.float64]:
    top = np.bincount(who, weights=hits, minlength=annotators)
    bottom = np.bincount(who, weights=chances, minlength=annotators)
    return (strength * prior + top) / (strength + bottom)


def _clip(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(np.clip(value, EDGE, 1 - EDGE))


def _with_gold(posterior: NDArray[np.float64], gold: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return posterior if gold is None else np.where(np.isnan(gold), posterior, gold)
