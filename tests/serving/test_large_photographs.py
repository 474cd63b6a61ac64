"""A photograph of 108 megapixels, through a real server, in less than 2 GiB."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from running_predictor import RunningPredictor, running_predictor

from segmentor.image_io import decode_index, encode_jpeg

HEIGHT, WIDTH = 9_000, 12_000
LIMIT_MIB = 2048


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A JPEG of soft colours with some noise, RGB (9,000, 12,000, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    return encode_jpeg(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def peak_rss_mib(running: RunningPredictor) -> float:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["resize", "native"])
def test_a_photograph_of_108_megapixels_takes_less_than_two_gibibytes(
    street_model, road_model, photograph, tmp_path, policy
):
    model = {"resize": street_model, "native": road_model}[policy]
    with running_predictor(model, tmp_path) as running:
        reply = running.client.post("/v1/models/scene:predict", content=photograph, timeout=280)
        assert reply.status_code == 200, reply.text[:300]
        assert decode_index(reply.content).shape == (HEIGHT, WIDTH)
        assert peak_rss_mib(running) < LIMIT_MIB
