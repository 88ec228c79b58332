"""All votes of one picture together: the perceived depths of its joints, reported by annotators of every kind.

z      depths of a picture's J joints (mm, camera frame, smaller is closer), prior N(mu, Sigma);
p      what people see: p = z + t h + m, m ~ N(0, s^2) per joint. m is a misperception that all annotators share; t h is the
       slant of people who judge as if the camera were level (h: height of each joint in mm, t learned);
vote   annotator w says 'the second is closer' with probability sum_k omega_wk R_k(p_first - p_second, look), k a kind of
       annotator (see `KINDS`): eight levels of noise, some of them inverted, clicking at random, always one side or one colour.

The posterior of p is found by expectation propagation (Minka 2001): each vote is replaced by a Gaussian factor on its
difference; all pictures and votes at once, damped. The belief omega about each annotator is updated by the same messages (the
vote in question taken out), so skill is summed out and not plugged in. Crowd parameters (shares of kinds, s, t) are learned
in the same rounds; s and t only from pictures whose depths are known (gold), because the votes alone cannot tell them from
depth. The perceived depth gets as certain as votes make it; the depth never gets more certain than s allows:

    z | votes ~ N(mu + G (E p - mu_p), Sigma - G Sigma + G Cov(p) G'),  G = Sigma (Sigma + s^2 I)^-1.

numpy only: the same code follows each vote inside a web request and refits a million votes in the worker.
Own model; peers: Minka et al. 2018 (TrueSkill 2) fuse comparisons in the same way, without covariance between items.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from labeling.crowd.config import DepthConfig
from labeling.crowd.normal import both, cdf
from labeling.crowd.votes import CONDITIONS
from webapp.errors import InputError
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
Index = NDArray[np.integer[Any]]
Map = Callable[..., Iterable[Any]]

NOISE_MM = np.geomspace(50.0, 600.0, 8)
MOST_NOISE_MM = 3000.0
SLIP = 0.02  # share of answers that anybody gives by accident: bounds what one vote can say
HABIT = 0.03  # share of answers in which somebody who always clicks one side does not
GOLD_MM = 1.0  # sd of depths that are known
CHUNK = 1 << 15  # votes worked on at once: what fits the cache
BLOCK = 1024  # pictures worked on at once: their matrices are many times as large as the pictures' own


@dataclass(frozen=True)
class Kind:
    """A kind of annotator: `noise_mm` of each answer (`inverted`: answers the opposite), or a habit: the bit of `shown`
    that must be set (or not) for 'second' to be the habitual answer; neither: answers at random."""

    name: str
    noise_mm: float = 0.0
    inverted: bool = False
    bit: int = 0
    value: int = 0


KINDS = (
    *(Kind("honest", sigma) for sigma in NOISE_MM),
    *(Kind("inverted", sigma, inverted=True) for sigma in NOISE_MM[1:6:2]),
    Kind("random"),
    Kind("always-left", bit=2, value=0),
    Kind("always-right", bit=2, value=2),
    Kind("always-green", bit=1, value=0),
    Kind("always-pink", bit=1, value=1),
)
NAMES = tuple(dict.fromkeys(kind.name for kind in KINDS))
_SEES = np.array([k.noise_mm > 0 for k in KINDS])
_SIGMA = np.array([k.noise_mm for k in KINDS if k.noise_mm > 0])
_SIGN = np.array([-1.0 if k.inverted else 1.0 for k in KINDS if k.noise_mm > 0])


def _blind() -> Array:
    """P('second') of the kinds that do not look, conditions x kinds."""
    table = np.full((CONDITIONS + 1, int((~_SEES).sum())), 0.5)  # the last row: how it looked is not known
    for column, kind in enumerate(k for k in KINDS if k.noise_mm == 0):
        if kind.bit:
            for presentation in range(CONDITIONS):
                table[presentation, column] = 1 - HABIT if presentation & kind.bit == kind.value else HABIT
    return table


_BLIND = _blind()
# Before any vote: most people look, with a noise around 20 cm (what fits Ronchi et al. 2018, Fig. 2a, is 24); few do not. The
# shares are learned; this is worth `strength` annotators.
_PRIOR = np.array([np.exp(-0.5 * (np.log(k.noise_mm / 200) / 0.6) ** 2) if k.name == "honest" else 0.04 for k in KINDS])
PRIOR = _PRIOR / _PRIOR.sum()


class BadPictures(InputError):
    """Arrays that do not fit each other, or a covariance that is none."""


@dataclass(frozen=True)
class Pictures:
    """I pictures of one person each. `mean` I x J and `covariance` J x J or I x J x J of the depths before any vote (mm);
    `gold` I, True where `mean` is the known truth; `height` I x J (mm, up is positive), if slant shall be learned."""

    mean: Float[np.ndarray, "I J"]
    covariance: Float[np.ndarray, "..."]  # their shapes are checked below, for users, too
    gold: Bool[np.ndarray, "..."]
    height: Float[np.ndarray, "I J"] | None = None

    def __post_init__(self) -> None:
        i, j = self.mean.shape
        if self.covariance.shape not in ((j, j), (i, j, j)):
            raise BadPictures(f"covariance has shape {self.covariance.shape}, not {(j, j)} or {(i, j, j)}")
        if len(self.gold) != i or (self.height is not None and self.height.shape != (i, j)):
            raise BadPictures("gold or height has another length than mean")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise BadPictures("mean or covariance is not finite")

    def sigma(self, which: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n J J"]:
        """Prior covariance of some pictures, n x J x J; next to nothing where the truth is known."""
        j = self.mean.shape[1]
        one = self.covariance.ndim == 2
        full = np.broadcast_to(self.covariance, (len(which), j, j)) if one else self.covariance[which]
        return np.where(self.gold[which, None, None], GOLD_MM**2 * np.eye(j), full)


@dataclass(frozen=True)
class PairVotes:
    """N votes: annotator `annotator` compared joints `first` and `second` of `picture`; `second_closer`; `shown` as in
    `votes.Votes`, or CONDITIONS where unknown."""

    picture: Int[np.ndarray, " N"]
    first: Int[np.ndarray, " N"]
    second: Int[np.ndarray, " N"]
    annotator: Int[np.ndarray, " N"]
    second_closer: Bool[np.ndarray, " N"]
    annotators: int
    presentation: Int[np.ndarray, " N"] | None = None

    def __post_init__(self) -> None:
        lengths = {len(a) for a in (self.picture, self.first, self.second, self.annotator, self.second_closer)}
        if len(lengths) != 1:
            raise BadPictures("the columns of the votes have different lengths")
        if (self.first == self.second).any():
            raise BadPictures("a vote compares a joint with itself")

    def __len__(self) -> int:
        return len(self.picture)

    @property
    def looks(self) -> Int[np.ndarray, " N"]:
        return np.full(len(self), CONDITIONS) if self.presentation is None else self.presentation


@dataclass(frozen=True)
class Crowd:
    """What is known of the annotators: `shares` of the kinds, misperception `shared_mm`, `slant`."""

    shares: Float[np.ndarray, " K"] = field(default_factory=PRIOR.copy)
    shared_mm: float = 60.0
    slant: float = 0.0


@dataclass(frozen=True)
class DepthPosteriors:
    """The outcome. `mean` I x J, `covariance` I x J x J of the true depths; `perceived_mean`, `perceived_covariance` of the perceived depths;
    `belief` annotators x kinds; `expected` N, P(this vote | all other votes); `precision`, `pull` N, the votes' factors;
    `message` N x kinds, P(vote | kind), what each vote says of its annotator."""

    mean: Float[np.ndarray, "I J"]
    covariance: Float[np.ndarray, "I J J"]
    perceived_mean: Float[np.ndarray, "I J"]
    perceived_covariance: Float[np.ndarray, "I J J"]
    belief: Float[np.ndarray, "A K"]
    crowd: Crowd
    expected: Float[np.ndarray, " N"]
    precision: Float[np.ndarray, " M"]
    pull: Float[np.ndarray, " M"]
    message: Float[np.ndarray, "M K"]
    rounds: int

    def p_second(
        self, picture: Int[np.ndarray, "..."], first: Int[np.ndarray, "..."], second: Int[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """P(second joint is closer), of any pairs."""
        gap, variance = difference(self.mean, self.covariance, picture, first, second)
        return np.asarray(cdf(gap / np.sqrt(variance)))


def noise_of(belief: Float[np.ndarray, " K"]) -> float:
    """The noise (mm) of one annotator who would answer close calls as this mixture of kinds does."""
    slope = float((belief[_SEES] * _SIGN / _SIGMA).sum() / belief.sum())
    return 1 / max(slope, 1 / MOST_NOISE_MM)


def skill_of(belief: Float[np.ndarray, "A K"], gap_mm: float = 200.0) -> Float[np.ndarray, " A"]:
    """P(right) of each annotator (annotators x kinds) on a pair this far apart: 20 cm, beyond which people are right nine times
    of ten (Ronchi et al. 2018, Fig. 2a)."""
    right = np.full(len(KINDS), 0.5)
    right[_SEES] = SLIP / 2 + (1 - SLIP) * cdf(_SIGN * gap_mm / _SIGMA)
    return np.asarray(belief @ right)


def difference(
    mean: Float[np.ndarray, "I J"],
    covariance: Float[np.ndarray, "I J J"],
    picture: Int[np.ndarray, "..."],
    first: Int[np.ndarray, "..."],
    second: Int[np.ndarray, "..."],
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Mean and variance of depth(first) - depth(second): positive means that the second is closer."""
    variance = (
        covariance[picture, first, first] + covariance[picture, second, second] - 2 * covariance[picture, first, second]
    )
    return mean[picture, first] - mean[picture, second], np.maximum(variance, 1e-6)


