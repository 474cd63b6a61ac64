"""The predictor beside other servers of the same ONNX model: JPEG in, index-mask PNG out.

    python -m benchmarks.serving --model DIR --images DIR [--only 'fast|FastAPI'] [--rounds 9]

The folder of the model is as deploy publishes it (model.onnx, model.int8.onnx, samples/). All
servers stand ready and take turns of two seconds. The peers (peers/) get virtual environments of
their own, below --environments.
"""

import argparse
import base64
import contextlib
import http.client
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measuring import Spent, cpu_seconds, load, rss_mib, running, table, take_turns
from benchmarks.peers.environments import peer_python

CONCURRENCY = (1, 2, 8)
PEERS = Path(__file__).resolve().parent / "peers"
V1 = "/v1/models/scene:predict"
V2 = "/v2/models/scene/infer"
BOUNDARY = "7d1c5b"
PATH = "in-process path"

# An encoded image -> path, body, headers.
Encode = Callable[[bytes], tuple[str, bytes, dict[str, str]]]
Call = Callable[[bytes], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with model.onnx, as it is published")
    add("--images", type=Path, required=True, help="folder with JPEGs")
    add("--environments", type=Path, default=Path(".benchmark-environments"), help="of the peers")
    add("--only", default="", help="contenders whose name this regular expression finds")
    add("--rounds", type=int, default=9)
    add("--seconds", type=float, default=2, help="of each turn")
    arguments = parser.parse_args()
    images = [path.read_bytes() for path in sorted(arguments.images.glob("*.jpg"))]
    with contextlib.ExitStack() as stack:
        ready = dict(contenders(arguments, stack))
        for callers in CONCURRENCY:
            turns = {
                name: partial(turn, make_call, pid, callers, images, arguments.seconds)
                for name, (make_call, pid) in ready.items()
            }
            measured = take_turns(turns, arguments.rounds)
            print(f"\n{callers} callers\n\n{table(measured, (PATH, 'FastAPI'), 'request')}")
        for name, (_, pid) in ready.items():
            if pid:
                print(f"{name}: {rss_mib(pid, 'VmHWM:')} MiB at its peak", file=sys.stderr)


def contenders(
    arguments: argparse.Namespace, stack: contextlib.ExitStack
) -> Iterator[tuple[str, tuple[Callable[[], Call], int]]]:
    """Start the servers; yield names, what makes a caller, and the process (0: this one)."""
    predict = in_process(arguments.model)
    yield PATH, (lambda: predict, 0)
    for names, command, ready in servers(arguments.model, arguments.environments):
        wanted = {name: form for name, form in names.items() if re.search(arguments.only, name)}
        if not wanted:
            continue
        started = running(command(), ready, arguments.model)
        pid, port, grpc_port = stack.enter_context(started)
        for name, form in wanted.items():
            make = partial(http_caller, form, port) if form else partial(grpc_caller, grpc_port)
            yield name, (make, pid)


def servers(
    model: Path, environments: Path
) -> Iterator[tuple[dict[str, Encode | None], Callable[[], list[str]], str]]:
    """Yield names with the requests they get (None: gRPC), a command, and where to ask if ready.

    A command is asked for when it is needed: a peer's makes its environment.
    """
    ours = [sys.executable, "-m", "serving", "--model_name=scene", "--log_level=WARNING"]
    ours += [f"--model_dir={model}", "--http_port={port}", "--grpc_port={grpc}"]
    exact: dict[str, Encode | None] = {
        "Segmentor": image,
        "Segmentor, multipart": partial(multipart, accept="image/png"),
        "Segmentor, V2 binary": v2_binary,
        "Segmentor, gRPC": None,
    }
    yield exact, lambda: ours, "/v2/health/ready"
    for engine in ("openvino", "openvino-int8", "fast"):
        command = [*ours, f"--engine={engine}"]
        yield {f"Segmentor {engine}": image}, lambda own=command: own, "/v2/health/ready"

    def peer(environment: str, file: str) -> Callable[[], list[str]]:
        return lambda: [str(peer_python(environment, environments)), str(PEERS / file), "{port}"]

    yield {"FastAPI": multipart}, peer("web", "fastapi_peer.py"), "/ready"
    yield {"LitServe": multipart}, peer("web", "litserve_peer.py"), "/health"
    yield {"BentoML": multipart}, peer("web", "bentoml_peer.py"), "/readyz"
    yield {"MLServer": v2_base64}, peer("mlserver", "mlserver_peer.py"), "/v2/models/scene/ready"
    stock = [sys.executable, str(PEERS / "kserve_peer.py"), "{port}"]
    yield {"KServe stock": v1_base64}, lambda: stock, "/"


def turn(
    make_call: Callable[[], Call], pid: int, callers: int, images: list[bytes], seconds: float
) -> Spent:
    """One turn of a contender, after one request of each caller that does not count."""
    calls = [make_call() for _ in range(callers)]
    for call in calls:
        call(images[0])
    now = partial(cpu_seconds, pid) if pid else time.process_time
    before = now()
    replies, elapsed = load(calls, images, seconds)
    return Spent(replies, elapsed, now() - before)


def in_process(model_dir: Path) -> Call:
    """What the server does, without a server."""
    from segmentor.image_io import encode_index
    from segmentor.inference import predict_mask
    from segmentor.onnx_model import OnnxModel

    model = OnnxModel(model_dir, spinning=False)
    return lambda jpeg: encode_index(predict_mask(model.forward, model.contract, jpeg))


def http_caller(encode: Encode, port: int) -> Call:
    """A client with a connection of its own."""
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


def grpc_caller(port: int) -> Call:
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


def image(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    return V1, jpeg, {"Content-Type": "image/jpeg"}


def multipart(jpeg: bytes, accept: str = "*/*") -> tuple[str, bytes, dict[str, str]]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"
    body = head.encode() + jpeg + f"\r\n--{BOUNDARY}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    return "/predict", body, {"Content-Type": content_type, "Accept": accept}


def v1_base64(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    body = json.dumps({"instances": [{"image": {"b64": base64.b64encode(jpeg).decode()}}]})
    return V1, body.encode(), {"Content-Type": "application/json"}


def v2_base64(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    tensor |= {"data": [base64.b64encode(jpeg).decode()]}
    tensor |= {"parameters": {"content_type": "base64"}}
    return V2, json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}


def v2_binary(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    element = len(jpeg).to_bytes(4, "little") + jpeg
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    tensor |= {"parameters": {"binary_data_size": len(element)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return V2, head + element, {"Inference-Header-Content-Length": str(len(head))}


if __name__ == "__main__":
    main()
