"""All tables of the labeling app; Django looks for them here."""

from labeling.models.campaign import Campaign, Participation, ReferenceQuestion, SawAnswers, Session
from labeling.models.dataset import Dataset, Image, Pair, Person, SkeletonRow
from labeling.models.label import AggregationRun, AnnotatorScore, Label, Release
from labeling.models.posterior import DepthPosterior, DepthPrior, PersonPrior
from labeling.models.report import QuestionReport
from labeling.models.vote import (
    Assignment,
    GoldAnswer,
    GoldRetraction,
    ProbeAnswer,
    ProbeRetraction,
    Retraction,
    TutorialAnswer,
    TutorialTry,
    Vote,
)

__all__ = [
    "AggregationRun",
    "AnnotatorScore",
    "Assignment",
    "Campaign",
    "Dataset",
    "DepthPosterior",
    "DepthPrior",
    "GoldAnswer",
    "GoldRetraction",
    "Image",
    "Label",
    "Pair",
    "Participation",
    "Person",
    "PersonPrior",
    "ProbeAnswer",
    "ProbeRetraction",
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