def fit(
    pictures: Pictures,
    votes: PairVotes,
    config: DepthConfig,
    *,
    crowd: Crowd | None = None,
    belief: Float[np.ndarray, "A K"] | None = None,
    previous: DepthPosteriors | None = None,
    progress: Progress = silent,
    keep: bool = True,
) -> DepthPosteriors:
    """Posterior of all pictures. Learns about annotators unless their `belief` is given (then `crowd` is used as it is).

    `previous`: a fit whose votes are the first ones of `votes`, to start from. `keep`: False leaves out what only another
    fit could start from (`precision`, `pull`, `message`), a large part of the memory where there are millions of votes.
    """
    learn = belief is None
    crowd = crowd or (previous.crowd if previous else Crowd(shared_mm=config.shared_mm))
    precision, pull = np.zeros(len(votes)), np.zeros(len(votes))
    message = np.ones((len(votes), len(KINDS)), np.float32)
    if previous is not None:
        known = len(previous.precision)
        precision[:known], pull[:known], message[:known] = previous.precision, previous.pull, previous.message
    if belief is None:
        belief = _belief(crowd, votes, message)
    expected = np.full(len(votes), 0.5)
    blocks = _blocks(pictures, votes)
    parts = [slice(start, start + CHUNK) for start in range(0, len(votes), CHUNK)]
    # numpy releases the interpreter lock while it computes
    pool = ThreadPoolExecutor(os.cpu_count()) if max(len(parts), len(blocks)) > 1 else None
    map_: Map = pool.map if pool else map
    count, joints = pictures.mean.shape
    perceived_mean, seen = np.empty((count, joints)), np.empty((count, joints, joints))

    def renew_perceived(crowd: Crowd) -> None:
        one = partial(_perceived, pictures, votes, crowd, precision, pull)
        for block, (mean_of, covariance_of) in zip(blocks, map_(one, blocks)):
            perceived_mean[block.pictures], seen[block.pictures] = mean_of, covariance_of

    renew_perceived(crowd)
    number, work = 0, None
    for number in range(1, config.rounds + 1):
        progress(number - 1, config.rounds, "rounds")
        change = 0.0
        work = partial(_renewed, votes, perceived_mean, seen, precision, pull, message if learn else None, belief)
        for part, new in zip(parts, map_(work, parts)):
            moved = config.damping * (new.precision - precision[part])
            change = max(change, float(np.abs(moved * new.variance).max(initial=0.0)))
            precision[part] += moved
            pull[part] += config.damping * (new.pull - pull[part])
            message[part], expected[part] = new.message, new.expected
        if learn:
            belief = _belief(crowd, votes, message)
            crowd = _learned(crowd, pictures, belief, perceived_mean, seen, votes, config)
        renew_perceived(crowd)
        if change < config.tolerance:
            break
    if pool:
        pool.shutdown()
    progress(config.rounds, config.rounds, "rounds")
    work = None  # it holds the largest arrays
    if not keep:
        precision = pull = np.zeros(0)
        message = np.zeros((0, len(KINDS)), np.float32)
    mean, covariance = np.empty_like(perceived_mean), np.empty_like(seen)
    for block in blocks:
        here = block.pictures
        mean[here], covariance[here] = _truth(pictures, crowd, perceived_mean[here], seen[here], block.every)
    return DepthPosteriors(
        mean, covariance, perceived_mean, seen, belief, crowd, expected, precision, pull, message, number
    )


