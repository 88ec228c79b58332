"""Releases: publish a campaign's current labels as a frozen, numbered, checksummed folder of files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, OuterRef
from django.utils import timezone

from labeling.catalogs import release_formats
from labeling.models import Campaign, Release, Vote
from labeling.releasing.source import Source
from webapp import audit, rows
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config
from webapp.errors import Conflict, Invalid
from webapp.jobs import run
from webapp.jobs.leftovers import staged_by
from webapp.jobs.models import Job


class NoLabels(Conflict):
    code = "no_labels"


class FreezeConfig(Config):
    campaign: str
    note: str = ""


def start(actor: Account, campaign: Campaign, *, note: str = "") -> Job:
    """Enqueue the making of a campaign's next release. Raises NotAllowed, NoLabels."""
    require(actor, Role.ADMIN)
    if len(note) > 5000:
        raise Invalid("The note is longer than 5000 characters.", field="note")
    if not campaign.aggregation_runs.exists():
        raise NoLabels("The campaign has no labels yet.", field="campaign", fix="aggregate its votes first")
    config = FreezeConfig(campaign=str(campaign.uuid), note=note)
    return run.enqueue(actor, "release", config.model_dump(), title=f"Release {campaign.name}")


def run_release(context: run.JobContext, config: FreezeConfig) -> dict[str, Any]:
    campaign = Campaign.objects.select_related("dataset__skeleton").get(uuid=config.campaign)
    release = freeze(context.actor, campaign, note=config.note, context=context)
    return {"release": str(release.uuid), "number": release.number, "files": release.manifest["files"]}


def freeze(
    actor: Account | None, campaign: Campaign, *, note: str = "", context: run.JobContext | None = None
) -> Release:
    """Write and publish. Frozen twice without new labels, it returns the same release."""
    aggregation_run = campaign.aggregation_runs.first()
    if aggregation_run is None:
        raise NoLabels("The campaign has no labels yet.", field="campaign", fix="aggregate its votes first")
    known = Release.objects.filter(aggregation_run=aggregation_run).first()
    if known:
        return known
    release = Release(
        campaign=campaign, aggregation_run=aggregation_run, note=note, created_by=actor, uuid=uuid.uuid4()
    )
    root = Path(settings.MEDIA_ROOT)
    aside = staged_by(context.job) if context else root / "staged" / release.uuid.hex
    aside.mkdir(parents=True)
    try:
        _write_files(Source(campaign, aggregation_run), aside, context)
        with transaction.atomic():
            if context:
                context.hold()
            Campaign.objects.select_for_update(no_key=True).get(pk=campaign.pk)
            release.number = (campaign.releases.aggregate(n=Max("number"))["n"] or 0) + 1
            release.manifest = _manifest(release, aside)
            (aside / "manifest.json").write_text(json.dumps(release.manifest, indent=1))
            release.save()
            audit.record(actor, "release.freeze", release, number=release.number)
            target = root / release.folder
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return release


def _write_files(source: Source, folder: Path, context: run.JobContext | None) -> None:
    offers = list(release_formats)
    with rows.snapshot():  # one state for all files; nobody waits for it
        for position, offer in enumerate(offers):
            if context:
                context.progress(position, len(offers), "files")
            offer.load()(source, folder / offer.name)
    (folder / "data_card.md").write_text(_data_card(source), encoding="utf-8")


def _manifest(release: Release, folder: Path) -> dict[str, Any]:
    aggregation_run = release.aggregation_run
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            files[path.name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
    return {
        "release": str(release.uuid),
        "campaign": release.campaign.name,
        "number": release.number,
        "note": release.note,
        "created_at": timezone.now().isoformat(timespec="seconds"),
        "files": files,
        "crowd_model": aggregation_run.model,
        "aggregation_run": aggregation_run.number,
        "votes_used": aggregation_run.votes_used,
        "asked": how_asked(release.campaign),
        "measures": aggregation_run.measures,
    }


def _asked_in_words(campaign: Campaign) -> str:
    if campaign.mode == Campaign.Mode.FIXED:
        return f"{campaign.votes_per_pair} votes on each pair"
    prior = f", starting from the depths of {campaign.prior.name}" if campaign.prior else ""
    control = (
        f"; {campaign.control_share:.0%} of the people asked uniformly and without a prior (`control` = 1)"
        if campaign.control_share
        else ""
    )
    return f"adaptive: the most informative pair next{prior}{control}. The labels are no uniform sample"


def how_asked(campaign: Campaign) -> dict[str, Any]:
    """By which rule questions were chosen: labels of an adaptive campaign are no uniform sample."""
    return {
        "mode": campaign.mode,
        "prior": campaign.prior.name if campaign.prior else None,
        "control_share": campaign.control_share,
        "votes_per_pair": campaign.votes_per_pair if campaign.mode == Campaign.Mode.FIXED else None,
        "most_votes": None if campaign.mode == Campaign.Mode.FIXED else campaign.most_votes,
        "stop_risk": None if campaign.mode == Campaign.Mode.FIXED else campaign.stop_risk,
        "gold_share": campaign.gold_share,
        "probe_share": campaign.probe_share,
        "guard": campaign.guard,
    }


def _data_card(source: Source) -> str:
    campaign, aggregation_run = source.campaign, source.aggregation_run
    dataset = campaign.dataset
    voted = campaign.participations.filter(Exists(Vote.objects.filter(participation=OuterRef("pk"))))
    simulated = voted.filter(annotator__is_simulated=True).count()
    people = voted.filter(annotator__is_simulated=False).count()
    warning = (
        f"\n**{simulated} of the annotators are simulated.** Their votes are not human data.\n" if simulated else ""
    )
    return f"""# {campaign.name}

Ordinal depth labels: which of two keypoints is closer to the camera.
{warning}
| | |
|---|---|
| data set | {dataset.name} |
| licence | {dataset.licence or "not stated"} |
| attribution | {dataset.attribution or "not stated"} |
| skeleton | {source.skeleton.name}: {", ".join(source.skeleton.keypoints)} |
| people in pictures | {source.count()} |
| annotators | {people} people, {simulated} simulated |
| votes used | {aggregation_run.votes_used} |
| crowd model | {aggregation_run.model}, run {aggregation_run.number}, {json.dumps(aggregation_run.config)} |
| viewing time before an answer | {campaign.delay_ms} ms |
| questions | {_asked_in_words(campaign)} |
| gold questions, mirror probes | {campaign.gold_share:.0%} and {campaign.probe_share:.0%} of the questions; answers in `reference_answers.csv` |
| suspicious annotators | {"paused" if campaign.guard == "pause" else "flagged"} automatically |
| answer 'same' | {"offered" if campaign.allow_same else "not offered"} |

`label` 0 = kp0 is closer, 1 = kp1 is closer. `prob` = P(label = 1). `risk` = probability that `label` is wrong.
`prob_without_prior` = the same from votes alone, where the aggregation started from a lifter's or a pose library's depths. `votes` 0: nobody
was asked about this pair; its label follows from the other answers about the same person.
`joints.mat`: 3 x J x N, third channel 1 = occluded, absent keypoints NaN. Pixel origin: outer corner of the top left
pixel. Votes carry pseudonyms of this campaign; votes taken back are listed with the time of their retraction.
"""
