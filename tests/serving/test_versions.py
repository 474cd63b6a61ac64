"""Versions over gRPC, and messages that say which part of a request is wrong."""

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from refused import UPLOAD, V1, assert_refused


@pytest.fixture
def stub(predictor):
    with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
        yield services.GRPCInferenceServiceStub(channel)


def test_readiness_and_metadata_over_grpc_are_of_the_version_that_is_served(predictor, stub):
    (version,) = predictor.client.get("/v2/models/scene").json()["versions"]
    assert list(stub.ModelMetadata(messages.ModelMetadataRequest(name="scene")).versions) == [
        version
    ]
    assert stub.ModelReady(messages.ModelReadyRequest(name="scene", version=version)).ready
    for call, request in (
        (stub.ModelReady, messages.ModelReadyRequest(name="scene", version="9")),
        (stub.ModelMetadata, messages.ModelMetadataRequest(name="scene", version="9")),
    ):
        with pytest.raises(grpc.RpcError, match="no version '9' of 'scene' here") as refused:
            call(request)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_contents_beside_raw_contents_are_refused(stub, scene_png):
    request = messages.ModelInferRequest(model_name="scene")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(scene_png)
    request.raw_input_contents.append(len(scene_png).to_bytes(4, "little") + scene_png)
    with pytest.raises(grpc.RpcError, match="contents beside raw_input_contents") as refused:
        stub.ModelInfer(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_bad_image_of_a_batch_is_named(predictor):
    good = {"image": [[[0, 0, 0]] * 8] * 8}
    reply = predictor.client.post(V1, json={"instances": [good, {"b64": "AAAA"}, good]})
    assert "image 2 of 3: " in assert_refused(reply)


def test_an_upload_without_a_file_name_is_told_what_it_lacks(predictor, scene_png):
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"abc\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    reply = predictor.client.post(UPLOAD, content=body, headers=headers)
    assert "expected a file with a filename" in assert_refused(reply)
