from django.apps import AppConfig


class Labeling(AppConfig):
    name = "labeling"

    def ready(self) -> None:
        from labeling import offers  # noqa: F401
        from labeling.campaigns import participants
        from webapp.accounts import people

        people.erased.connect(participants.forget)
