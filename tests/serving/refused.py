"""What the tests of bad requests share: where they go, what a refusal looks like, fuzz settings."""

import httpx
from hypothesis import HealthCheck, settings

V1, V2, UPLOAD = "/v1/models/scene:predict", "/v2/models/scene/infer", "/predict"
LENGTH = "inference-header-content-length"

fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def assert_refused(reply: httpx.Response, *codes: int) -> str:
    assert reply.status_code in (codes or (400,)), reply.text[:500]
    body = reply.json()
    assert body["error"]
    assert body["request_id"] == reply.headers["x-request-id"]
    for leak in ("Traceback", "site-packages", 'File "'):
        assert leak not in reply.text
    assert len(reply.text) < 1000
    return str(body["error"])


def tensor(**changes) -> dict:
    """A V2 input tensor that is right but for the changes."""
    entry = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0] * 12}
    return {**entry, **changes}
