from django.apps import AppConfig


class Jobs(AppConfig):
    name = "webapp.jobs"
    label = "jobs"