def _renewed(
    votes: PairVotes,
    mean: Array,
    covariance: Array,
    precision: Array,
    pull: Array,
    message: NDArray[np.float32] | None,
    belief: Array,
    part: slice,
) -> _Sites:
    """New factors of some votes; with `message`, each vote's own word on its annotator is taken out of the belief."""
    weights = belief[votes.annotator[part]]
    if message is not None:
        weights = weights / message[part]
        weights /= weights.sum(axis=1, keepdims=True)
    return _site(votes, part, mean, covariance, precision[part], pull[part], weights)


def _seen_prior(pictures: Pictures, crowd: Crowd, which: Index) -> tuple[Array, Array]:
    mean = pictures.mean[which]
    if pictures.height is not None:
        mean = mean + crowd.slant * pictures.height[which]
    return mean, pictures.sigma(which) + crowd.shared_mm**2 * np.eye(mean.shape[1])


@dataclass(frozen=True)
class _Block:
    """Some pictures in a row, and the places of their votes."""

    pictures: slice
    votes: Any

    @property
    def every(self) -> Index:
        return np.arange(self.pictures.start, self.pictures.stop)


def _blocks(pictures: Pictures, votes: PairVotes) -> list[_Block]:
    count = len(pictures.mean)
    if count <= BLOCK:
        return [_Block(slice(0, count), slice(None))]
    starts = np.append(np.arange(0, count, BLOCK), count)
    in_order = bool((votes.picture[1:] >= votes.picture[:-1]).all())
    order = None if in_order else np.argsort(votes.picture, kind="stable")
    bounds = np.searchsorted(votes.picture if order is None else votes.picture[order], starts)
    return [
        _Block(slice(int(a), int(b)), slice(v, w) if order is None else order[v:w])
        for a, b, v, w in zip(starts[:-1], starts[1:], bounds[:-1], bounds[1:])
    ]


