"""The catalogues of the training app, empty: everybody may import them. `training.offers` fills them when the site starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.harvest.harvester import HarvestPlan
from webapp.catalog import Catalog, Offer
from webapp.config import Config


@dataclass(frozen=True)
class TrainingMethod(Offer):
    """train(context, run, config) -> metrics. `presets`: named configurations to start from; without any it is no choice of the form."""

    presets: Mapping[str, Config] = field(default_factory=dict)


training_methods: Catalog[TrainingMethod] = Catalog("training method")


@dataclass(frozen=True)
class UploadedPart:
    """One file of an upload: its field, what it may end in, and what the form says of it."""

    field: str
    title: str
    endings: tuple[str, ...]
    help: str
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class HarvesterOffer(Offer):
    """`target` is a training.harvest.harvester.Harvester. `plan`: what is asked beside options and files, which are `parts`; `check`:
    'module:function', (folder of files, plan) -> cameras, a first look inside the request, without torch; `about`: for the form."""

    plan: type[HarvestPlan]
    parts: tuple[UploadedPart, ...]
    check: str
    about: str = ""


harvesters: Catalog[HarvesterOffer] = Catalog("harvester")
