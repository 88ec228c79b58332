"""Votes as arrays, and what a crowd model makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[int, int, str], None]


class BadVotes(ValueError):
    """Arrays that are not votes."""


@dataclass(frozen=True)
class Votes:
    """N votes: `question[n]` in 0..questions-1, `annotator[n]` in 0..annotators-1, `second[n]` True if the answer was
    'the second keypoint is closer'. Answers 'same' are not votes here."""

    question: NDArray[np.int64]
    annotator: NDArray[np.int64]
    second: NDArray[np.bool_]
    questions: int
    annotators: int

    def __post_init__(self) -> None:
        if not len(self.question) == len(self.annotator) == len(self.second):
            raise BadVotes("question, annotator and second have different lengths")
        for name, index, count in (
            ("question", self.question, self.questions),
            ("annotator", self.annotator, self.annotators),
        ):
            if len(index) and not (index.min() >= 0 and index.max() < count):
                raise BadVotes(f"{name} outside 0..{count - 1}")

    def per_question(self) -> NDArray[np.int64]:
        return np.bincount(self.question, minlength=self.questions)


@dataclass(frozen=True)
class CrowdResult:
    """`p_second`: P(second keypoint is closer) per question, 0.5 where nobody voted. `skill`: P(right) per annotator as
    the model estimates it (NaN where the model has none or there are no votes)."""

    p_second: NDArray[np.float64]
    skill: NDArray[np.float64]

    @property
    def risk(self) -> NDArray[np.float64]:
        """Probability that the likelier answer is wrong."""
        return np.minimum(self.p_second, 1 - self.p_second)


def agreement(votes: Votes, p_second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each annotator's votes that equal the likelier answer; NaN without votes. A tie counts one half."""
    label = np.where(p_second == 0.5, 0.5, p_second > 0.5)
    same = 1 - np.abs(label[votes.question] - votes.second)
    count = np.bincount(votes.annotator, minlength=votes.annotators)
    total = np.bincount(votes.annotator, weights=same, minlength=votes.annotators)
    return np.divide(total, count, out=np.full(votes.annotators, np.nan), where=count > 0)
