"""What the labeling app offers, one entry each. Imported once, when the site starts (`labeling.apps`)."""

from labeling.aggregation.aggregate import AggregateConfig
from labeling.campaigns.lifecycle import DeleteConfig, PrepareConfig
from labeling.catalogs import import_formats, person_models, question_models, release_formats
from labeling.crowd.config import ChosenConfig, DepthConfig, EaseConfig, PaperConfig, Rounds, TwoCoinConfig
from labeling.importing.storing import ImportConfig
from labeling.releasing.freeze import FreezeConfig
from webapp.catalog import Offer
from webapp.jobs.kinds import JobKind, job_kinds

# --- import formats ---
import_formats.add(
    Offer(
        name="lsp",
        title="Leeds Sports Pose, joints.mat (3 x 14 x N)",
        target="labeling.importing.lsp:read_lsp",
        source="Johnson and Everingham, BMVC 2010",
    )
)
import_formats.add(
    Offer(
        name="lsp-extended",
        title="LSP extended, joints.mat (14 x 3 x N)",
        target="labeling.importing.lsp:read_lsp_extended",
        source="Johnson and Everingham, CVPR 2011",
    )
)
import_formats.add(
    Offer(
        name="coco",
        title="COCO keypoints JSON",
        target="labeling.importing.coco:read_coco",
        source="Lin et al., ECCV 2014",
    )
)
import_formats.add(
    Offer(
        name="mpii",
        title="MPII Human Pose, MATLAB release",
        target="labeling.importing.mpii:read_mpii",
        source="Andriluka et al., CVPR 2014",
    )
)
import_formats.add(
    Offer(
        name="csv",
        title="Table, one keypoint a line (CSV)",
        target="labeling.importing.table:read_csv",
        source="docs/admins.md",
    )
)
import_formats.add(
    Offer(
        name="json",
        title="Pictures and people (JSON)",
        target="labeling.importing.table:read_json",
        source="docs/admins.md",
    )
)
import_formats.add(
    Offer(
        name="ordinal",
        title="Ordinal data set (LSP style, our releases)",
        target="labeling.importing.table:read_ordinal",
        source="Ronchi et al., BMVC 2018",
    )
)

# --- crowd models ---
question_models.add(
    Offer(
        name="paper",
        title="The paper's model: two error rates per annotator, pooled priors",
        config=PaperConfig,
        target="labeling.crowd.question_models.paper:fit",
        source="Branson et al., CVPR 2017; Ronchi et al., BMVC 2018",
    )
)
person_models.add(
    Offer(
        name="depth",
        title="All votes of a picture together: labels for every pair",
        config=DepthConfig,
        target="labeling.crowd.depth:fit",
        source="docs/methods/crowd.md",
    )
)
question_models.add(
    Offer(
        name="calibrated",
        title="Two-coin, ease or shared misperception, chosen by held-out votes",
        config=ChosenConfig,
        target="labeling.crowd.question_models.model_selection:fit",
        source="docs/methods/crowd.md",
    )
)
question_models.add(
    Offer(
        name="two-coin",
        title="Two error rates per annotator, fitted priors",
        config=TwoCoinConfig,
        target="labeling.crowd.question_models.two_coin:fit",
        source="Raykar et al. 2010",
    )
)
question_models.add(
    Offer(
        name="ease",
        title="Ease of questions, skill and bias of annotators",
        config=EaseConfig,
        target="labeling.crowd.question_models.ease:fit",
        source="Whitehill et al. 2009",
    )
)
question_models.add(
    Offer(
        name="majority-vote",
        title="Majority vote",
        target="labeling.crowd.question_models.library:majority_vote",
        source="crowd-kit MajorityVote",
    )
)
question_models.add(
    Offer(
        name="dawid-skene",
        title="Dawid-Skene",
        config=Rounds,
        target="labeling.crowd.question_models.library:dawid_skene",
        source="Dawid and Skene 1979; crowd-kit",
    )
)
question_models.add(
    Offer(
        name="one-coin",
        title="One-coin Dawid-Skene",
        config=Rounds,
        target="labeling.crowd.question_models.library:one_coin",
        source="Zhang et al. 2014; crowd-kit",
    )
)
question_models.add(
    Offer(
        name="glad",
        title="GLAD: ability and difficulty",
        config=Rounds,
        target="labeling.crowd.question_models.library:glad",
        source="Whitehill et al. 2009; crowd-kit",
    )
)
question_models.add(
    Offer(
        name="mace",
        title="MACE: competence and spamming",
        config=Rounds,
        target="labeling.crowd.question_models.library:mace",
        source="Hovy et al. 2013; crowd-kit",
    )
)
question_models.add(
    Offer(
        name="wawa",
        title="Wawa: majority weighted by agreement",
        target="labeling.crowd.question_models.library:wawa",
        source="crowd-kit Wawa",
    )
)
question_models.add(
    Offer(
        name="zero-based-skill",
        title="Zero-based skill",
        config=Rounds,
        target="labeling.crowd.question_models.library:zero_based_skill",
        source="crowd-kit ZeroBasedSkill",
    )
)

# --- release formats, in this order: the tables come first, because the other files are made from them ---
release_formats.add(
    Offer(
        name="labels.parquet",
        title="Labels, Parquet",
        target="labeling.releasing.tables:write_labels_parquet",
    )
)
release_formats.add(
    Offer(
        name="ordinal.json",
        title="Ordinal data set, LSP style",
        target="labeling.releasing.ordinal_json:write",
    )
)
release_formats.add(
    Offer(
        name="joints.mat",
        title="Keypoints, LSP layout (third channel 1 = occluded)",
        target="labeling.releasing.lsp_mat:write",
    )
)
release_formats.add(
    Offer(
        name="coco.json",
        title="COCO keypoints with the pairs added",
        target="labeling.releasing.coco:write",
    )
)
release_formats.add(
    Offer(
        name="labels.csv",
        title="Labels, one pair a line",
        target="labeling.releasing.tables:write_labels_csv",
    )
)
release_formats.add(
    Offer(
        name="votes.parquet",
        title="Raw votes, Parquet; annotators pseudonymised",
        target="labeling.releasing.tables:write_votes_parquet",
    )
)
release_formats.add(
    Offer(
        name="votes.csv",
        title="Raw votes, annotators pseudonymised",
        target="labeling.releasing.tables:write_votes_csv",
    )
)
release_formats.add(
    Offer(
        name="reference_answers.csv",
        title="Answers to gold questions and mirror probes",
        target="labeling.releasing.tables:write_reference_answers_csv",
    )
)

# --- job kinds ---
job_kinds.add(
    JobKind(
        name="import-dataset",
        title="Import a data set",
        config=ImportConfig,
        target="labeling.importing.storing:run_import",
        after="labeling.importing.storing:tidy",
    )
)
job_kinds.add(
    JobKind(
        name="prepare-campaign",
        title="Prepare a campaign",
        config=PrepareConfig,
        target="labeling.campaigns.lifecycle:run_preparation",
    )
)
job_kinds.add(
    JobKind(
        name="delete-campaign",
        title="Delete a campaign",
        config=DeleteConfig,
        target="labeling.campaigns.lifecycle:run_deletion",
    )
)
job_kinds.add(
    JobKind(
        name="aggregate",
        title="Aggregate votes",
        config=AggregateConfig,
        target="labeling.aggregation.aggregate:run_aggregation",
    )
)
job_kinds.add(
    JobKind(
        name="release",
        title="Make a release",
        config=FreezeConfig,
        target="labeling.releasing.freeze:run_release",
    )
)
