"""Addresses of the annotators' REST doors, below /api/v1/annotate/."""

from django.urls import path

from labeling.answering import api, preview

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
    path("<uuid:campaign>/preview/", preview.State.as_view(), name="preview-state"),
    path("<uuid:campaign>/preview/next/", preview.Next.as_view(), name="preview-next"),
    path("<uuid:campaign>/preview/vote/", preview.Answered.as_view(), name="preview-vote"),
    path("<uuid:campaign>/preview/undo/", preview.Nothing.as_view(), name="preview-undo"),
    path("<uuid:campaign>/preview/skip/", preview.Nothing.as_view(), name="preview-skip"),
    path("<uuid:campaign>/preview/<int:pair>.jpg", preview.Picture.as_view(), name="preview-picture"),
    path(
        "<uuid:campaign>/tutorial/<int:attempt>-<int:position>.jpg",
        api.TutorialPictureView.as_view(),
        name="tutorial-picture",
    ),
]
