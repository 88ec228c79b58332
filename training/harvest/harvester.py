"""The interface of a harvester: an upload becomes 3D joints with uncertainty, in the arrays that pseudo-labels are made of.

To add one: a function of this signature, a plan of what its form asks, and a line in `training.offers` (docs/how_to_add.md). Page, API, job and
review are there then. No Django here: what of the site a harvester needs (files of models, an unpacker that trusts no archive) comes with the upload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import Field

from labeling.skeletons import BUILT_IN, MOST_LETTERS, BadSkeleton, Skeleton, described
from training.harvest.arrays import HarvestArrays, Stretch
from training.poses.cameras import Camera
from webapp.config import Config
from webapp.errors import InputError
from webapp.progress import Progress

FILES = {
    "trc": "poses.trc",
    "c3d": "poses.c3d",
    "npz": "poses.npz",
    "coco": "poses.coco.json",
}  # what a harvest is written as


class BadRecording(InputError):
    """A recording that cannot be harvested. `field` names what is wrong, `fix` what would help."""


class HarvestPlan(Config):
    """What is asked of an upload of any harvester; a harvester's own plan adds to it."""

    name: str = Field(min_length=1, max_length=120)
    skeleton: str = Field("", title="Skeleton of the detections", description="empty: as their files say")
    own_skeleton: str = Field(
        "",
        max_length=MOST_LETTERS,
        title="Own skeleton",
        description="where none of these fits: joints in the file's order or by its names, then bones, such as "
        "'neck, left_hip, right_hip; neck-left_hip, neck-right_hip'; or a skeleton's JSON",
    )
    fps: float = Field(0.0, ge=0, le=10_000, title="Frames per second", description="0: as the files say, else 30")
    options: dict[str, Any] = Field(default_factory=dict, description="of the harvester")

    @property
    def asked_skeleton(self) -> Skeleton | None:
        """The skeleton that the plan names or describes; None where the files are to say it. Raises BadRecording."""
        if self.skeleton and self.skeleton not in BUILT_IN:
            raise BadRecording(
                "Unknown skeleton.", field="skeleton", value=self.skeleton, fix=f"one of {', '.join(BUILT_IN)}"
            )
        if not self.own_skeleton.strip():
            return BUILT_IN.get(self.skeleton)
        if self.skeleton:
            raise BadRecording("Name a skeleton or describe one, not both.", field="own_skeleton")
        try:
            return described(self.own_skeleton)
        except BadSkeleton as error:
            raise BadRecording(error.detail, field="own_skeleton") from None


@dataclass(frozen=True)
class Upload:
    """What is harvested. `files`: folder of the uploaded files, each named after its field; `work`: folder whose content outlives a killed
    worker; `cameras`: as the check of the upload read them; `models`: files of the lifters that the plan names; `unpack(archive,
    folder)` gives the folder of its files, or raises InputError."""

    files: Path
    work: Path
    plan: HarvestPlan
    unpack: Callable[[Path, Path], Path]
    cameras: Sequence[Camera] = ()
    models: Sequence[Path] = ()
    device: str = "cpu"
    threads: int = 1
    most_pixels: int = 64_000_000

    def file(self, name: str) -> Path | None:
        """The file of a field, whatever its ending."""
        return next(self.files.glob(f"{name}.*"), None)


@dataclass(frozen=True)
class Harvested:
    """The outcome. `report`: plain numbers and words that the harvest's page shows: `joints`, `findings`, `found` and `kept`
    counts, `shown`: rows of which there are pictures in the target's folder `views`. `stretches`: where rows are not frames."""

    arrays: HarvestArrays
    skeleton: Skeleton
    cameras: Sequence[Camera]
    fps: float
    report: dict[str, Any] = field(default_factory=dict)
    lengths_mm: Sequence[float] | None = None
    stretches: Sequence[Stretch] = ()


@runtime_checkable
class Harvester(Protocol):
    """Writes its arrays into `target`; called again with the same input it goes on where it was. Raises InputError."""

    def __call__(
        self, upload: Upload, config: Any, target: Path, *, progress: Progress, say: Callable[[str], None]
    ) -> Harvested: ...
