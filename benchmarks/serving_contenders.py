"""What the serving benchmark starts and sends: our engines, and the peers with their requests."""

import base64
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peers.environments import peer_python

PEERS = Path(__file__).resolve().parent / "peers"
V1 = "/v1/models/scene:predict"
BOUNDARY = uuid.uuid4().hex
ENGINES = ("openvino", "openvino-bf16", "openvino-int8", "fast")

# An encoded image -> path, body, headers; or "grpc".
Encode = Callable[[bytes], tuple[str, bytes, dict[str, str]]]


@dataclass(frozen=True)
class Server:
    """One contender: how it is started, when it is ready, and the forms of request it gets."""

    name: str
    command: list[str]
    ready: str
    forms: dict[str, Encode | str]
    engine: str = ""


def servers(model: Path, environments: Path) -> Iterator[Server]:
    """Yields ours, engine by engine, then the peers."""
    ours = [sys.executable, "-m", "serving", "--model_name=scene", "--log_level=WARNING"]
    ours += [f"--model_dir={model}", "--http_port={port}", "--grpc_port={grpc}"]
    image: Encode = lambda jpeg: (V1, jpeg, {"Content-Type": "image/jpeg"})  # noqa: E731
    png: Encode = lambda jpeg: ("/predict", *multipart(jpeg, {"Accept": "image/png"}))  # noqa: E731
    forms: dict[str, Encode | str] = {
        "V1 image": image,
        "multipart": png,
        "V2 binary": v2_binary,
        "gRPC": "grpc",
    }
    yield Server("Segmentor", ours, "/v2/health/ready", forms, "onnxruntime")
    for engine in ENGINES:
        command = [*ours, f"--engine={engine}"]
        yield Server(
            f"Segmentor {engine}", command, "/v2/health/ready", {"V1 image": image}, engine
        )
    yield Server(
        "KServe stock",
        [sys.executable, str(PEERS / "kserve_peer.py"), "{port}"],
        "/",
        {"V1 base64": v1_base64},
    )
    web = str(peer_python("web", environments))
    upload: dict[str, Encode | str] = {"multipart": lambda jpeg: ("/predict", *multipart(jpeg, {}))}
    yield Server("FastAPI", [web, str(PEERS / "fastapi_peer.py"), "{port}"], "/ready", upload)
    yield Server("LitServe", [web, str(PEERS / "litserve_peer.py"), "{port}"], "/health", upload)
    bento = [str(Path(web).with_name("bentoml")), "serve", "bentoml_peer:Segmentation"]
    yield Server("BentoML", [*bento, "--port={port}", f"--working-dir={PEERS}"], "/readyz", upload)
    mlserver = [str(peer_python("mlserver", environments)), str(PEERS / "mlserver_peer.py")]
    yield Server(
        "MLServer", [*mlserver, "{port}"], "/v2/models/scene/ready", {"V2 base64": v2_base64}
    )


def multipart(jpeg: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """The body of an upload, and its headers."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + jpeg + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers}


def v1_base64(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    """V1 JSON, as KServe's own example has it."""
    body = json.dumps({"instances": [{"image": {"b64": base64.b64encode(jpeg).decode()}}]})
    return V1, body.encode(), {"Content-Type": "application/json"}


def v2_base64(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    """V2 JSON with base64, as MLServer's codec has it."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    tensor["data"] = [base64.b64encode(jpeg).decode()]
    tensor["parameters"] = {"content_type": "base64"}
    body = json.dumps({"inputs": [tensor]}).encode()
    return "/v2/models/scene/infer", body, {"Content-Type": "application/json"}


def v2_binary(jpeg: bytes) -> tuple[str, bytes, dict[str, str]]:
    """V2 with the image as a binary BYTES tensor."""
    element = len(jpeg).to_bytes(4, "little") + jpeg
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(element)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return "/v2/models/scene/infer", head + element, headers
