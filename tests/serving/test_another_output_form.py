"""The recipe "An output form" of docs/extending.md, followed as it stands."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from raw_grpc import call, field, request
from running_predictor import REPOSITORY, running_predictor

from pipelines.predictor.client import predict_files
from segmentor.image_io import decode_index
from segmentor.output_forms import OUTPUT_FORMS
from segmentor.predictor_client import Predictor

RECIPE = REPOSITORY / "docs" / "extending.md"
PROGRAM = """
{block}
import sys
from serving.__main__ import main
sys.exit(main())
"""


def code_of_the_recipe() -> str:
    section = RECIPE.read_text().split("## An output form\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return "from segmentor.output_forms import *\n" + block


@pytest.fixture(scope="module")
def extended(street_model, tmp_path_factory):
    """A predictor whose table has the form of the recipe."""
    folder = tmp_path_factory.mktemp("extended")
    program = folder / "extended.py"
    program.write_text(PROGRAM.format(block=code_of_the_recipe()))
    with running_predictor(street_model, folder, program=(str(program),)) as running:
        yield running


@pytest.fixture(scope="module")
def confidence(extended, scene_png):
    """The form by the oldest way in, to which the others are compared."""
    reply = extended.client.post(
        "/v1/models/scene:predict", params={"output": "confidence"}, content=scene_png
    )
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png"), reply.text
    values = decode_index(reply.content)
    assert values.shape == (90, 130)
    assert len(np.unique(values)) > 3
    return values


def test_v1_json_has_it_in_base64(extended, scene_png, confidence):
    body = {"instances": [{"b64": base64.b64encode(scene_png).decode()}]}
    reply = extended.client.post("/v1/models/scene:predict?output=confidence", json=body)
    (prediction,) = reply.json()["predictions"]
    content = base64.b64decode(prediction["confidence"]["b64"])
    np.testing.assert_array_equal(decode_index(content), confidence)


def test_v2_has_it_as_a_tensor_and_names_it(extended, scene, confidence):
    client = triton.InferenceServerClient(f"127.0.0.1:{extended.http_port}")
    image = triton.InferInput("image", [1, *scene.shape], "UINT8")
    image.set_data_from_numpy(scene[None])
    output = triton.InferRequestedOutput("confidence", binary_data=True)
    reply = client.infer("scene", [image], outputs=[output])
    np.testing.assert_array_equal(reply.as_numpy("confidence")[0], confidence)
    named = {entry["name"] for entry in client.get_model_metadata("scene")["outputs"]}
    assert "confidence" in named


def test_grpc_has_it_as_a_tensor(extended, scene_png, confidence):
    wanted = field(6, field(1, b"confidence"))
    _, reply = call(extended.grpc_port, request(scene_png, extra=wanted))
    assert confidence.tobytes() in reply


def test_openapi_names_it(extended):
    described = extended.client.get("/openapi.json").json()
    parameters = described["paths"]["/predict"]["post"]["parameters"]
    assert "confidence" in str([p for p in parameters if p["name"] == "output"])


def test_the_client_writes_it(extended, scene_png, confidence, tmp_path, monkeypatch):
    monkeypatch.setitem(OUTPUT_FORMS, "confidence", None)  # taken out again afterwards
    exec(code_of_the_recipe(), {})
    source = tmp_path / "a.png"
    source.write_bytes(scene_png)
    with Predictor(extended.url) as predictor:
        (predicted,) = predict_files(predictor, source, tmp_path / "predictions")
    written = {Path(file).name for file in predicted.files}
    assert "a.confidence.png" in written
    content = (tmp_path / "predictions" / "a.confidence.png").read_bytes()
    np.testing.assert_array_equal(decode_index(content), confidence)
