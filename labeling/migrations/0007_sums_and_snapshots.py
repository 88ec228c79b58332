"""Sums per annotator and campaign, a campaign on every vote, runs that are being written: filled from what is there."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Count, F, OuterRef, Q, Subquery, Sum

SAME = 2


def fill(apps, schema_editor):
    get = apps.get_model
    Vote, Participation, Campaign = get("labeling", "Vote"), get("labeling", "Participation"), get("labeling", "Campaign")
    Pair, Known, Try = get("labeling", "Pair"), get("labeling", "KnownQuestion"), get("labeling", "TutorialTry")
    GoldAnswer, ProbeAnswer = get("labeling", "GoldAnswer"), get("labeling", "ProbeAnswer")
    seat = Participation.objects.filter(pk=OuterRef("participation_id"))
    Vote.objects.update(campaign_id=Subquery(seat.values("campaign_id")[:1]))
    pairs = Pair.objects.order_by().values("campaign").annotate(
        n=Count("pk"), need=Sum("votes_needed"), done=Count("pk", filter=Q(votes_counted=F("votes_needed")))
    )
    for row in pairs:
        Campaign.objects.filter(pk=row["campaign"]).update(pair_count=row["n"], votes_wanted=row["need"] or 0)
        # Who finished which pair was not kept: the campaign's number stands with its first annotator, only sums are read.
        first = Participation.objects.filter(campaign=row["campaign"]).order_by("pk").values_list("pk", flat=True).first()
        Participation.objects.filter(pk=first).update(pairs_finished=row["done"])
    green = Q(side_seen__startswith="green", closer=0) | Q(side_seen__startswith="pink", closer=1)
    left = Q(side_seen__endswith="left", closer=0) | Q(side_seen__endswith="right", closer=1)
    votes = Vote.objects.filter(retraction__isnull=True).order_by().values("participation").annotate(
        n=Count("pk"), green=Count("pk", filter=green), left=Count("pk", filter=left),
        timed=Count("pk", filter=Q(response_ms__isnull=False)), ms=Sum("response_ms"),
    )
    sums = {}
    for row in votes:
        sums[row["participation"]] = {
            "vote_count": row["n"], "answer_count": row["n"], "green_count": row["green"], "left_count": row["left"],
            "timed_count": row["timed"], "response_ms_sum": row["ms"] or 0,
        }
    for model, count, good, name in (
        (GoldAnswer, "gold_count", "gold_right", "correct"), (ProbeAnswer, "probe_count", "probes_same", "same"),
    ):
        first = model.objects.filter(number=1).order_by().values(seat=F("assignment__participation")).annotate(
            n=Count("pk"), good=Count("pk", filter=Q(**{name: True}))
        )
        for row in first:
            sums.setdefault(row["seat"], {}).update({count: row["n"], good: row["good"]})
        stand = model.objects.filter(retraction__isnull=True).order_by().values(
            seat=F("assignment__participation")
        ).annotate(n=Count("pk"))
        for row in stand:
            mine = sums.setdefault(row["seat"], {})
            mine["answer_count"] = mine.get("answer_count", 0) + row["n"]
    for pk, values in sums.items():
        Participation.objects.filter(pk=pk).update(**values)
    tutorials = Known.objects.filter(use="tutorial").order_by("campaign", "position").values_list("campaign", "pk", "position")
    of = {}
    for campaign, pk, position in tutorials:
        of.setdefault(campaign, []).append((pk, position))
    for campaign, known in of.items():
        Campaign.objects.filter(pk=campaign).update(tutorial_length=len(known))
        for one in Try.objects.filter(participation__campaign=campaign):
            one.drawn = [[pk, (p + one.participation_id) % 2 == 0, p % 3 != 1] for pk, p in known]
            one.save(update_fields=["drawn"])


def nothing(apps, schema_editor):
    pass


COUNTS = ("answer_count", "vote_count", "green_count", "left_count", "timed_count", "gold_count", "gold_right",
          "probe_count", "probes_same", "paid_count")


class Migration(migrations.Migration):
    dependencies = [("labeling", "0006_cleared_annotators"), ("jobs", "0002_waiting_and_stopping")]

    operations = [
        migrations.AddField("campaign", "tutorial_length", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("campaign", "pair_count", models.PositiveIntegerField(default=0)),
        migrations.AddField("campaign", "votes_wanted", models.PositiveBigIntegerField(default=0)),
        *(migrations.AddField("participation", name, models.PositiveIntegerField(default=0)) for name in COUNTS),
        migrations.AddField("participation", "response_ms_sum", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("participation", "pairs_finished", models.IntegerField(default=0)),
        migrations.AddField("participation", "worked_s", models.FloatField(default=0.0)),
        migrations.AddField("participation", "tutorial_granted", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("tutorialtry", "drawn", models.JSONField(default=list)),
        migrations.AddField(
            "vote",
            "campaign",
            models.ForeignKey(
                null=True,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="votes",
                to="labeling.campaign",
            ),
        ),
        migrations.AddField(
            "crowdrun",
            "job",
            models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="jobs.job"
            ),
        ),
        migrations.AddField("crowdrun", "attempt", models.PositiveIntegerField(default=0)),
        migrations.AddField("crowdrun", "labels_kept", models.BooleanField(default=True)),
        migrations.AlterField("crowdrun", "number", models.PositiveIntegerField(null=True)),
        migrations.AlterModelOptions("crowdrun", {"ordering": ["-number"], "base_manager_name": "every"}),
        migrations.AlterModelManagers("crowdrun", [("objects", models.Manager()), ("every", models.Manager())]),
        migrations.RunPython(fill, nothing),
    ]
