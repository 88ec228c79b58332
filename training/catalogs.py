"""Everything of the training app that can be chosen: training methods, job kinds."""

from training.lifter.config import PRESETS, LifterConfig, TuneConfig
from webapp.catalog import Catalog, Offer
from webapp.jobs.run import job_kinds

training_methods = Catalog("training method")
training_methods.add(
    Offer(
        name="lifter",
        title="Lifter from ordinal labels",
        config=LifterConfig,
        target="training.work:train_lifter",
        source="Ronchi et al., BMVC 2018",
        extra={"presets": PRESETS},
    )
)
training_methods.add(
    Offer(
        name="fine-tune",
        title="Lifter fine-tuned on pseudo-labels",
        config=TuneConfig,
        target="training.fine_tuning:tune",
        source="Li et al. 2019, section 3.3",
    )
)


def list_job_kinds() -> None:
    """Job kinds need the configuration classes of verbs, which need the catalogue above."""
    from training.harvests import HarvestJob, PublishJob
    from training.lifts import LiftConfig
    from training.priors import PosePriorConfig, PriorConfig
    from training.runs import TrainConfig

    job_kinds.add(
        Offer(
            name="harvest",
            title="Harvest a multi-view recording",
            config=HarvestJob,
            target="training.harvesting:perform",
            extra={"queue": "heavy", "explains": True, "after": "training.harvests:tidy"},
        )
    )
    job_kinds.add(
        Offer(
            name="video-harvest",
            title="Harvest a video",
            config=HarvestJob,
            target="training.video_harvesting:perform",
            extra={"queue": "heavy", "explains": True, "after": "training.harvests:tidy"},
        )
    )
    job_kinds.add(
        Offer(
            name="publish-harvest",
            title="Make a data set of accepted pseudo-labels",
            config=PublishJob,
            target="training.harvesting:publish",
            extra={"queue": "light", "explains": True},
        )
    )
    job_kinds.add(
        Offer(
            name="depth-prior",
            title="Make a depth prior",
            config=PriorConfig,
            target="training.work:make_prior",
            extra={"queue": "heavy", "explains": True},
        )
    )

    job_kinds.add(
        Offer(
            name="pose-prior",
            title="Expect depths of similar poses",
            config=PosePriorConfig,
            target="training.priors:perform_from_poses",
            extra={"queue": "light", "explains": True},
        )
    )

    job_kinds.add(
        Offer(
            name="train",
            title="Train a model",
            config=TrainConfig,
            target="training.work:perform",
            extra={"queue": "heavy", "explains": True},
        )
    )
    job_kinds.add(
        Offer(
            name="lift",
            title="Lift 2D keypoints",
            config=LiftConfig,
            target="training.lifts:perform",
            extra={"queue": "light", "explains": True, "after": "training.lifts:tidy"},
        )
    )
