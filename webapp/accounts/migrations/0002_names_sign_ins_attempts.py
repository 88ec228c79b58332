"""Names are compared without regard to case and spelling; sign-ins and attempts are counted by the database."""

import unicodedata

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import webapp.accounts.models


def canonical(name):
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def fill(apps, schema_editor):
    """Of two whose names are now one, the older has the name; the younger signs in by the very spelling, as ever."""
    Account = apps.get_model("accounts", "Account")
    taken = set()
    for account in Account.objects.order_by("pk").iterator():
        key = canonical(account.username)
        if key in taken:
            key = f"{key} #{account.pk}"
        taken.add(key)
        account.name_key = key
        account.save(update_fields=["name_key"])
    Account.objects.exclude(recruiter="").exclude(role="annotator").update(role="annotator")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_first_tables")]

    operations = [
        migrations.AddField("account", "name_key", models.CharField(editable=False, max_length=200, null=True)),
        migrations.AlterField("account", "recruiter", models.CharField(blank=True, default="", max_length=64)),
        migrations.AlterModelManagers("account", [("objects", webapp.accounts.models.Accounts())]),
        migrations.CreateModel(
            "Attempts",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=64, unique=True)),
                ("since", models.DateTimeField(db_index=True)),
                ("count", models.PositiveIntegerField(default=1)),
            ],
        ),
        migrations.CreateModel(
            "SignIn",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("session_key", models.CharField(max_length=40, unique=True)),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("address", models.CharField(blank=True, default="", max_length=45)),
                ("browser", models.CharField(blank=True, default="", max_length=200)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sign_ins",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            {"ordering": ["-id"]},
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
