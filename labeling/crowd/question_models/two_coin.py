"""Two error rates per annotator, whose Beta priors are fitted to the crowd, by variational Bayes.

y in {0, 1} truth, z vote, P = P(y = 1 | votes); a = P(z=1 | y=1) ~ Beta(a1, a0) and b = P(z=1 | y=0) ~ Beta(b1, b0) for
each annotator, pi = P(y = 1) ~ Beta(1, 1). Rates are integrated out (E log a, not log E a): an annotator with three votes
does not get certain rates. The four numbers of the priors are the most likely ones given all annotators, so a crowd that
is better or worse than usual needs no settings.

Sources: Dawid and Skene 1979 (two error rates); Raykar et al. 2010, eq. 12 (Beta priors); variational form as in Bishop
2006, ch. 10; fixed point for the priors as Minka 2000. Departure: the priors are fitted, and gold is observed truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import digamma, expit, polygamma

from labeling.crowd.config import TwoCoinConfig
from labeling.crowd.votes import CrowdResult, Votes
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
START = np.array(
    [[3.0, 1.0], [1.0, 3.0]]
)  # Beta parameters (z=1, z=0) given y = 1 and y = 0: right three times of four


def fit(
    votes: Votes,
    config: TwoCoinConfig,
    *,
    gold: Float[np.ndarray, " Q"] | None = None,
    progress: Progress = silent,
) -> CrowdResult:
    """Posterior of every question. `gold`: 1 = second closer, 0 = first, NaN where unknown."""
    fixed = np.zeros(votes.questions, dtype=bool) if gold is None else ~np.isnan(gold)
    answer = np.zeros(votes.questions) if gold is None else np.where(fixed, gold, 0.0)
    count = votes.per_question()
    cell = 2 * votes.annotator + votes.second
    posterior = _start(votes)
    priors, params = START.copy(), np.tile(START, (votes.annotators, 1, 1))
    rounds = 0
    for rounds in range(1, config.rounds + 1):
        progress(rounds - 1, config.rounds, "rounds")
        posterior[fixed] = answer[fixed]
        params = _counts(votes, cell, posterior) + priors
        expected = digamma(params) - digamma(params.sum(axis=2, keepdims=True))
        priors = _fitted(priors, expected) if votes.annotators else priors
        ratio = expected[:, 0] - expected[:, 1]  # log-likelihood ratio of y=1 to y=0, for the answers second and first
        evidence = np.stack([ratio[:, 1], ratio[:, 0]], axis=1).ravel()
        logit = 1.0 * np.bincount(votes.question, weights=evidence[cell], minlength=votes.questions)
        asked = count > 0
        ones = posterior[asked].sum()
        logit += digamma(1 + ones) - digamma(1 + asked.sum() - ones)
        fresh = np.where(asked, expit(logit), 0.5)
        fresh[fixed] = answer[fixed]
        change = np.abs(fresh - posterior).max(initial=0.0)
        posterior = fresh
        if change < config.tolerance:
            break
    progress(config.rounds, config.rounds, "rounds")
    rates = params[:, :, 0] / params.sum(axis=2)
    active = np.bincount(votes.annotator, minlength=votes.annotators) > 0
    skill = np.where(active, (rates[:, 0] + 1 - rates[:, 1]) / 2, np.nan)
    notes = {"model": "two-coin", "rounds": rounds, "priors": priors.tolist()}
    return CrowdResult(posterior, skill, rates, notes)


def _start(votes: Votes) -> Array:
    ones = np.bincount(votes.question, weights=votes.second, minlength=votes.questions)
    return (ones + 0.5) / (votes.per_question() + 1.0)


def _counts(votes: Votes, cell: NDArray[np.integer[Any]], posterior: Array) -> Array:
    """Expected votes, annotators x (y = 1, y = 0) x (z = 1, z = 0)."""
    counts = np.bincount(cell, minlength=2 * votes.annotators).reshape(-1, 2)
    if1 = np.bincount(cell, weights=posterior[votes.question], minlength=2 * votes.annotators).reshape(-1, 2)
    return np.asarray(np.stack([if1, counts - if1], axis=1)[:, :, ::-1], dtype=np.float64)


def _fitted(priors: Array, expected: Array, steps: int = 5) -> Array:
    """The Beta parameters that make the annotators' rates most likely: digamma(a) - digamma(a + b) = mean E log rate.

    One observation of strength two per rate keeps the priors of a handful of annotators near START.
    """
    known = START / START.sum(axis=1, keepdims=True)
    strength = 2.0
    target = (expected.sum(axis=0) + strength * np.log(known)) / (len(expected) + strength)
    values = priors.copy()
    for _ in range(steps):
        total = values.sum(axis=1, keepdims=True)
        gradient = digamma(total) - digamma(values) + target
        diagonal, shared = -polygamma(1, values), polygamma(1, total)
        middle = (gradient / diagonal).sum(axis=1, keepdims=True) / (
            1 / shared + (1 / diagonal).sum(axis=1, keepdims=True)
        )
        step = (gradient - middle) / diagonal
        values = np.clip(np.where(step < values, values - step, values / 2), 0.05, 500.0)
    return values
