"""Shapes in annotations are checked while tests run (jaxtyping, beartype), and cost nothing otherwise.

A pytest plugin, loaded before anything of ours is imported: `pyproject.toml` names it.
"""

from jaxtyping import install_import_hook

CHECKED = (
    "labeling.crowd.measures",
    "labeling.crowd.selection",
    "labeling.crowd.votes",
    "training.harvest.arrays",
    "training.harvest.selection",
    "training.multiview.triangulation",
    "training.poses.cameras",
    "training.poses.human36m",
    "training.poses.metrics",
    "training.poses.rotations",
)
install_import_hook(list(CHECKED), "beartype.beartype")
