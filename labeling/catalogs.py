"""Everything of the labeling app that can be chosen: import formats, crowd models, release formats, job kinds."""

from labeling.crowd.config import ChosenConfig, DepthConfig, EaseConfig, PaperConfig, Rounds, TwoCoinConfig
from webapp.catalog import Catalog, NoOptions, Offer
from webapp.jobs.run import job_kinds

import_formats = Catalog("import format")
crowd_models = Catalog("crowd model")
release_formats = Catalog("release format")

_IN = "labeling.importing"
for name, title, target, source in (
    ("lsp", "Leeds Sports Pose, joints.mat (3 x 14 x N)", "lsp:read_lsp", "Johnson and Everingham, BMVC 2010"),
    (
        "lsp-extended",
        "LSP extended, joints.mat (14 x 3 x N)",
        "lsp:read_lsp_extended",
        "Johnson and Everingham, CVPR 2011",
    ),
    ("coco", "COCO keypoints JSON", "coco:read_coco", "Lin et al., ECCV 2014"),
    ("mpii", "MPII Human Pose, MATLAB release", "mpii:read_mpii", "Andriluka et al., CVPR 2014"),
    ("csv", "Table, one keypoint a line (CSV)", "table:read_csv", "docs/admins.md"),
    ("json", "Pictures and people (JSON)", "table:read_json", "docs/admins.md"),
    ("ordinal", "Ordinal data set (LSP style, our releases)", "table:read_ordinal", "Ronchi et al., BMVC 2018"),
):
    import_formats.add(Offer(name=name, title=title, target=f"{_IN}.{target}", source=source))

crowd_models.add(
    Offer(
        name="paper",
        title="The paper's model: two error rates per annotator, pooled priors",
        config=PaperConfig,
        target="labeling.crowd.paper:fit",
        source="Branson et al., CVPR 2017; Ronchi et al., BMVC 2018",
    )
)
for name, title, config, target, source, extra in (
    (
        "depth",
        "All votes of a picture together: labels for every pair",
        DepthConfig,
        "depth:fit",
        "docs/methods/crowd.md",
        {"whole_pictures": True},
    ),
    (
        "calibrated",
        "Two-coin, ease or shared misperception, chosen by held-out votes",
        ChosenConfig,
        "chosen:fit",
        "docs/methods/crowd.md",
        {},
    ),
    (
        "two-coin",
        "Two error rates per annotator, fitted priors",
        TwoCoinConfig,
        "twocoin:fit",
        "Raykar et al. 2010",
        {},
    ),
    ("ease", "Ease of questions, skill and bias of annotators", EaseConfig, "ease:fit", "Whitehill et al. 2009", {}),
):
    crowd_models.add(
        Offer(name=name, title=title, config=config, target=f"labeling.crowd.{target}", source=source, extra=extra)
    )
for name, title, config, function, source in (
    ("majority-vote", "Majority vote", NoOptions, "majority_vote", "crowd-kit MajorityVote"),
    ("dawid-skene", "Dawid-Skene", Rounds, "dawid_skene", "Dawid and Skene 1979; crowd-kit"),
    ("one-coin", "One-coin Dawid-Skene", Rounds, "one_coin", "Zhang et al. 2014; crowd-kit"),
    ("glad", "GLAD: ability and difficulty", Rounds, "glad", "Whitehill et al. 2009; crowd-kit"),
    ("mace", "MACE: competence and spamming", Rounds, "mace", "Hovy et al. 2013; crowd-kit"),
    ("wawa", "Wawa: majority weighted by agreement", NoOptions, "wawa", "crowd-kit Wawa"),
    ("zero-based-skill", "Zero-based skill", Rounds, "zero_based_skill", "crowd-kit ZeroBasedSkill"),
):
    crowd_models.add(
        Offer(name=name, title=title, config=config, target=f"labeling.crowd.library:{function}", source=source)
    )

_OUT = "labeling.releasing"
# In this order: the tables come first, because the other files are made from them.
for name, title, target in (
    ("labels.parquet", "Labels, Parquet", "tables:write_labels_parquet"),
    ("ordinal.json", "Ordinal data set, LSP style", "ordinal_json:write"),
    ("joints.mat", "Keypoints, LSP layout (third channel 1 = occluded)", "lsp_mat:write"),
    ("coco.json", "COCO keypoints with the pairs added", "coco:write"),
    ("labels.csv", "Labels, one pair a line", "tables:write_labels_csv"),
    ("votes.parquet", "Raw votes, Parquet; annotators pseudonymised", "tables:write_votes_parquet"),
    ("votes.csv", "Raw votes, annotators pseudonymised", "tables:write_votes_csv"),
    ("known_answers.csv", "Answers to gold questions and mirror probes", "tables:write_known_answers_csv"),
):
    release_formats.add(Offer(name=name, title=title, target=f"{_OUT}.{target}"))


def list_job_kinds() -> None:
    """Job kinds need the configuration classes of verbs, which need the catalogues above."""
    from labeling.aggregation import AggregateConfig
    from labeling.campaigns import DeleteConfig, PrepareConfig
    from labeling.importing.storing import ImportConfig
    from labeling.releasing.freeze import FreezeConfig

    for name, title, config, target, extra in (
        (
            "import-dataset",
            "Import a data set",
            ImportConfig,
            "labeling.importing.storing:perform",
            {"after": "labeling.importing.storing:tidy"},
        ),
        ("prepare-campaign", "Prepare a campaign", PrepareConfig, "labeling.campaigns:prepare", {}),
        ("delete-campaign", "Delete a campaign", DeleteConfig, "labeling.campaigns:perform_delete", {}),
        ("aggregate", "Merge votes", AggregateConfig, "labeling.aggregation:perform", {}),
        ("release", "Make a release", FreezeConfig, "labeling.releasing.freeze:perform", {}),
    ):
        job_kinds.add(Offer(name=name, title=title, config=config, target=target, extra=extra))
