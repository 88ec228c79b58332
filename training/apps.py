from django.apps import AppConfig


class Training(AppConfig):
    name = "training"

    def ready(self) -> None:
        from training import offers  # noqa: F401