def _perceived(
    pictures: Pictures, votes: PairVotes, crowd: Crowd, precision: Array, pull: Array, block: _Block
) -> tuple[Array, Array]:
    """Gaussian posterior of the perceived depths of a block from the prior and all votes' factors."""
    every = block.every
    count, joints = len(every), pictures.mean.shape[1]
    prior_mean, prior = _seen_prior(pictures, crowd, every)
    if pictures.covariance.ndim == 2:  # two different matrices at most
        inverse = np.empty_like(prior)
        known = pictures.gold[block.pictures]
        for gold in (False, True):
            here = np.flatnonzero(known == gold)
            if len(here):
                inverse[here] = np.linalg.inv(prior[here[0]])
    else:
        inverse = np.asarray(np.linalg.inv(prior), dtype=np.float64)
    cell = joints * joints
    place = votes.picture[block.votes].astype(np.int64) - block.pictures.start
    f, s = votes.first[block.votes].astype(np.int64), votes.second[block.votes].astype(np.int64)
    precise, pulled = precision[block.votes], pull[block.votes]
    base, size = place * cell, count * cell
    total = np.bincount(base + f * (joints + 1), weights=precise, minlength=size)
    total += np.bincount(base + s * (joints + 1), weights=precise, minlength=size)
    mixed = np.bincount(base + f * joints + s, weights=precise, minlength=size).reshape(count, joints, joints)
    total = total.reshape(count, joints, joints) - mixed - mixed.swapaxes(1, 2)
    force = np.bincount(place * joints + f, weights=pulled, minlength=count * joints)
    force -= np.bincount(place * joints + s, weights=pulled, minlength=count * joints)
    covariance = np.asarray(np.linalg.inv(inverse + total), dtype=np.float64)
    right = force.reshape(count, joints) + (inverse @ prior_mean[..., None])[..., 0]
    return (covariance @ right[..., None])[..., 0], covariance


