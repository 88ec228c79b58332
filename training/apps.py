from django.apps import AppConfig


class Training(AppConfig):
    name = "training"

    def ready(self) -> None:
        from training import catalogs

        catalogs.list_job_kinds()
