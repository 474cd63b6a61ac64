"""Soaks a running predictor in good and hostile requests, and fails when an innocent one suffers.

    python -m benchmarks.soak --url http://127.0.0.1:8080 --model road --seconds 600

Fails (exit 1) on any 5xx but 503, an innocent request without its mask, and masks that change; with
--pid of the server also on memory that grows by more than --growth MiB after the first tenth.
"""

import argparse
import http.client
import io
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

INNOCENT_THREADS = 2
HOSTILE_THREADS = 2


class Soak:
    """What the threads share: where to send, until when, and what came back."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.address = urlsplit(arguments.url)
        self.model = arguments.model
        self.end = time.monotonic() + arguments.seconds
        self.replies: Counter[str] = Counter()
        self.problems: list[str] = []
        self.masks: dict[int, bytes] = {}
        self.images = [picture(seed) for seed in range(4)]

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send one request on a new connection."""
        connection = http.client.HTTPConnection(
            str(self.address.hostname), self.address.port, timeout=60
        )
        try:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def innocent(self, seed: int) -> None:
        """Send images; each must get the same mask every time, or be told to come back."""
        chance = random.Random(seed)
        while time.monotonic() < self.end:
            index = chance.randrange(len(self.images))
            try:
                path = f"/v1/models/{self.model}:predict"
                status, content = self.ask(path, self.images[index], {"Content-Type": "image/png"})
            except OSError as error:
                self.problems.append(f"innocent request lost: {error!r}")
                continue
            self.replies[f"innocent {status}"] += 1
            if status == 200 and self.masks.setdefault(index, content) != content:
                self.problems.append(f"another mask for image {index}")
            elif status not in (200, 503):
                self.problems.append(f"innocent request got {status}: {content[:200]!r}")

    def hostile(self, seed: int) -> None:
        """Send what should be refused, and connections that say nothing."""
        chance = random.Random(seed)
        while time.monotonic() < self.end:
            path, body, headers = chance.choice(HOSTILE)(self, chance)
            try:
                status, content = self.ask(path, body, headers)
            except OSError:
                self.replies["hostile cut off"] += 1
                continue
            self.replies[f"hostile {status}"] += 1
            if status >= 500 and status != 503:
                self.problems.append(f"{status} for {path} {headers}: {content[:200]!r}")
            if chance.random() < 0.05:
                with socket.create_connection((self.address.hostname, self.address.port)) as idle:
                    idle.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 99")


def damaged(soak: Soak, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """An image with bytes changed, or cut."""
    body = bytearray(chance.choice(soak.images))
    for _ in range(chance.randrange(1, 20)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return f"/v1/models/{soak.model}:predict", bytes(body[: chance.randrange(len(body))]), {}


def malformed_tensor(soak: Soak, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """A binary V2 request whose sizes do not add up."""
    shape = [chance.randrange(-2, 5) for _ in range(4)]
    size = chance.randrange(-5, 500)
    tensor = {"name": "image", "shape": shape, "datatype": chance.choice(["UINT8", "BYTES", "X"])}
    tensor["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [tensor]}).encode()
    length = len(head) + chance.choice([0, 0, -1, 1, 10_000])
    body = head + chance.randbytes(chance.randrange(500))
    return f"/v2/models/{soak.model}/infer", body, {"Inference-Header-Content-Length": str(length)}


def malformed_upload(soak: Soak, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """A multipart body of noise."""
    body = b"--x\r\n" + chance.randbytes(chance.randrange(2000)) + b"\r\n--x--\r\n"
    return "/predict", body, {"Content-Type": "multipart/form-data; boundary=x"}


def deep_json(soak: Soak, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """JSON nested deeper than any parser likes."""
    depth = chance.randrange(1, 50_000)
    body = b'{"instances":' + b"[" * depth + b"]" * depth + b"}"
    return f"/v1/models/{soak.model}:predict", body, {"Content-Type": "application/json"}


HOSTILE = (damaged, malformed_tensor, malformed_upload, deep_json)


def picture(seed: int) -> bytes:
    """A PNG of soft noise, of another size for each seed."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (8, 12, 3), np.uint8)
    size = (int(generator.integers(100, 500)), int(generator.integers(100, 400)))
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True, help="its name in the routes")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pid", type=int, help="of the server, to watch its memory")
    parser.add_argument("--growth", type=float, default=64, help="MiB that memory may grow")
    arguments = parser.parse_args()
    soak = Soak(arguments)
    work = [(soak.innocent, seed) for seed in range(INNOCENT_THREADS)]
    work += [(soak.hostile, seed) for seed in range(HOSTILE_THREADS)]
    threads = [threading.Thread(target=run, args=(seed,)) for run, seed in work]
    for thread in threads:
        thread.start()
    time.sleep(arguments.seconds / 10)
    before = rss_mib(arguments.pid) if arguments.pid else 0
    for thread in threads:
        thread.join()
    after = rss_mib(arguments.pid) if arguments.pid else 0
    if after - before > arguments.growth:
        soak.problems.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
    if not soak.replies["innocent 200"]:
        soak.problems.append("no innocent request was answered")
    figures = {"replies": dict(sorted(soak.replies.items())), "rss_mib": [before, after]}
    print(json.dumps({**figures, "problems": soak.problems[:20]}, indent=1))
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
