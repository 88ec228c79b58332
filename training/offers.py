"""What the training app offers, one entry each. Imported once, when the site starts (`training.apps`)."""

from training.catalogs import HarvesterOffer, TrainingMethod, UploadedPart, harvesters, training_methods
from training.harvests.publication import PublishJob
from training.harvests.uploads import HarvestJob
from training.lifter.config import PRESETS, LifterConfig, TuneConfig
from training.multiview.config import HarvestConfig
from training.multiview.upload import MultiviewPlan
from training.priors.depth_priors import PosePriorConfig, PriorConfig
from training.runs.launch import TrainConfig
from training.runs.lifts import LiftConfig
from training.video.config import VideoConfig
from training.video.upload import KEYPOINTS, SHOWN, VideoPlan
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
harvesters.add(
    HarvesterOffer(
        name="multiview",
        title="Recording of several cameras",
        plan=MultiviewPlan,
        config=HarvestConfig,
        parts=(
            UploadedPart(
                "calibration",
                "Calibration",
                (".qca.txt", ".toml", ".yaml", ".yml", ".npz", ".txt"),
                ".toml, .qca.txt, .yaml or .npz",
            ),
            UploadedPart(
                "detections",
                "Detections",
                (".npz", ".zip"),
                ".npz, or .zip with a folder or file per camera (OpenPose, COCO, DeepLabCut, SLEAP), or of heatmaps",
            ),
            UploadedPart(
                "views", "Views", (".zip",), ".zip with a video or a folder of pictures per camera", required=False
            ),
        ),
        check="training.multiview.upload:check",
        target="training.multiview.harvester:harvest_upload",
        source="Pavlakos et al., CVPR 2017",
        about="Cameras and views are matched by name, else by their order. Without views the harvest works, but reviewers see no "
        "pictures and no data set can be made.",
    )
)
harvesters.add(
    HarvesterOffer(
        name="video",
        title="Video of one camera",
        plan=VideoPlan,
        config=VideoConfig,
        parts=(
            UploadedPart(
                "detections",
                "2D keypoints or 3D predictions",
                KEYPOINTS,
                ".npz, .json (COCO, AlphaPose, MMPose), .csv (DeepLabCut), .h5 (SLEAP), or .zip of OpenPose JSON files; npz with poses_mm for 3D",
            ),
            UploadedPart("video", "Video", SHOWN, "a video file, or a .zip of pictures", required=False),
        ),
        check="training.video.upload:check",
        target="training.video.harvester:harvest_upload",
        source="Li et al., ICCV 2019",
        about="People are followed and cut into clips where they leave or cross. Their 2D tracks are cleaned and lifted again, then "
        "smoothed. Without the video the harvest works, but reviewers see no pictures and no data set can be made.",
    )
)
job_kinds.add(
    JobKind(
        name="harvest",
        title="Harvest a recording",
        config=HarvestJob,
        target="training.harvests.jobs:run_harvest",
        queue="heavy",
        after="training.harvests.uploads:tidy",
    )
)
job_kinds.add(
    JobKind(
        name="publish-harvest",
        title="Make a data set of accepted pseudo-labels",
        config=PublishJob,
        target="training.harvests.publication_job:run_publication",
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
