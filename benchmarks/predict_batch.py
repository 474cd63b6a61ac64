"""How fast a bucket is predicted, beside the same model and images in one process without a store.

    python -m benchmarks.predict_batch --model DIR --images DIR [--count 256] [--latencies 0,5,50]
    python -m benchmarks.predict_batch --model DIR --images DIR --memory 200,1000

A real S3 server on loopback takes CPU of the same machine: the ratios of CPU time are of our
process alone. The least that has to be done is decoding, running the model and encoding the mask.
With --memory: the peak of `segmentor predict s3://...` for as many images, the model included.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from benchmarks.late_network import late_network
from benchmarks.measuring import ROOT, Spent, start_clock, table, take_turns
from components.predict_batch.plan import Order, make_plan
from components.predict_batch.prediction import mapped_ahead, open_for_batch, predict_parts
from pipelines.local.embedded_store import embedded_store
from segmentor.cpus import available_cpus
from segmentor.image_io import encode_index
from segmentor.inference import predict_mask
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import OnnxModel

ONE, EACH = "in process, an image at a time", "in process, an image a CPU"
SOURCE = ObjectUri("images", "all")


def in_process(model: OnnxModel, images: Sequence[bytes], workers: int) -> Spent:
    def predict(content: bytes) -> int:
        return len(encode_index(predict_mask(model.forward, model.contract, content)))

    stop = start_clock()
    with ThreadPoolExecutor(workers) as pool:
        for _ in mapped_ahead(pool, predict, images, 2 * workers):
            pass
    return stop(len(images))


def in_bulk(model: OnnxModel, endpoint: str, mask_files: str) -> Spent:
    """Predict all images of the store into a new place; listing them counts too."""
    os.environ["S3_ENDPOINT"] = endpoint
    store = ObjectStore.from_environment()
    output = ObjectUri("predictions", uuid.uuid4().hex)
    stop = start_clock()
    plan = make_plan(store, output, Order(str(SOURCE), "model", model.digest, mask_files))
    predict_parts(store, output, plan, model, range(plan.parts))
    return stop(plan.images)


def upload(images: Sequence[bytes], prefix: ObjectUri) -> None:
    store = ObjectStore.from_environment()
    for bucket in (prefix.bucket, "predictions"):
        store.ensure_bucket(bucket)
    for number, content in enumerate(images):
        store.write(prefix.child(f"{number:06d}.jpg"), content)


def peak_mib(model: Path, source: ObjectUri) -> int:
    output = f"s3://predictions/{uuid.uuid4().hex}"
    command = [sys.executable, "-m", "pipelines", "predict", str(source), "--model", str(model)]
    process = subprocess.Popen([*command, "--output", output], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with {status}")
    return round(usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with model.onnx")
    add("--images", type=Path, required=True, help="folder with JPEGs")
    add("--count", type=int, default=256)
    add("--rounds", type=int, default=5)
    add("--latencies", default="0,5,50", help="milliseconds")
    add("--memory", default="", help="numbers of images")
    arguments = parser.parse_args()
    files = [path.read_bytes() for path in sorted(arguments.images.rglob("*.jpg"))]
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        environment = stack.enter_context(embedded_store(Path(folder)))
        os.environ.update(environment)
        if arguments.memory:
            for count in map(int, arguments.memory.split(",")):
                prefix = ObjectUri("images", str(count))
                upload([files[n % len(files)] for n in range(count)], prefix)
                print(f"{count} images: {peak_mib(arguments.model, prefix)} MiB at the peak")
            return
        images = [files[n % len(files)] for n in range(arguments.count)]
        upload(images, SOURCE)
        narrow = open_for_batch(str(arguments.model))
        wide = OnnxModel(arguments.model)
        contenders: dict[str, Callable[[], Spent]] = {
            ONE: partial(in_process, wide, images, 1),
            EACH: partial(in_process, narrow, images, available_cpus()),
        }
        for latency in map(int, arguments.latencies.split(",")):
            endpoint = environment["S3_ENDPOINT"]
            if latency:
                endpoint = stack.enter_context(late_network(endpoint, latency))
            for kind in ("png", "tar"):
                name = f"bulk, {kind}, {latency} ms"
                contenders[name] = partial(in_bulk, narrow, endpoint, kind)
        turns = take_turns(contenders, arguments.rounds, warm_up=True)
        print(table(turns, (ONE, EACH), "image"))


if __name__ == "__main__":
    main()
