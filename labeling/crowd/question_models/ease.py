"""Questions that differ: some are easy, some mislead everybody. Skill, colour and side bias per annotator, by EM.

An annotator w who sees question i in condition c answers 'second' with probability

    sigmoid( t_w . x(y_i, u_i) - g_w colour(c) - h_w side(c) )

where y in {0, 1} is the truth, u a hidden property of the question on a grid of nodes, colour(c) = +1 if the first keypoint
was green and -1 if it was pink, side(c) likewise for its button on the left. Two readings of u:

- `ease`: x = ((2y - 1) e(u), 1): skill times ease, and an inclination to 'second'. The distribution of ease is the
  likeliest of seventeen shapes.
- `shared`: x = (1 - y, y, u), u ~ N(0, 1): two error rates as in `twocoin`, and a misperception that all annotators share in
  their own measure. It is what keeps forty votes on one misleading picture from making it certain.

The question's state (y, u) is summed out exactly. Annotators' parameters have a Gaussian prior fitted to the crowd (mean and
covariance), are found by Newton steps, and their uncertainty is integrated out (MacKay 1992, eq. 30).

Sources: Whitehill et al. 2009 (ability times ease; there ease is plugged in, here summed out); Qu, Tan and Kutner 1996
(random effects in latent class models); Welinder et al. 2010 (annotators' bias).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logsumexp

from labeling.crowd.config import EaseConfig, TwoCoinConfig
from labeling.crowd.question_models import two_coin
from labeling.crowd.votes import CONDITIONS, CrowdResult, Votes
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
EASE = np.exp(np.linspace(-3.0, 1.5, 10))  # multiples of the ease at which skill is measured; holds 1
STEP = 1.0  # longest Newton step of a parameter: longer ones flip the sign of everything at the start
PRIOR_ROUNDS = 1.0  # pseudo-annotators behind the covariance of the crowd's parameters


def _shapes() -> Array:
    """Distributions of ease to choose from, log-shares of the nodes: log-normal around 1 (the narrowest says that all
    questions are alike) and gamma of mean 1 (many questions that nobody can answer)."""
    log = np.log(EASE)
    spreads, orders = np.geomspace(0.1, 1.6, 9)[:, None], np.geomspace(0.4, 4.0, 8)[:, None]
    rows = np.concatenate([-0.5 * (log / spreads) ** 2, orders * (log - EASE)])
    return rows - logsumexp(rows, axis=1, keepdims=True)


SHAPES = _shapes()
FIRST_SHAPE = 6  # log-normal, sd 0.8


@dataclass(frozen=True)
class Design:
    """What the hidden states of a question do to an answer: `features` conditions x states x parameters, `weights` states
    (log, first half y = 0, second half y = 1), `mean` and `sd` of the parameters before any vote."""

    features: Float[np.ndarray, "C S P"]
    weights: Float[np.ndarray, " S"]
    mean: Float[np.ndarray, " P"]
    sd: Float[np.ndarray, " P"]
    learned: bool  # are the states' weights learned?

    @property
    def half(self) -> int:
        return len(self.weights) // 2


def design(kind: str, sides: bool) -> Design:
    """The design of `ease` or `shared`, with parameters for colour and side where how a question looked is known."""
    rows: list[tuple[float, ...]]
    if kind == "ease":
        nodes, weights = EASE, np.exp(SHAPES[FIRST_SHAPE])
        rows = [((2 * y - 1) * e, 1.0) for y in (0, 1) for e in nodes]
        mean, sd = [1.2, 0.0], [0.7, 0.5]
    else:
        nodes, weights = np.polynomial.hermite_e.hermegauss(9)
        rows = [(1.0 - y, float(y), float(u)) for y in (0, 1) for u in nodes]
        mean, sd = [-1.2, 1.2, 0.5], [0.9, 0.9, 0.4]
    features = np.array(rows)[None]
    if sides:
        bits = np.arange(CONDITIONS)
        presentations = np.stack(
            [1.0 - 2 * (bits & 1), 1.0 - 2 * (bits >> 1)], axis=1
        )  # the minus of the equation is in here
        features = np.concatenate(
            [np.tile(features, (CONDITIONS, 1, 1)), np.tile(presentations[:, None], (1, len(rows), 1))], axis=2
        )
        mean, sd = mean + [0.0, 0.0], sd + [0.3, 0.3]
    share = weights / weights.sum() / 2
    return Design(features, np.log(np.concatenate([share, share])), np.array(mean), np.array(sd), kind == "ease")


@dataclass
class Crowd:
    """Annotators' parameters (annotators x parameters), their covariances, and the prior of both."""

    theta: Float[np.ndarray, "A P"]
    spread: Float[np.ndarray, "A P P"]
    mean: Float[np.ndarray, " P"]
    precision: Float[np.ndarray, "P P"]


