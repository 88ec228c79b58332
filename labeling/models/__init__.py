"""All tables of the labeling app; Django looks for them here."""

from labeling.models.campaign import Campaign, KnownQuestion, Participation, SawAnswers, Session
from labeling.models.dataset import Dataset, Image, Pair, Person, SkeletonRow
from labeling.models.label import AnnotatorScore, CrowdRun, Label, Release
from labeling.models.percept import DepthPrior, Percept, PersonPrior
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
    "AnnotatorScore",
    "Assignment",
    "Campaign",
    "CrowdRun",
    "Dataset",
    "DepthPrior",
    "GoldAnswer",
    "GoldRetraction",
    "Image",
    "KnownQuestion",
    "Label",
    "Pair",
    "Participation",
    "Percept",
    "Person",
    "PersonPrior",
    "ProbeAnswer",
    "ProbeRetraction",
    "QuestionReport",
    "Release",
    "Retraction",
    "SawAnswers",
    "Session",
    "SkeletonRow",
    "TutorialAnswer",
    "TutorialTry",
    "Vote",
]
