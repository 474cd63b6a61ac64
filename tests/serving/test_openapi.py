"""The OpenAPI description: what it promises is what the server does, and its page needs no net."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

PROMISED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def description(predictor):
    return predictor.client.get("/openapi.json").json()


def test_generated_requests_get_what_is_described(predictor, description):
    # By hand: the plugin's own parametrize needs an older pytest.
    schema = schemathesis.openapi.from_dict(description, config=SchemathesisConfig())
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 15

    for operation in operations:

        @settings(
            max_examples=12, deadline=None, derandomize=True, suppress_health_check=HealthCheck
        )
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(base_url=predictor.url, checks=PROMISED, timeout=30)

        check()


def test_every_example_is_answered(predictor, description):
    tried = 0
    for path, operations in description["paths"].items():
        for content_type, media in (
            operations.get("post", {}).get("requestBody", {}).get("content", {}).items()
        ):
            if "example" not in media:
                continue
            names = {p["name"]: p.get("example") for p in operations["post"]["parameters"]}
            url = path.format(**{name: value for name, value in names.items() if value})
            reply = predictor.client.post(
                url, json=media["example"], headers={"content-type": content_type}
            )
            assert reply.status_code == 200, reply.text
            tried += 1
    assert tried >= 3


def test_the_page_loads_nothing_from_elsewhere(predictor):
    page = predictor.client.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        asset = httpx.get(f"{predictor.url}/docs/{name}")
        assert asset.status_code == 200
        assert len(asset.content) > 100_000
    assert predictor.client.get("/docs/passwd").status_code == 404