@dataclass(frozen=True)
class Fitted:
    """`states` questions x states, posterior; `table` (annotator, condition, answer) x states, log P(answer | state)."""

    states: Float[np.ndarray, "Q S"]
    table: Float[np.ndarray, "T S"]
    crowd: Crowd
    weights: Float[np.ndarray, " S"]
    rounds: int

    @property
    def p_second(self) -> Float[np.ndarray, " Q"]:
        return self.states[:, self.states.shape[1] // 2 :].sum(axis=1, dtype=np.float64)

    def log_p(self, votes: Votes) -> Float[np.ndarray, " N"]:
        """Log-probability of other votes on the same questions, by the same annotators."""
        p = np.exp(self.table[_cell(votes)]) * self.states[votes.question]
        return np.log(np.maximum(p.sum(axis=1, dtype=np.float64), 1e-12))


def fit(
    votes: Votes,
    config: EaseConfig,
    *,
    gold: Float[np.ndarray, " Q"] | None = None,
    progress: Progress = silent,
) -> CrowdResult:
    """Posterior of every question. `gold`: 1 = second closer, 0 = first, NaN where unknown."""
    fitted = states(votes, config, gold=gold, progress=progress)
    active = np.bincount(votes.annotator, minlength=votes.annotators) > 0
    conditions = 1 if votes.presentation is None else CONDITIONS
    half = len(fitted.weights) // 2
    p_answer = np.exp(fitted.table.reshape(votes.annotators, conditions, 2, -1)[:, :, 1].mean(axis=1))
    share = np.exp(fitted.weights[:half] - logsumexp(fitted.weights[:half]))
    rates = np.stack([p_answer[:, half:] @ share, p_answer[:, :half] @ share], axis=1)
    skill = np.where(active, (rates[:, 0] + 1 - rates[:, 1]) / 2, np.nan)
    p_second = np.where(votes.per_question() > 0, fitted.p_second, 0.5)
    if gold is not None:
        p_second = np.where(np.isnan(gold), p_second, gold)
    notes = {
        "model": config.kind,
        "rounds": fitted.rounds,
        "mean": fitted.crowd.mean.round(4).tolist(),
        "sd": np.sqrt(np.diag(np.linalg.inv(fitted.crowd.precision))).round(4).tolist(),
        "weights": np.exp(fitted.weights).round(4).tolist(),
    }
    return CrowdResult(np.clip(p_second, 0.0, 1.0), skill, rates, notes)


def states(
    votes: Votes,
    config: EaseConfig,
    *,
    gold: Float[np.ndarray, " Q"] | None = None,
    progress: Progress = silent,
) -> Fitted:
    """EM: posterior of each question's hidden state, annotators' parameters, the crowd's distribution of both."""
    plan = design(config.kind, votes.presentation is not None)
    features = plan.features.reshape(-1, plan.features.shape[2])
    conditions = len(plan.features)
    size = (votes.questions, votes.annotators * conditions * 2)
    incidence = sparse.csr_matrix(
        (np.ones(len(votes.question), np.float32), (votes.question, _cell(votes))), shape=size
    )
    by_cell = incidence.T.tocsr()
    barred = _barred(votes.questions, plan, gold)
    weights, belief = plan.weights.copy(), _start(votes, plan, gold)
    parameters = len(plan.mean)
    spread = np.zeros((votes.annotators, parameters, parameters))
    crowd = Crowd(np.tile(plan.mean, (votes.annotators, 1)), spread, plan.mean, np.diag(plan.sd**-2.0))
    table = np.zeros((size[1], len(weights)), np.float32)
    number = 0
    for number in range(1, config.rounds + 1):
        progress(number - 1, config.rounds, "rounds")
        counts = np.asarray(by_cell @ belief, np.float64).reshape(votes.annotators, conditions, 2, -1)
        crowd = _learned(
            crowd, counts[:, :, 1].reshape(votes.annotators, -1), counts.sum(2).reshape(votes.annotators, -1), features
        )
        table = _table(crowd, features, conditions)
        evidence = incidence @ table + barred
        evidence -= evidence.max(axis=1, keepdims=True)
        np.exp(evidence, out=evidence)
        weights = _weights(evidence, belief, plan)
        evidence *= np.exp(weights).astype(np.float32)
        evidence /= evidence.sum(axis=1, keepdims=True)
        change = float(np.abs(evidence - belief).max(initial=0.0))
        belief = evidence
        if change < config.tolerance:
            break
    progress(config.rounds, config.rounds, "rounds")
    return Fitted(belief, table, crowd, weights, number)


def _cell(votes: Votes) -> NDArray[np.int64]:
    if votes.presentation is None:
        return 2 * votes.annotator + votes.second
    return 2 * (CONDITIONS * votes.annotator + votes.presentation) + votes.second


def _barred(questions: int, plan: Design, gold: Array | None) -> NDArray[np.float32]:
    """-1000 for the states that gold rules out."""
    barred = np.zeros((questions, 2 * plan.half), np.float32)
    if gold is not None:
        barred[gold == 1, : plan.half] = -1000.0
        barred[gold == 0, plan.half :] = -1000.0
    return barred


def _start(votes: Votes, plan: Design, gold: Array | None) -> NDArray[np.float32]:
    """Where two error rates per annotator would put each question: from the majority gold would hardly spread."""
    p = np.clip(two_coin.fit(votes, TwoCoinConfig(rounds=10), gold=gold).p_second, 0.02, 0.98)
    within = np.exp(plan.weights[: plan.half]) * 2
    return np.concatenate([np.outer(1 - p, within), np.outer(p, within)], axis=1).astype(np.float32)


def _learned(crowd: Crowd, second: Array, total: Array, features: Array) -> Crowd:
    """Newton steps towards the likeliest parameters of each annotator, then the prior's mean and covariance.

    second, total: annotators x (condition, state), expected answers 'second' and expected answers.
    """
    annotators, parameters = crowd.theta.shape
    if not annotators:
        return crowd
    squares = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    theta, hessian = crowd.theta, np.zeros((annotators, parameters, parameters))
    for _ in range(2):
        p = expit(theta @ features.T)
        gradient = (second - total * p) @ features - (theta - crowd.mean) @ crowd.precision
        hessian = ((total * np.maximum(p * (1 - p), 1e-3)) @ squares).reshape(hessian.shape) + crowd.precision
        theta = theta + np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -STEP, STEP)
    spread = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    known = len(theta) + PRIOR_ROUNDS
    mean = (theta.sum(axis=0) + PRIOR_ROUNDS * crowd.mean) / known
    apart = theta - mean
    covariance = (apart.T @ apart + spread.sum(axis=0) + PRIOR_ROUNDS * 0.5 * np.eye(parameters)) / known
    return Crowd(theta, spread, mean, np.asarray(np.linalg.inv(covariance), dtype=np.float64))


