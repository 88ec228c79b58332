"""After the sums are filled: every vote has a campaign, and pages find votes and labels by index."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0007_sums_and_snapshots")]

    operations = [
        migrations.AlterField(
            "vote",
            "campaign",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="votes",
                to="labeling.campaign",
            ),
        ),
        migrations.AddIndex("vote", models.Index(fields=["campaign", "id"], name="vote_of_campaign")),
        migrations.AddIndex("label", models.Index(fields=["run", "-risk", "pair"], name="label_by_risk")),
    ]
