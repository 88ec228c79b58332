"""The catalogues of the labeling app, empty: everybody may import them. `labeling.offers` fills them when the site starts."""

from webapp.catalog import Catalog, Offer

import_formats: Catalog[Offer] = Catalog("import format")
release_formats: Catalog[Offer] = Catalog("release format")
# Models of single questions: fit(votes, config, *, progress) -> CrowdResult.
question_models: Catalog[Offer] = Catalog("model of questions")
# Models of all votes on a person: fit(pictures, votes, config, *, crowd, belief, progress, keep) -> DepthPosteriors.
person_models: Catalog[Offer] = Catalog("model of people")
crowd_models: Catalog[Offer] = Catalog("crowd model", question_models, person_models)
