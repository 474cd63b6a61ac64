"""The client against the real predictor: files in, masks and overlays out, clear refusals."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from red_model import write_red_model

from pipelines.image_files import find_images
from pipelines.predictor.client import predict_files
from pipelines.predictor.process import running_predictor
from segmentor.digests import digest_file
from segmentor.errors import DataError, PredictorError
from segmentor.image_io import decode_image, decode_index, encode_jpeg, encode_png
from segmentor.predictor_client import Predictor

RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :20, 0] = 255


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_red_model(tmp_path_factory.mktemp("model") / "red")


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("log") / "predictor.log"
    with running_predictor("red", str(model), os.environ, log) as address:
        yield address


def test_a_folder_of_images_becomes_masks_and_overlays_in_the_same_layout(
    url: str, model: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    (images / "drive.1").mkdir(parents=True)
    (images / "first.png").write_bytes(encode_png(RED_LEFT))
    (images / "drive.1" / "second.v2.JPG").write_bytes(encode_jpeg(RED_LEFT, 95))
    (images / "notes.txt").write_text("no image")

    with Predictor(url) as predictor:
        results = list(predict_files(predictor, images, tmp_path / "out"))

    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("out/**/*"))
    assert [name for name in written if name.endswith(".png")] == [
        "drive.1/second.v2.mask.png",
        "drive.1/second.v2.overlay.png",
        "first.mask.png",
        "first.overlay.png",
    ]
    mask = decode_index((tmp_path / "out" / "first.mask.png").read_bytes(), "mask")
    np.testing.assert_array_equal(mask, RED_LEFT[:, :, 0] // 255)
    picture = decode_image((tmp_path / "out" / "first.overlay.png").read_bytes(), "overlay")
    np.testing.assert_array_equal(picture[:, 30:], RED_LEFT[:, 30:])
    assert {result.digest for result in results} == {digest_file(model / "model.onnx")}


def test_images_that_are_refused_are_reported_together_after_the_others_are_done(
    url: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"no image at all")
    (tmp_path / "b.png").write_bytes(encode_png(RED_LEFT))

    with (
        Predictor(url, "red") as predictor,
        pytest.raises(DataError, match=r"1 problem: \S+/a\.png: HTTP 400"),
    ):
        list(predict_files(predictor, tmp_path, tmp_path / "out"))

    assert (tmp_path / "out" / "b.mask.png").is_file()
    assert not (tmp_path / "out" / "a.mask.png").exists()


def test_a_predictor_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(PredictorError, match="no such file, expected an ONNX model"),
        running_predictor("red", str(tmp_path), os.environ, tmp_path / "log"),
    ):
        pass


def test_two_images_of_one_name_are_refused_before_one_result_overwrites_the_other(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(b"")

    with pytest.raises(DataError, match="one image a name"):
        find_images(tmp_path)
