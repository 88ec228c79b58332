"""The catalogue of job kinds, empty: each app's `offers.py` fills it, and this app knows none of them by name."""

from dataclasses import dataclass
from typing import Literal

from webapp.catalog import Catalog, Offer


@dataclass(frozen=True)
class JobKind(Offer):
    """run(context, config) -> result as JSON. `queue`: heavy ones run one at a time; `after`: 'module:function' that
    tidies up once a job of this kind has ended, however it ended."""

    queue: Literal["light", "heavy"] = "light"
    after: str = ""


job_kinds: Catalog[JobKind] = Catalog("job kind")