@dataclass(frozen=True)
class _Sites:
    precision: Array
    pull: Array
    variance: Array
    expected: Array
    message: NDArray[np.float32]


def _site(
    votes: PairVotes, part: slice, mean: Array, covariance: Array, precision: Array, pull: Array, weights: Array
) -> _Sites:
    """The Gaussian factor of each vote that matches its true factor in mean and variance, given all other votes."""
    now, variance = difference(mean, covariance, votes.picture[part], votes.first[part], votes.second[part])
    left = 1 / np.maximum(1 / variance - precision, 1e-3 / variance)  # cavity: this vote taken out
    centre = left * (now / variance - pull)
    sign = np.where(votes.second_closer[part], 1.0, -1.0)
    scale = np.sqrt(_SIGMA**2 + left[:, None])
    u = centre[:, None] / scale * _SIGN * sign[:, None]
    phi, density = both(u)
    likelihood = np.empty((len(u), len(KINDS)))
    likelihood[:, _SEES] = SLIP / 2 + (1 - SLIP) * phi
    says_second = _BLIND[votes.looks[part]]
    likelihood[:, ~_SEES] = np.where(votes.second_closer[part, None], says_second, 1 - says_second)
    evidence = (weights * likelihood).sum(axis=1)
    part_seen = weights[:, _SEES] * (1 - SLIP) * density
    slope = (part_seen * _SIGN / scale).sum(axis=1) * sign / evidence
    bend = (part_seen * -u / scale**2).sum(axis=1) / evidence - slope**2
    tilted_mean, tilted = centre + left * slope, left + left**2 * bend
    new = np.maximum(1 / np.maximum(tilted, 1e-3 * left) - 1 / left, 0.0)
    return _Sites(new, tilted_mean * (1 / left + new) - centre / left, left, evidence, likelihood.astype(np.float32))


def _belief(crowd: Crowd, votes: PairVotes, message: NDArray[np.float32]) -> Array:
    total = np.stack(
        [np.bincount(votes.annotator, weights=np.log(column), minlength=votes.annotators) for column in message.T],
        axis=1,
    )
    logit = np.log(crowd.shares) + total
    weights = np.exp(logit - logit.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _learned(
    crowd: Crowd,
    pictures: Pictures,
    belief: Array,
    mean: Array,
    covariance: Array,
    votes: PairVotes,
    config: DepthConfig,
) -> Crowd:
    """Shares of the kinds from all annotators; misperception and slant from gold."""
    active = np.bincount(votes.annotator, minlength=len(belief)) > 0
    shares = belief[active].sum(axis=0) + config.strength * PRIOR
    crowd = replace(crowd, shares=shares / shares.sum())
    voted = np.bincount(votes.picture, minlength=len(mean)) > 0
    gold = np.flatnonzero(pictures.gold & voted)
    if not len(gold):
        return crowd
    joints = mean.shape[1]
    centre = np.eye(joints) - 1 / joints  # only differences are seen
    off = (mean[gold] - pictures.mean[gold]) @ centre
    slant = crowd.slant
    if pictures.height is not None:
        height = pictures.height[gold] @ centre
        slant = float((off * height).sum() / ((height**2).sum() + 1e6))
        off = off - slant * height
    spread = (off**2).sum() + np.einsum("ijk,kj->", covariance[gold], centre)
    prior = config.gold_strength * joints
    variance = (spread + prior * config.shared_mm**2) / (len(gold) * (joints - 1) + prior)
    return replace(crowd, shared_mm=float(np.sqrt(variance)), slant=slant)


def _truth(pictures: Pictures, crowd: Crowd, mean: Array, covariance: Array, every: Index) -> tuple[Array, Array]:
    """From perceived to true depth: the regression of the true depths on what people see."""
    prior_mean, prior = _seen_prior(pictures, crowd, every)
    sigma = pictures.sigma(every)
    gain = np.linalg.solve(prior, sigma).swapaxes(1, 2)  # Sigma (Sigma + s^2)^-1, both symmetric
    mean_mm = pictures.mean[every] + (gain @ (mean - prior_mean)[..., None])[..., 0]
    return mean_mm, sigma - gain @ sigma + gain @ covariance @ gain.swapaxes(1, 2)
