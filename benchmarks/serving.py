"""Measures the predictor against its own in-process path and against other servers.

One run on one machine: the same ONNX model, the same JPEGs, JPEG in and index-mask PNG out.

    python benchmarks/serving.py --model DIR --images DIR --output DIR [--peers-python PYTHON]

CPU a request (user and system time of the server and its children, from /proc) is the figure to
compare on a machine that does other things as well.
"""

import argparse
import base64
import http.client
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from measuring import ROOT, Row, cpu_seconds, load, median_row, peak_rss_mib, row, running

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CONCURRENCY = (1, 2, 8)
BOUNDARY = uuid.uuid4().hex

Encode = Callable[[bytes], tuple[str, bytes, dict[str, str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with model.onnx")
    parser.add_argument("--images", type=Path, required=True, help="folder with JPEGs")
    parser.add_argument("--output", type=Path, required=True, help="folder for serving.json, .md")
    parser.add_argument("--seconds", type=float, default=5, help="of each pass")
    parser.add_argument("--passes", type=int, default=3, help="the median pass is reported")
    parser.add_argument("--peers-python", type=Path, help="interpreter that has the peers")
    parser.add_argument("--only", default="", help="servers whose name holds this")
    arguments = parser.parse_args()
    images = [path.read_bytes() for path in sorted(arguments.images.glob("*.jpg"))]
    rows: list[Row] = []
    if arguments.only in "in-process":
        rows += in_process(arguments.model, images, arguments.seconds, arguments.passes)
    for name, command, ready, forms in servers(arguments):
        if arguments.only in name:
            rows += measure_server(name, command, ready, forms, images, arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=1)
    (arguments.output / "serving.json").write_text(text)
    (arguments.output / "serving.md").write_text(table(rows))
    print(table(rows))


def servers(arguments: argparse.Namespace) -> Iterator[tuple[str, list[str], str, dict]]:
    """Yields name, command, path of readiness, and forms of request of each server."""
    ours = [sys.executable, "-m", "serving", "--model_name=scene", "--log_level=WARNING"]
    ours += [f"--model_dir={arguments.model}", "--http_port={port}", "--grpc_port={grpc}"]
    forms: dict[str, Encode | str] = {
        "V1 image": lambda jpeg: ("/v1/models/scene:predict", jpeg, {"Content-Type": "image/jpeg"}),
        "multipart": lambda jpeg: ("/predict", *multipart(jpeg, {"Accept": "image/png"})),
        "V2 binary": v2_binary,
        "gRPC": "grpc",
    }
    yield "Segmentor", ours, "/v2/health/ready", forms
    fast = {"V1 image": forms["V1 image"]}
    for engine in ("openvino", "openvino-bf16"):
        yield f"Segmentor {engine}", [*ours, f"--engine={engine}"], "/v2/health/ready", fast
    peers = ROOT / "benchmarks" / "peers"
    yield (
        "KServe stock",
        [sys.executable, str(peers / "kserve_peer.py"), "{port}"],
        "/",
        {"V1 base64": v1_base64},
    )
    if arguments.peers_python:
        python = str(arguments.peers_python)
        upload = {"multipart": lambda jpeg: ("/predict", *multipart(jpeg, {}))}
        yield "FastAPI", [python, str(peers / "fastapi_peer.py"), "{port}"], "/ready", upload
        yield "LitServe", [python, str(peers / "litserve_peer.py"), "{port}"], "/health", upload
        bento = str(arguments.peers_python.parent / "bentoml")
        command = [bento, "serve", "bentoml_peer:Segmentation", "--port={port}"]
        yield "BentoML", [*command, f"--working-dir={peers}"], "/readyz", upload


def multipart(jpeg: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + jpeg + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers}


def v1_base64(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    body = json.dumps({"instances": [{"image": {"b64": base64.b64encode(jpeg).decode()}}]})
    return "/v1/models/scene:predict", body.encode(), {"Content-Type": "application/json"}


def v2_binary(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    element = len(jpeg).to_bytes(4, "little") + jpeg
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(element)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return "/v2/models/scene/infer", head + element, headers


def in_process(model_dir: Path, images: list[bytes], seconds: float, passes: int) -> list[Row]:
    """Our inference path in a loop, and the bare network, with as many callers as stated."""
    from segmentor.inference import decode_for, predict_mask
    from segmentor.masks import encode_mask
    from segmentor.onnx_model import OnnxModel

    model = OnnxModel(model_dir, spinning=False)
    pixels = decode_for(model.contract, images[0])[0]
    rows = []
    for form, work in (
        ("session.run", lambda jpeg: model.forward(pixels[None])),
        ("path", lambda jpeg: encode_mask(predict_mask(model.forward, model.contract, jpeg))),
    ):
        for callers in CONCURRENCY:
            results = []
            for _ in range(passes):
                before = time.process_time()
                latencies, elapsed, errors = load([work] * callers, images, seconds)
                cpu = time.process_time() - before
                results.append(row("in-process", form, callers, latencies, elapsed, cpu, 0, 0, 0))
            rows.append(median_row(results))
    return rows


def measure_server(
    name: str, command: list[str], ready: str, forms: dict, images: list[bytes], arguments
) -> list[Row]:
    rows: list[Row] = []
    with running(command, ready, arguments.model) as (process, port, grpc_port, start_s):
        engine = served_engine(port, ready)
        if "--engine=" in command[-1] and command[-1] != f"--engine={engine}":
            name += f" (refused, {engine} served)"
        for form, encode in forms.items():
            for callers in CONCURRENCY:
                results = []
                for _ in range(arguments.passes):
                    before = cpu_seconds(process.pid)
                    callables = [caller(encode, port, grpc_port) for _ in range(callers)]
                    latencies, elapsed, errors = load(callables, images, arguments.seconds)
                    cpu = cpu_seconds(process.pid) - before
                    rss = peak_rss_mib(process.pid)
                    facts = (latencies, elapsed, cpu, rss, start_s, errors)
                    results.append(row(name, form, callers, *facts))
                rows.append(median_row(results))
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def served_engine(port: int, path: str) -> str | None:
    """The engine that our predictor says it runs; None of any other server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().headers.get("X-Segmentor-Engine")


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


def table(rows: list[Row]) -> str:
    head = (
        "| server | form | callers | requests/s | p50 ms | p99 ms | CPU ms/request | peak RSS MiB "
        "| ready s |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = [
        f"| {r.server} | {r.form} | {r.concurrency} | {r.requests_s} | {r.p50_ms} | {r.p99_ms} "
        f"| {r.cpu_ms} | {r.peak_rss_mib or ''} | {r.start_s or ''} |"
        for r in rows
    ]
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