def _table(crowd: Crowd, features: Array, conditions: int) -> NDArray[np.float32]:
    """log P(answer | state), annotators' uncertainty integrated out; rows (annotator, condition, answer)."""
    annotators = len(crowd.theta)
    squares = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    variance = crowd.spread.reshape(annotators, -1) @ squares.T
    logit = (crowd.theta @ features.T) / np.sqrt(1 + np.pi / 8 * variance)
    logit = logit.reshape(annotators, conditions, 1, -1)
    return (
        -np.logaddexp(0, np.concatenate([logit, -logit], axis=2))
        .reshape(annotators * conditions * 2, -1)
        .astype(np.float32)
    )


def _weights(likelihood: NDArray[np.float32], belief: NDArray[np.float32], plan: Design) -> Array:
    """Log-share of every state: of truth, and of ease where it is learned; the same shape for both truths.

    The shape is chosen by the likelihood of all votes, not by the expected states, which would hardly leave the first one.
    """
    before = belief.sum(axis=0, dtype=np.float64)
    truth = np.array([before[: plan.half].sum(), before[plan.half :].sum()]) + 5.0
    truth = np.log(truth / truth.sum())
    if not plan.learned:
        within = plan.weights[: plan.half] - logsumexp(plan.weights[: plan.half])
        return np.concatenate([truth[0] + within, truth[1] + within])
    shapes = np.concatenate([truth[0] + SHAPES, truth[1] + SHAPES], axis=1)
    fit = np.log(likelihood @ np.exp(shapes).T.astype(np.float32) + 1e-30).sum(axis=0, dtype=np.float64)
    return shapes[np.argmax(fit)]
