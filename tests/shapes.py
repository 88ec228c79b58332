"""Shapes in annotations are checked while tests run (jaxtyping, beartype), and cost nothing otherwise.

A pytest plugin, loaded before anything of ours is imported: `pyproject.toml` names it.
"""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

CHECKED = (
    "labeling.crowd",
    "labeling.releasing.reading",
    "training.harvest",
    "training.heatmaps",
    "training.lifter",
    "training.multiview",
    "training.poses",
    "training.priors.calibration",
    "training.simulation",
    "training.video",
)
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for mypy
install_import_hook(list(CHECKED), "tests.shapes.checked")
