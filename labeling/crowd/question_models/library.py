"""crowd-kit's models under our one signature. Loaded by a worker only: importing them costs 3 s and 200 MiB."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import GLAD, MACE, DawidSkene, MajorityVote, OneCoinDawidSkene, Wawa, ZeroBasedSkill
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.crowd.config import Rounds
from labeling.crowd.votes import CrowdResult, Votes
from webapp.progress import Progress


def _fit(model: Any, votes: Votes, progress: Progress) -> CrowdResult:
    skill = np.full(votes.annotators, np.nan)
    if not len(votes.question):
        return CrowdResult(np.full(votes.questions, 0.5), skill)
    progress(0, 1, "model")
    frame = pd.DataFrame({"task": votes.question, "worker": votes.annotator, "label": votes.second.astype(int)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proba = model.fit_predict_proba(frame)
    p_second = np.full(votes.questions, 0.5)
    second = proba[1] if 1 in proba else pd.Series(0.0, index=proba.index)
    p_second[second.index.to_numpy(dtype=int)] = second.fillna(0.0).to_numpy(dtype=float)
    skills = getattr(model, "skills_", None)
    if isinstance(skills, pd.Series):
        skill[skills.index.to_numpy(dtype=int)] = skills.to_numpy(dtype=float)
    progress(1, 1, "model")
    return CrowdResult(np.clip(p_second, 0.0, 1.0), skill)


Gold = NDArray[np.float64] | None


def majority_vote(
    votes: Votes, config: Any, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress
) -> CrowdResult:
    return _fit(MajorityVote(), votes, progress)


def dawid_skene(
    votes: Votes, config: Rounds, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress
) -> CrowdResult:
    return _fit(DawidSkene(n_iter=config.rounds), votes, progress)


def one_coin(
    votes: Votes, config: Rounds, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress
) -> CrowdResult:
    return _fit(OneCoinDawidSkene(n_iter=config.rounds), votes, progress)


def glad(
    votes: Votes, config: Rounds, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress
) -> CrowdResult:
    return _fit(GLAD(n_iter=config.rounds), votes, progress)


def mace(
    votes: Votes, config: Rounds, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress
) -> CrowdResult:
    return _fit(MACE(n_iter=config.rounds), votes, progress)


def wawa(votes: Votes, config: Any, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress) -> CrowdResult:
    return _fit(Wawa(), votes, progress)


def zero_based_skill(
    votes: Votes, config: Rounds, *, gold: Float[np.ndarray, " Q"] | None = None, progress: Progress
) -> CrowdResult:
    return _fit(ZeroBasedSkill(n_iter=config.rounds), votes, progress)
