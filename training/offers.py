"""What the training app offers, one entry each. Imported once, when the site starts (`training.apps`)."""

from training.catalogs import TrainingMethod, training_methods
from training.harvests.publication import PublishJob
from training.harvests.uploads import HarvestJob
from training.lifter.config import PRESETS, LifterConfig, TuneConfig
from training.priors.depth_priors import PosePriorConfig, PriorConfig
from training.runs.launch import TrainConfig
from training.runs.lifts import LiftConfig
from webapp.jobs.kinds import JobKind, job_kinds

training_methods.add(
    TrainingMethod(
        name="lifter",
        title="Lifter from ordinal labels",
        config=LifterConfig,
        target="training.runs.jobs:train_lifter",
        source="Ronchi et al., BMVC 2018",
        presets=PRESETS,
    )
)
training_methods.add(
    TrainingMethod(
        name="fine-tune",
        title="Lifter fine-tuned on pseudo-labels",
        config=TuneConfig,
        target="training.runs.fine_tune_job:tune",
        source="Li et al. 2019, section 3.3",
    )
)
job_kinds.add(
    JobKind(
        name="harvest",
        title="Harvest a multi-view recording",
        config=HarvestJob,
        target="training.harvests.jobs:run_harvest",
        queue="heavy",
        after="training.harvests.uploads:tidy",
    )
)
job_kinds.add(
    JobKind(
        name="video-harvest",
        title="Harvest a video",
        config=HarvestJob,
        target="training.harvests.video_jobs:run_video_harvest",
        queue="heavy",
        after="training.harvests.uploads:tidy",
    )
)
job_kinds.add(
    JobKind(
        name="publish-harvest",
        title="Make a data set of accepted pseudo-labels",
        config=PublishJob,
        target="training.harvests.jobs:run_publication",
    )
)
job_kinds.add(
    JobKind(
        name="depth-prior",
        title="Make a depth prior",
        config=PriorConfig,
        target="training.priors.jobs:run_depth_prior",
        queue="heavy",
    )
)
job_kinds.add(
    JobKind(
        name="pose-prior",
        title="Expect depths of similar poses",
        config=PosePriorConfig,
        target="training.priors.depth_priors:run_pose_prior",
    )
)
job_kinds.add(
    JobKind(
        name="train",
        title="Train a model",
        config=TrainConfig,
        target="training.runs.jobs:run_training",
        queue="heavy",
    )
)
job_kinds.add(
    JobKind(
        name="lift",
        title="Lift 2D keypoints",
        config=LiftConfig,
        target="training.runs.lifts:run_lift",
        after="training.runs.lifts:tidy",
    )
)
