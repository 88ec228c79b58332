from django.apps import AppConfig


class Labeling(AppConfig):
    name = "labeling"

    def ready(self) -> None:
        from labeling import access, catalogs
        from webapp.accounts import people

        catalogs.list_job_kinds()
        people.erased.connect(access.forget)
