"""A bug of ours: the client learns a request id and nothing else; the log has the traceback."""

import asyncio
import logging

import httpx
import pytest

from segmentor.onnx_model import OnnxModel
from serving.engines.loading import ServedModel
from serving.lean_kserve import import_kserve
from serving.settings import Limits


def broken(images):
    raise RuntimeError("secret internals")


@pytest.fixture
def application(street_model):
    import_kserve()
    from serving.http.application import build_application
    from serving.kserve_model import FixedRepository, SegmentationModel

    contract = OnnxModel(street_model).contract
    served = ServedModel("scene", "1", "sha256:0", "onnxruntime", contract, broken)
    limits = Limits(workers=1, queue_limit=1, time_limit_s=5)
    return build_application(FixedRepository(SegmentationModel(served, limits)))


@pytest.mark.parametrize("path", ["/v1/models/scene:predict", "/predict"])
def test_nothing_of_an_unexpected_error_reaches_the_client(application, scene_png, caplog, path):
    async def ask():
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
            body = {"files": {"file": scene_png}} if path == "/predict" else {"content": scene_png}
            first = await client.post(path, **body)
            return first, await client.get("/v2/health/ready")

    with caplog.at_level(logging.ERROR):
        reply, after = asyncio.run(ask())
    assert reply.status_code == 500
    assert reply.json()["error"] == "internal error"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "secret" not in reply.text
    assert "secret internals" in caplog.text
    assert after.status_code == 200
