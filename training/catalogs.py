"""The catalogues of the training app, empty: everybody may import them. `training.offers` fills them when the site starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from webapp.catalog import Catalog, Offer
from webapp.config import Config


@dataclass(frozen=True)
class TrainingMethod(Offer):
    """train(context, run, config) -> metrics. `presets`: named configurations to start from; without any it is no choice of the form."""

    presets: Mapping[str, Config] = field(default_factory=dict)


training_methods: Catalog[TrainingMethod] = Catalog("training method")
