"""Votes as arrays, and what a crowd model makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from webapp.errors import InputError

CONDITIONS = 4  # two colours on two sides


class BadVotes(InputError):
    """Arrays that are not votes."""


@dataclass(frozen=True)
class Votes:
    """N votes: `question[n]` in 0..questions-1, `annotator[n]` in 0..annotators-1, `second[n]` True if the answer was
    'the second keypoint is closer'. Answers 'same' are not votes here.

    `presentation[n]`, where it was recorded, is how the question looked: bit 0 is set if the first keypoint was green, bit 1 if
    its button was on the left. Without it no colour or side bias can be told from skill."""

    question: Int[np.ndarray, " N"]
    annotator: Int[np.ndarray, " N"]
    second: Bool[np.ndarray, " N"]
    questions: int
    annotators: int
    presentation: Int[np.ndarray, " N"] | None = None

    def __post_init__(self) -> None:
        if not len(self.question) == len(self.annotator) == len(self.second):
            raise BadVotes("question, annotator and second have different lengths")
        if self.presentation is not None:
            if len(self.presentation) != len(self.question):
                raise BadVotes("presentation and question have different lengths")
            if len(self.presentation) and not (self.presentation.min() >= 0 and self.presentation.max() < CONDITIONS):
                raise BadVotes(f"presentation outside 0..{CONDITIONS - 1}")
        for name, index, count in (
            ("question", self.question, self.questions),
            ("annotator", self.annotator, self.annotators),
        ):
            if len(index) and not (index.min() >= 0 and index.max() < count):
                raise BadVotes(f"{name} outside 0..{count - 1}")

    def only(self, kept: Bool[np.ndarray, " N"]) -> Votes:
        """The same questions and annotators with some of the votes."""
        presentation = None if self.presentation is None else self.presentation[kept]
        return replace(
            self,
            question=self.question[kept],
            annotator=self.annotator[kept],
            second=self.second[kept],
            presentation=presentation,
        )

    def per_question(self) -> Int[np.ndarray, " Q"]:
        return np.bincount(self.question, minlength=self.questions)


@dataclass(frozen=True)
class CrowdResult:
    """`p_second`: P(second keypoint is closer) per question, 0.5 where nobody voted. `skill`: P(right) per annotator as
    the model estimates it (NaN where the model has none or there are no votes). `rates`, where the model has them, is
    annotators x 2: P(answers 'second' | second is closer) and P(answers 'second' | first is closer). `notes` says in
    plain numbers what else was learned (which model was chosen and why, spread of ease, ...)."""

    p_second: Float[np.ndarray, " Q"]
    skill: Float[np.ndarray, " A"]
    rates: Float[np.ndarray, "A 2"] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def risk(self) -> Float[np.ndarray, " Q"]:
        """Probability that the likelier answer is wrong."""
        return np.minimum(self.p_second, 1 - self.p_second)


def agreement(votes: Votes, p_second: Float[np.ndarray, " Q"]) -> Float[np.ndarray, " A"]:
    """Share of each annotator's votes that equal the likelier answer; NaN without votes. A tie counts one half."""
    label = np.where(p_second == 0.5, 0.5, p_second > 0.5)
    same = 1 - np.abs(label[votes.question] - votes.second)
    count = np.bincount(votes.annotator, minlength=votes.annotators)
    total = np.bincount(votes.annotator, weights=same, minlength=votes.annotators)
    return np.divide(total, count, out=np.full(votes.annotators, np.nan), where=count > 0)
