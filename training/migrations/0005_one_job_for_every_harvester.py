"""Every harvest keeps what was asked under `plan` and its options under `options`; one kind of job runs all harvesters."""

from typing import Any

from django.db import migrations


def nest(apps: Any, schema_editor: Any) -> None:
    Harvest, Job = apps.get_model("training", "Harvest"), apps.get_model("jobs", "Job")
    for row in Harvest.objects.filter(source="multiview").only("config", "name", "skeleton", "fps").iterator():
        if set(row.config) != {"plan", "options"}:
            skeleton = (row.skeleton or {}).get("name", "")
            plan = {"name": row.name, "skeleton": skeleton, "fps": row.fps, "unit": ""}
            row.config = {"plan": plan, "options": row.config}
            row.save(update_fields=["config"])
    Job.objects.filter(kind="video-harvest").update(kind="harvest")


def flatten(apps: Any, schema_editor: Any) -> None:
    Harvest, Job = apps.get_model("training", "Harvest"), apps.get_model("jobs", "Job")
    for row in Harvest.objects.filter(source="multiview").only("config").iterator():
        row.config = row.config.get("options", row.config)
        row.save(update_fields=["config"])
    videos = Harvest.objects.filter(source="video").values("job_id")
    Job.objects.filter(pk__in=videos).update(kind="video-harvest")


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0004_harvests_of_video"),
        ("jobs", "0004_notifications"),
    ]

    operations = [migrations.RunPython(nest, flatten)]
