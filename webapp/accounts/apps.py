from django.apps import AppConfig


class Accounts(AppConfig):
    name = "webapp.accounts"
    label = "accounts"
