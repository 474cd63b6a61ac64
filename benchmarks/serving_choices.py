"""Measures what serving could do otherwise: other JPEG decoders, IO binding, batches, OpenCV's PNG.

    python benchmarks/serving_choices.py --model DIR --images DIR

The alternatives run in turn, image by image, so that a busy machine slows all of them alike; the
median is printed, one thread. simplejpeg (libjpeg-turbo) is measured when it is installed.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from segmentor.contract import INPUT_NAME, OUTPUT_NAME
from segmentor.image_io import decode_image
from segmentor.inference import decode_for, mask_at
from segmentor.masks import encode_mask
from segmentor.onnx_model import OnnxModel

ROUNDS = 15
BATCHES = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with model.onnx")
    parser.add_argument("--images", type=Path, required=True, help="folder with JPEGs")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model = OnnxModel(arguments.model, threads=1, spinning=False)
    jpegs = [path.read_bytes() for path in sorted(arguments.images.glob("*.jpg"))]
    compare("decode a JPEG", decoders(model), jpegs)
    pixels = [decode_for(model.contract, jpeg)[0] for jpeg in jpegs]
    one_by_one = {"run": lambda image: model.forward(image[None]), "IO binding": bound(model)}
    compare("infer an image", one_by_one, pixels)
    for size in BATCHES:
        batches = {f"of {size}": lambda image, n=size: model.forward(np.repeat(image[None], n, 0))}
        compare("infer a batch, an image of it", batches, pixels, size)
    size = decode_image(jpegs[0]).shape[:2]
    mask = mask_at(model.forward(pixels[0][None])[0], model.contract, size)
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, 3]
    encoders = {"ours": encode_mask, "OpenCV": lambda m: cv2.imencode(".png", m, fast)[1]}
    compare("encode a mask", encoders, [mask])


def decoders(model: OnnxModel) -> dict[str, Callable]:
    """Ours (Pillow, reduced scale), at full size, OpenCV, and simplejpeg when there is one."""
    found: dict[str, Callable] = {
        "ours": lambda jpeg: decode_for(model.contract, jpeg),
        "Pillow, full size": decode_image,
        "OpenCV, half size": lambda jpeg: cv2.imdecode(
            np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_2
        ),
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        height, width = model.contract.input.size
        found["simplejpeg, reduced"] = lambda jpeg: simplejpeg.decode_jpeg(
            jpeg, min_height=height, min_width=width
        )
    return found


def bound(model: OnnxModel) -> Callable:
    """The same session with its input and output bound to memory beforehand."""
    binding = model.session.io_binding()

    def infer(image: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(image[None])
        value = onnxruntime.OrtValue.ortvalue_from_numpy(images)
        binding.bind_ortvalue_input(INPUT_NAME, value)
        binding.bind_output(OUTPUT_NAME, "cpu")
        model.session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    return infer


def compare(what: str, ways: dict[str, Callable], inputs: list, images: int = 1) -> None:
    """Prints the median milliseconds an image of each way, run in turn on each input."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for value in inputs:
            for name, way in ways.items():
                started = time.perf_counter()
                way(value)
                seconds[name].append((time.perf_counter() - started) / images)
    for name, values in seconds.items():
        print(f"{what}: {name}: {statistics.median(values) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
