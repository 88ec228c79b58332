"""schemathesis walks the OpenAPI schema as an admin with odd values: no answer is a 5xx."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.conftest import World
from webapp.accounts import tokens


@pytest.mark.django_db(transaction=True)
def test_no_request_that_the_schema_allows_or_bends_breaks_the_server(world: World, monkeypatch: Any) -> None:
    from rest_framework.throttling import ScopedRateThrottle

    from webapp.wsgi import application

    monkeypatch.setattr(ScopedRateThrottle, "allow_request", lambda *_: True)
    campaign = world.campaign()
    world.participation(world.ada, campaign)
    _, secret = tokens.issue(world.ada, name="fuzz", scopes=["read", "write", "annotate"])
    headers = {"Authorization": f"Bearer {secret}"}
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema/", application, headers=headers)
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/imports/"):
            continue  # tests/hostile/test_uploads.py does it with files that mean harm
        strategy = operation.as_strategy()

        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def check(case: Any) -> None:
            if case.path_parameters and "campaign" in case.path_parameters:
                case.path_parameters["campaign"] = str(campaign.uuid)
            response = case.call(headers=headers)
            seen.add(operation.label)  # noqa: B023
            assert response.status_code < 500, (response.request.url, response.text[:500])

        check()
    assert len(seen) >= 30
