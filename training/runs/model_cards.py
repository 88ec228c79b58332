"""The card of a model: what it is, from what and how it was made, how good it is, what to beware of. Markdown."""

from __future__ import annotations

from typing import Any

from training.models import Model, Run

_MEASURES = {
    "true_error": "relative-label error, true order",
    "label_error": "relative-label error, labels",
    "mpjpe_mm": "MPJPE (mm)",
    "n_mpjpe_mm": "N-MPJPE (mm)",
    "coded_scale_mm": "scale-aligned as Ronchi et al. coded it (mm)",
    "pa_mpjpe_mm": "PA-MPJPE (mm)",
    "pck_150mm": "PCK at 150 mm, after Procrustes",
    "auc_150mm": "AUC to 150 mm, after Procrustes",
}


def write(model: Model, run: Run, metrics: dict[str, Any]) -> str:
    """Markdown text of the card; figures as measured on the release's held-out pictures."""
    dataset, release = run.release.campaign.dataset, run.release
    parent = (
        f"fine-tuned from {run.started_from.name} v{run.started_from.version}" if run.started_from else "from scratch"
    )
    intervals = metrics.get("interval_95", {})
    rows = [
        f"| {title} | {metrics[key]} | {' to '.join(map(str, intervals[key])) if key in intervals else '–'} |"
        for key, title in _MEASURES.items()
        if key in metrics
    ]
    config = [f"| {k} | {v} |" for k, v in run.config.items()]
    return "\n".join(
        [
            f"# {model.name} v{model.version}",
            "",
            f"Lifter from 2D keypoints to 3D poses, {parent}, trained by Nearer on the release “{release.title}” of the "
            f"data set “{dataset.name}”.",
            "",
            f"- weights: safetensors, sha256 `{model.sha256}`, {model.bytes} bytes; also as ONNX",
            f"- keypoints, in order: {', '.join(model.keypoints)}",
            "- camera frame: x right, y down, z away from the camera; root at the origin",
            f"- training data: licence {dataset.licence or 'not stated'}; {dataset.attribution or 'no attribution given'}",
            *(
                [
                    f"- beside it, {pseudo['joints']} pseudo-labels of {pseudo['people']} people (harvest `{pseudo['harvest']}`, "
                    f"sha256 `{pseudo['sha256']}`): estimates, not measurements"
                ]
                if (pseudo := metrics.get("pseudo"))
                else []
            ),
            f"- release `{release.uuid}`, run `{run.uuid}`, seed {run.config.get('seed')}",
            "",
            f"## Measured on {metrics.get('held_out_people', 0)} held-out people",
            "",
            "| measure | value | 95 % interval (bootstrap over people) |",
            "|---|---|---|",
            *rows,
            "",
            "## Beware",
            "",
            "Depth is learned from people's answers about pairs of joints: small depth gaps are the least certain. Sizes in mm "
            "rest on assumed bone lengths. Nobody outside the training data's poses, clothes and cameras was measured. Not "
            "for identifying people, and not for medical or safety decisions.",
            "",
            "## Configuration",
            "",
            "| option | value |",
            "|---|---|",
            *config,
            "",
        ]
    )
