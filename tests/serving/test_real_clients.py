"""The clients people use: kserve's REST and gRPC, and tritonclient's HTTP."""

import subprocess
import sys

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from segmentor.inference import predict_mask
from segmentor.onnx_model import OnnxModel

# In a process of its own: kserve reads the arguments of whoever imports it.
KSERVE_CLIENT = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

http_port, grpc_port, picture, expected = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
sys.argv = sys.argv[:1]
expected = np.load(expected)
content = open(picture, "rb").read()


def request(binary):
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], np.object_), binary_data=binary)
    return InferRequest("scene", [tensor], request_id="r1")


async def main():
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    url = f"http://127.0.0.1:{http_port}"
    assert await rest.is_server_live(url) and await rest.is_server_ready(url)
    assert await rest.is_model_ready(url, "scene")
    reply = await rest.infer(url, request(True), model_name="scene")
    assert reply.id == "r1", reply.id
    np.testing.assert_array_equal(reply.outputs[0].as_numpy()[0], expected)
    grpc = InferenceGRPCClient(f"127.0.0.1:{grpc_port}")
    assert await grpc.is_server_ready() and await grpc.is_model_ready("scene")
    for binary in (True, False):
        if binary:
            asked = request(True)
        else:
            asked = InferRequest("scene", [InferInput("image", [1], "BYTES", data=[content])])
        reply = await grpc.infer(asked)
        np.testing.assert_array_equal(reply.outputs[0].as_numpy()[0], expected)
        assert reply.model_version
    pixels = InferInput("image", [1, 8, 8, 3], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8), binary_data=True)
    assert (await grpc.infer(InferRequest("scene", [pixels]))).outputs[0].shape == [1, 8, 8]
    import grpc as library

    for name, tensor, code in (
        ("scene", InferInput("image", [1], "BYTES", data=[b"x"]), "INVALID_ARGUMENT"),
        ("nope", InferInput("image", [1], "BYTES", data=[content]), "NOT_FOUND"),
        ("scene", InferInput("image", [1], "INT64", data=[1]), "INVALID_ARGUMENT"),
    ):
        try:
            await grpc.infer(InferRequest(name, [tensor]))
        except library.RpcError as error:
            assert error.code().name == code, error
        else:
            raise AssertionError(code)


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def expected(street_model, scene_png):
    model = OnnxModel(street_model)
    return predict_mask(model.forward, model.contract, scene_png)


def test_kserve_clients_get_the_mask_over_rest_and_grpc(predictor, scene_png, expected, tmp_path):
    (tmp_path / "scene.png").write_bytes(scene_png)
    np.save(tmp_path / "expected.npy", expected)
    ports = [str(predictor.http_port), str(predictor.grpc_port)]
    done = subprocess.run(
        [sys.executable, "-c", KSERVE_CLIENT, *ports]
        + [str(tmp_path / "scene.png"), str(tmp_path / "expected.npy")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def triton_client(predictor):
    with triton.InferenceServerClient(f"127.0.0.1:{predictor.http_port}") as client:
        yield client


def test_triton_client_reads_health_and_metadata(triton_client):
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("scene")
    assert triton_client.get_model_metadata("scene")["inputs"][0]["name"] == "image"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_triton_client_gets_the_mask(triton_client, scene, expected, binary_in, binary_out):
    tensor = triton.InferInput("image", [1, *scene.shape], "UINT8")
    tensor.set_data_from_numpy(scene[None], binary_data=binary_in)
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput("mask", binary_data=binary_out)]
    reply = triton_client.infer("scene", [tensor], outputs=outputs, request_id="t1")
    np.testing.assert_array_equal(reply.as_numpy("mask")[0], expected)
    assert reply.get_response()["id"] == "t1"


def test_triton_client_sends_encoded_images(triton_client, scene_png, expected):
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([scene_png], np.object_))
    reply = triton_client.infer("scene", [tensor])
    np.testing.assert_array_equal(reply.as_numpy("mask")[0], expected)


def test_triton_client_is_told_what_is_wrong(triton_client):
    tensor = triton.InferInput("picture", [1, 2], "INT32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.int32))
    with pytest.raises(InferenceServerException, match="expected one named 'image'"):
        triton_client.infer("scene", [tensor])


# In a process of its own too: kserve and tritonclient.grpc register the same protocol messages.
TRITON_GRPC_CLIENT = """
import sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("scene")
assert client.get_model_metadata("scene").inputs[0].name == "image"
content = np.array([open(sys.argv[2], "rb").read()], np.object_)
tensor = triton.InferInput("image", [1], "BYTES")
tensor.set_data_from_numpy(content)
outputs = [triton.InferRequestedOutput("mask"), triton.InferRequestedOutput("probability")]
reply = client.infer("scene", [tensor], outputs=outputs)
expected = np.load(sys.argv[3])
np.testing.assert_array_equal(reply.as_numpy("mask")[0], expected)
np.testing.assert_array_equal(reply.as_numpy("probability")[0].argmax(0), expected)
try:
    client.unload_model("scene")
except InferenceServerException as error:
    assert "fixed at start" in str(error) or "UNIMPLEMENTED" in str(error), error
else:
    raise AssertionError("unloaded")
assert client.is_model_ready("scene")
"""


def test_triton_client_gets_mask_and_probability_over_grpc(
    predictor, scene_png, expected, tmp_path
):
    (tmp_path / "scene.png").write_bytes(scene_png)
    np.save(tmp_path / "expected.npy", expected)
    arguments = [
        str(predictor.grpc_port),
        str(tmp_path / "scene.png"),
        str(tmp_path / "expected.npy"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", TRITON_GRPC_CLIENT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
