"""What the serving benchmarks call: a server by HTTP or gRPC, or our inference path in-process."""

import http.client
from collections.abc import Callable
from pathlib import Path

from serving_contenders import Encode


def in_process_path(model_dir: Path) -> Callable[[bytes], bytes]:
    """JPEG in, mask PNG out, as the server does it but without a server."""
    from segmentor.inference import predict_mask
    from segmentor.masks import encode_mask
    from segmentor.onnx_model import OnnxModel

    model = OnnxModel(model_dir, spinning=False)

    def predict(jpeg: bytes) -> bytes:
        return encode_mask(predict_mask(model.forward, model.contract, jpeg))

    return predict


def caller(encode: Encode | str, port: int, grpc_port: int) -> Callable[[bytes], object]:
    """A client with a connection of its own."""
    if encode == "grpc":
        return grpc_caller(grpc_port)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call(jpeg: bytes) -> bytes:
        path, body, headers = encode(jpeg)
        connection.request("POST", path, body, headers)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{reply.status} {content[:200]!r}")
        return content

    return call


def grpc_caller(port: int) -> Callable[[bytes], object]:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

    stub = services.GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    def call(jpeg: bytes) -> object:
        request = messages.ModelInferRequest(model_name="scene")
        request.inputs.add(name="image", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(jpeg).to_bytes(4, "little") + jpeg)
        return stub.ModelInfer(request)

    return call
