"""Addresses of the annotators' REST doors, below /api/v1/annotate/."""

from django.urls import path

from labeling.annotate import api

urlpatterns = [
    path("pictures/<uuid:identity>.jpg", api.PictureView.as_view(), name="picture"),
    path("<uuid:campaign>/", api.StateView.as_view(), name="annotate-state"),
    path("<uuid:campaign>/next/", api.NextView.as_view(), name="annotate-next"),
    path("<uuid:campaign>/vote/", api.VoteView.as_view(), name="annotate-vote"),
    path("<uuid:campaign>/undo/", api.UndoView.as_view(), name="annotate-undo"),
    path("<uuid:campaign>/skip/", api.SkipView.as_view(), name="annotate-skip"),
    path("<uuid:campaign>/ending/", api.EndingView.as_view(), name="annotate-ending"),
    path("<uuid:campaign>/appeal/", api.AppealView.as_view(), name="annotate-appeal"),
    path("<uuid:campaign>/tutorial/", api.TutorialView.as_view(), name="annotate-tutorial"),
    path(
        "<uuid:campaign>/tutorial/<int:attempt>-<int:position>.jpg",
        api.TutorialPictureView.as_view(),
        name="tutorial-picture",
    ),
]
