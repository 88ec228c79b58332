"""The lifter's configuration: one typed object for command line, API and dashboard, and its presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from webapp.config import Config


class LifterConfig(Config):
    """Defaults are our own preset 'nearer'; 'paper' is as the authors coded it (docs/methods/lifter.md)."""

    objective: Literal["ordinal", "supervised"] = Field(
        "ordinal", description="ordinal: learn from labelled pairs; supervised: from true 3D, the baseline"
    )
    depth: Literal["bones", "free"] = Field(
        "bones",
        description="bones: depth from each bone's length, scale and learned sign; free: the network's own coordinates",
    )
    hidden: int = Field(512, ge=8, le=8192, description="width of the fully connected layers (paper: 1024)")
    stages: Literal[1, 2] = Field(1, description="residual stages (paper: 1)")
    dropout: float = Field(0.25, ge=0, lt=1, description="share of features dropped in training (paper: 0.5)")
    epochs: int = Field(300, ge=1, le=100_000, description="passes over the training poses")
    batch: int = Field(64, ge=2, le=65_536, description="poses per step")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="of Adam, at the start")
    schedule: Literal["cosine", "step"] = Field("cosine", description="step: times 0.96 every 100,000 steps (paper)")
    clip_norm: float = Field(1.0, gt=0, le=1e6, description="global gradient norm")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights; 0: none (paper)")
    precision: Literal["float32", "bf16"] = Field(
        "float32",
        description="of matrix products in training; losses are float32; bf16 only where the processor has it",
    )
    slope: float = Field(2.5, gt=0, le=100, description="lambda of the relative loss (free depth)")
    relative_weight: float = Field(1.0, ge=0, le=100, description="of the relative loss")
    reprojection_weight: float = Field(0.1, ge=0, le=100, description="of the reprojection loss (free depth)")
    root_weight: float = Field(1.0, ge=0, le=100, description="of the root loss (free depth)")
    skeleton_weight: float = Field(
        1.0,
        ge=0,
        le=10,
        description="of bone length ratios (free; above 2 training tends to collapse) or likely angles (bones)",
    )
    sureness_weight: float = Field(
        0.003, ge=0, le=1, description="cost of squared sign logits (bones): labels are few, sure signs often wrong"
    )
    scale_range: float = Field(1.0, gt=0, le=1e4, description="largest camera scale (free depth)")
    lengths: Literal["auto", "average", "typical", "generic", "given", "learned"] = Field(
        "auto",
        description="bone lengths: average of the true training poses; of a typical adult; of the authors' generic "
        "skeleton; each person's own true ones; or learned from typical ones, left as long as right. auto: average where "
        "truth is known, else learned (bones) or typical (free)",
    )
    camera: Literal["known", "orthographic"] = Field(
        "known", description="known: use focal length and principal point where the data has them"
    )
    learn_pitch: bool = Field(
        False, description="learn one camera pitch, for annotators who judge as if the camera were level"
    )
    targets: Literal["soft", "hard"] = Field("soft", description="soft: cross-entropy against prob; hard: its sign")
    pairs: Literal["all", "one"] = Field("all", description="pairs of a pose per step; one is drawn anew (paper)")
    input_scale: Literal["person", "pixels"] = Field("person", description="person: every pose scaled to one size")
    mirror: bool = Field(True, description="mirror half of the poses in each step, left and right swapped")
    rotate_deg: float = Field(10.0, ge=0, le=180, description="turn poses in the picture by up to this angle")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of weights, order, dropout and copies")

    @model_validator(mode="after")
    def _whole(self) -> LifterConfig:
        if self.objective == "supervised" and self.depth == "bones":
            raise ValueError("objective 'supervised' needs depth 'free': it learns coordinates, not signs of bones")
        if self.depth == "bones" and self.input_scale == "pixels":
            raise ValueError("depth 'bones' needs input_scale 'person': camera scale is sought around one size")
        return self


class PseudoConfig(Config):
    """How pseudo-labels are learned beside (Li et al. 2019, eq. 2 to 5)."""

    fidelity_weight: float = Field(1.0, ge=0, le=1000, description="of the distance to pseudo-labels")
    weighted: bool = Field(True, description="doubtful joints count by their confidence; False: all alike")
    bones_weight: float = Field(0.1, ge=0, le=1000, description="of steady bone lengths (the paper's gamma)")
    confident: float = Field(
        0.7, ge=0, le=1, description="confidence from which a joint counts fully (the paper's tau)"
    )


class TuneConfig(LifterConfig, PseudoConfig):
    """A lifter that learns a harvest's pseudo-labels beside its release's own labels; the rest is its parent's configuration."""

    epochs: int = Field(20, ge=1, le=100_000, description="passes over the training poses")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="of Adam, at the start")
    harvest: str = Field("", max_length=36, description="uuid of the harvest whose pseudo-labels are learned")
    learn_from: Literal["accepted", "unrejected"] = Field(
        "accepted", description="only what reviewers accepted, or everything that they did not reject"
    )

    @property
    def lifter(self) -> LifterConfig:
        return LifterConfig.model_validate(self.model_dump(include=set(LifterConfig.model_fields)))

    @property
    def pseudo(self) -> PseudoConfig:
        return PseudoConfig.model_validate(self.model_dump(include=set(PseudoConfig.model_fields)))


NEARER = LifterConfig()
PAPER = LifterConfig(
    depth="free",
    hidden=1024,
    dropout=0.5,
    epochs=100,
    schedule="step",
    average=0.0,
    camera="orthographic",
    targets="hard",
    pairs="one",
    input_scale="pixels",
    mirror=False,
    rotate_deg=0.0,
)


def changed(config: LifterConfig, **changes: object) -> LifterConfig:
    """The configuration with other values, checked again."""
    return LifterConfig.model_validate(config.model_dump() | changes)


# Rows of the paper that differ by labels alone (ties, noise, flips) are in training.lifter.experiments: `manage.py reproduce`.
PRESETS: dict[str, LifterConfig] = {
    "nearer": NEARER,
    "nearer-large": changed(NEARER, epochs=60, batch=256, precision="bf16"),
    "supervised": changed(NEARER, objective="supervised", depth="free", epochs=60, batch=256, precision="bf16"),
    "paper": PAPER,
    "paper-supervised": changed(PAPER, objective="supervised", epochs=25),
    "paper-table1-3": changed(PAPER, camera="known"),
    "paper-table1-4": changed(PAPER, lengths="generic"),
    "paper-table1-5": changed(PAPER, skeleton_weight=0.0),
}
