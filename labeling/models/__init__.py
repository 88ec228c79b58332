"""All tables of the labeling app; Django looks for them here."""

from labeling.models.answer import (
    Answer,
    Assignment,
    Retraction,
    TutorialAnswer,
    TutorialTry,
    Vote,
)
from labeling.models.campaign import Campaign, Participation, ReferenceQuestion, SawAnswers, Session
from labeling.models.dataset import Dataset, Image, Pair, Person, SkeletonRow
from labeling.models.label import AggregationRun, AnnotatorScore, Label, Release
from labeling.models.posterior import DepthPosterior, DepthPrior, PersonPrior
from labeling.models.report import QuestionReport

__all__ = [
    "AggregationRun",
    "AnnotatorScore",
    "Answer",
    "Assignment",
    "Campaign",
    "Dataset",
    "DepthPosterior",
    "DepthPrior",
    "Image",
    "Label",
    "Pair",
    "Participation",
    "Person",
    "PersonPrior",
    "QuestionReport",
    "ReferenceQuestion",
    "Release",
    "Retraction",
    "SawAnswers",
    "Session",
    "SkeletonRow",
    "TutorialAnswer",
    "TutorialTry",
    "Vote",
]
