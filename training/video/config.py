"""Options of the video harvester."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from webapp.config import Config


class CompletionConfig(Config):
    """Trajectory completion by augmented Lagrangian (Li et al. 2019, eq. 1). The weight of the trajectory's nuclear norm is 1."""

    equality: Literal["hard", "soft"] = Field(
        "hard", description="confident joints stay as predicted, or are weighted by score"
    )
    smooth: float = Field(0.075, ge=0, description="weight of squared first differences (lambda_d)")
    affinity: float = Field(0.75, gt=0, description="weight of the nuclear norm of the frames' affinity (lambda_c)")
    sparse: float = Field(0.025, gt=0, description="weight of gross errors of self-expression (lambda_e)")
    confident: float = Field(0.7, ge=0, le=1, description="score from which a joint counts as confident (tau)")
    trust: float = Field(1.0, gt=0, description="soft: weight of a prediction of score 1")
    power: float = Field(4.0, gt=0, description="soft: weights are the score to this power")
    unit_mm: float = Field(1000.0, ge=0, description="data are divided by this first; 0: by their mean size")
    mu: float = Field(
        0.25, gt=0, description="first penalty; at most `affinity`, so that the identity leaves the affinity at once"
    )
    growth: float = Field(1.2, gt=1, le=4, description="factor of the penalty per iteration (rho)")
    most_mu: float = Field(1e4, gt=0)
    iterations: int = Field(80, ge=1, le=10_000)
    tolerance: float = Field(1e-6, gt=0, description="stop when residuals and change are below")

    @model_validator(mode="after")
    def _identity_leaves(self) -> CompletionConfig:
        if self.mu > self.affinity:
            raise ValueError(
                "mu must be at most affinity: only then does the identity leave the affinity at the first step"
            )
        return self


class SmoothConfig(Config):
    """Our estimator of 3D trajectories: low rank, smooth motion and heavy-tailed noise that depends on the score, in one convex problem."""

    rank: float = Field(
        4.0, ge=0, description="weight of the nuclear norm at 300 frames; grows with the root of the length"
    )
    velocity: float = Field(
        0.0005, ge=0, description="weight of squared first differences (per mm), at 10 frames a second"
    )
    acceleration: float = Field(
        0.0005, ge=0, description="weight of squared second differences (per mm), at 10 frames a second"
    )
    gross_mm: float = Field(40.0, gt=0, description="residuals beyond count linearly (Huber)")
    full: float = Field(0.88, gt=0, le=1, description="scores from here on count alike")
    power: float = Field(12.0, ge=0, description="below, a prediction counts its share of that to this power")
    least: float = Field(0.02, gt=0, le=1, description="but at least this much")
    prior: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="weight of a Gaussian over whole poses, from authored ones; 0: none, 4 was best on training takes",
    )
    penalty: float = Field(0.02, gt=0, description="of the splitting (mu), fixed")
    iterations: int = Field(30, ge=1, le=1000)
    bones: float = Field(
        0.5, ge=0, le=1, description="how far bones are moved to their clip's median length at the end"
    )
    most_moved_mm: float = Field(
        60.0, gt=0, description="guard: confident joints that move further on average fall back to the plain smoother"
    )


class TrackConfig(Config):
    """Cleaning of 2D tracks before they are lifted."""

    stiffness: float = Field(0.3, ge=0, description="weight of squared second differences at 10 frames a second")
    gross: float = Field(0.05, gt=0, description="residuals of this share of the person's height count half (Cauchy)")
    power: float = Field(7.5, ge=0, description="a detection counts its score to this power")
    rounds: int = Field(6, ge=1, le=100, description="of reweighting")
    swaps: bool = Field(True, description="give exchanged left and right limbs back")
    swap_margin: float = Field(
        0.2, ge=0, description="log-likelihood per exchanged pair of joints that an exchange must gain"
    )
    steady: Literal["auto", "always", "never"] = Field(
        "auto", description="take what all joints share in a frame (a camera's shake) out before; auto: where it shakes"
    )
    rank: float = Field(
        2.0, ge=0, description="weight of the tracks' nuclear norm at 300 frames, a person being 1,700 high"
    )
    rank_rounds: int = Field(3, ge=0, le=20, description="of reweighting with low rank; 0: smooth tracks only")
    keep: float = Field(
        0.7, ge=0, description="detections within this share of `gross` of their track stay as they are; 0: none"
    )


class ClipConfig(Config):
    """Following people and cutting clips."""

    gap_s: float = Field(0.5, gt=0, le=60, description="a person not seen for longer begins a new clip")
    jump: float = Field(0.35, gt=0, description="a body moves at most this share of its size between two frames")
    crossing: float = Field(
        0.06,
        ge=0,
        description="share of a body's size by which exchanging two people must fit worse, else both are cut",
    )
    least_s: float = Field(0.3, ge=0, le=60, description="shorter clips are left out, unless all are")


class VideoConfig(Config):
    """How a video is harvested and which joints become pseudo-labels."""

    window_s: float = Field(20.0, gt=0, le=600, description="long clips are solved in windows of this length")
    fade_s: float = Field(1.0, gt=0, le=60, description="windows overlap and are faded into each other")
    smooth: bool = Field(True, description="smooth the lifted poses; False: only tracks are cleaned")
    root_stiffness: float = Field(
        3.0,
        ge=0,
        description="of the root's distance from the camera at 10 frames a second (squared second differences)",
    )
    keep_share: float = Field(0.7, gt=0, le=1, description="most certain share of each joint's estimates that is kept")
    labels_per_s: float = Field(
        10.0, ge=0, le=1000, description="frames a second that become pseudo-labels; 0: all of them"
    )
    clips: ClipConfig = ClipConfig()
    tracks: TrackConfig = TrackConfig()
    lifted: SmoothConfig = Field(
        SmoothConfig(rank=0.1, velocity=0.0, acceleration=0.001, gross_mm=50.0, full=1.0, power=1.0, bones=0.0),
        description="of lifted poses: little, since cleaned tracks have done most",
    )
    poses: SmoothConfig = Field(SmoothConfig(), description="of 3D predictions that were brought")
