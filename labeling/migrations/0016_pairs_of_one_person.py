"""A pair is two keypoints of one person. Pairs between two people could be stored, but nothing ever made one."""

import django.db.models.deletion
from django.db import migrations, models


def fill(apps: object, schema_editor: object) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("UPDATE labeling_pair SET second_person_id = first_person_id")
        if schema_editor.connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the table could not be changed in this transaction


def refuse_others(apps: object, schema_editor: object) -> None:
    pairs = apps.get_model("labeling", "Pair").objects
    if others := pairs.exclude(second_person=models.F("first_person")).count():
        raise RuntimeError(f"{others} pairs are between two people: they were made by hand, and no version could ask them")


class Migration(migrations.Migration):
    dependencies = [("labeling", "0015_answers_of_every_kind")]

    operations = [
        migrations.RunPython(refuse_others, migrations.RunPython.noop),
        migrations.RemoveConstraint("pair", "pair_asked_once"),
        migrations.RemoveConstraint("pair", "pair_is_in_canonical_order"),
        migrations.AlterField(
            "pair",
            "second_person",
            models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="labeling.person",
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, fill),
        migrations.RemoveField("pair", "second_person"),
        migrations.RenameField("pair", "first_person", "person"),
        migrations.AddConstraint(
            "pair",
            models.UniqueConstraint(fields=["campaign", "person", "first", "second"], name="pair_asked_once"),
        ),
        migrations.AddConstraint(
            "pair",
            models.CheckConstraint(condition=models.Q(first__lt=models.F("second")), name="pair_is_in_canonical_order"),
        ),
    ]
