"""The table of votes becomes the one of all answers; 0015 moves those to gold questions and mirror probes into it."""

import django.db.models.deletion
from django.db import migrations, models

VOTE = models.Q(kind="vote", pair__isnull=False, as_expected__isnull=True)
OTHER = models.Q(kind__in=["gold", "probe"], pair__isnull=True, as_expected__isnull=False)


def key(to: str, **options: object) -> models.ForeignKey:
    return models.ForeignKey(to=f"labeling.{to}", on_delete=django.db.models.deletion.CASCADE, **options)


class Migration(migrations.Migration):
    dependencies = [("labeling", "0013_words_of_the_field")]

    operations = [
        migrations.RemoveConstraint("vote", "vote_number_once"),
        migrations.RemoveConstraint("vote", "vote_names_an_answer"),
        migrations.RenameModel("Vote", "Answer"),
        migrations.RenameField("Retraction", "vote", "answer"),
        migrations.RenameIndex("answer", new_name="answer_of_campaign", old_name="vote_of_campaign"),
        migrations.AddField(
            "answer",
            "kind",
            models.CharField(
                choices=[("vote", "Vote"), ("gold", "Gold"), ("probe", "Probe")],
                db_default="vote",
                default="vote",
                max_length=5,
            ),
        ),
        migrations.AddField("answer", "as_expected", models.BooleanField(null=True)),
        migrations.AlterField("answer", "assignment", key("assignment", related_name="answers", db_index=False)),
        migrations.AlterField("answer", "campaign", key("campaign", related_name="answers", db_index=False)),
        migrations.AlterField("answer", "participation", key("participation", related_name="answers")),
        migrations.AlterField("answer", "pair", key("pair", related_name="votes", null=True)),
        migrations.AddConstraint(
            "answer", models.UniqueConstraint(fields=["assignment", "number"], name="answer_number_once")
        ),
        migrations.AddConstraint(
            "answer",
            models.CheckConstraint(
                condition=models.Q(("closer__in", [0, 1, 2])), name="answer_names_a_keypoint_or_same"
            ),
        ),
        migrations.AddConstraint(
            "answer", models.CheckConstraint(condition=VOTE | OTHER, name="answer_is_of_its_kind")
        ),
    ]
