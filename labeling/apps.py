from django.apps import AppConfig


class Labeling(AppConfig):
    name = "labeling"

    def ready(self) -> None:
        from labeling import catalogs

        catalogs.list_job_kinds()
