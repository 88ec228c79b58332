"""Notified and notifications, in place of rung and rings. Nothing but names changes."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_folder")]

    operations = [
        migrations.RenameField("Job", "rung_at", "notified_at"),
        migrations.RenameField("Job", "rings", "notifications"),
    ]
