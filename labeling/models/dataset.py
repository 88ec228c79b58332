"""Skeletons in use, data sets, their images and the people in them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from labeling import skeletons

ABSENT, OCCLUDED, VISIBLE = 0, 1, 2  # COCO's three states, everywhere


class SkeletonRow(models.Model):
    """A skeleton that a data set uses; built-in ones are written by a migration, custom ones by an import."""

    name = models.SlugField(max_length=60, unique=True)
    keypoints = models.JSONField()
    bones = models.JSONField(default=list)
    root = models.CharField(max_length=40)

    class Meta:
        db_table = "labeling_skeleton"

    @property
    def as_skeleton(self) -> skeletons.Skeleton:
        return skeletons.from_dict(
            {"name": self.name, "keypoints": self.keypoints, "bones": self.bones, "root": self.root}
        )


class Dataset(models.Model):
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120, unique=True)
    description = models.TextField(blank=True, default="")
    skeleton = models.ForeignKey(SkeletonRow, models.PROTECT)
    licence = models.CharField(max_length=200, blank=True, default="")
    attribution = models.CharField(max_length=400, blank=True, default="")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]


class Image(models.Model):
    """One picture. The file lies under its SHA-256, so equal pictures are stored once."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="images")
    name = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64, db_index=True)
    suffix = models.CharField(max_length=5)
    bytes = models.PositiveIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    split = models.CharField(max_length=5, default="train")
    source = models.CharField(max_length=400, blank=True, default="")
    licence = models.CharField(max_length=200, blank=True, default="")
    attribution = models.CharField(max_length=400, blank=True, default="")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="image_name_once_per_dataset"),
            models.CheckConstraint(condition=Q(width__gt=0, height__gt=0, bytes__gt=0), name="image_has_size"),
            models.CheckConstraint(condition=Q(split__in=["train", "val", "test"]), name="image_split_is_known"),
        ]

    @property
    def path(self) -> str:
        """Where the file is, below MEDIA_ROOT."""
        return f"images/{self.sha256[:2]}/{self.sha256}{self.suffix}"


class Person(models.Model):
    """One person in one image.

    `keypoints`: one [x px, y px, visibility] per keypoint of the skeleton, in its order; the origin is the outer
    corner of the top left pixel. `truth_mm`: optional [x, y, z] per keypoint in the camera frame (x right, y down,
    z away from the camera), null where it is unknown, kept for evaluation and gold questions only.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    image = models.ForeignKey(Image, models.CASCADE, related_name="people")
    index = models.PositiveSmallIntegerField(default=0)
    bbox = models.JSONField()
    keypoints = models.JSONField()
    truth_mm = models.JSONField(null=True)

    class Meta:
        ordering = ["image_id", "index"]
        constraints = [models.UniqueConstraint(fields=["image", "index"], name="person_index_once_per_image")]
        indexes = [models.Index(fields=["image"], name="person_with_truth", condition=Q(truth_mm__isnull=False))]

    @staticmethod
    def depths_mm(truth_mm: list[list[float] | None] | None) -> list[float]:
        """z of each keypoint; NaN where it is unknown."""
        return [float("nan") if place is None else place[2] for place in truth_mm or []]


class Pair(models.Model):
    """Two keypoints of one person about which a campaign asks, in the skeleton's order.

    `taken` = counted votes + open leases: the queue hands out the pairs with the fewest. Both counters are kept by
    the assignment and voting verbs under the row's lock; the constraint makes an overdrawn pair impossible.
    """

    campaign = models.ForeignKey("labeling.Campaign", models.CASCADE, related_name="pairs", db_index=False)
    person = models.ForeignKey(Person, models.PROTECT, related_name="+", db_index=False)
    first = models.PositiveSmallIntegerField()
    second = models.PositiveSmallIntegerField()
    rank = models.PositiveIntegerField()
    votes_needed = models.PositiveSmallIntegerField()
    votes_counted = models.PositiveSmallIntegerField(default=0)
    taken = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "person", "first", "second"], name="pair_asked_once"),
            models.UniqueConstraint(fields=["campaign", "rank"], name="pair_rank_once"),
            models.CheckConstraint(condition=Q(first__lt=F("second")), name="pair_is_in_canonical_order"),
            models.CheckConstraint(
                condition=Q(votes_counted__lte=F("taken"), taken__lte=F("votes_needed")), name="pair_never_over_quota"
            ),
        ]
        indexes = [
            models.Index(
                fields=["campaign", "taken", "rank"], name="pair_queue", condition=Q(taken__lt=F("votes_needed"))
            )
        ]
