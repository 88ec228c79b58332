from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_names_sign_ins_attempts")]

    operations = [
        migrations.AlterField("account", "name_key", models.CharField(editable=False, max_length=200, unique=True)),
        migrations.AddConstraint(
            "account",
            models.CheckConstraint(
                condition=models.Q(("recruiter", ""), ("role", "annotator"), _connector="OR"),
                name="recruited_people_annotate",
            ),
        ),
    ]
