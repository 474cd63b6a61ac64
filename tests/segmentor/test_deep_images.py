"""Files of 16 bits a channel, of which cameras often use 10, 12 or 14."""

import logging
import struct
import zlib

import cv2
import numpy as np
import pytest
from builders import ROAD
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.train.configuration.preparation import warn_of_dark_files
from segmentor.contract import InputSpec, ModelContract
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.errors import ContractError
from segmentor.image_io import decode_image, highest_16_bit_value
from segmentor.inference import decode_for
from segmentor.label_map import LabelMap

KINDS = [(".png", 1), (".png", 3), (".png", 4), (".tiff", 1), (".tiff", 3)]


def encoded(values: np.ndarray, extension: str) -> bytes:
    return cv2.imencode(extension, values)[1].tobytes()


def drawn(channels: int, highest: int, seed: int = 0) -> np.ndarray:
    shape = (6, 9) if channels == 1 else (6, 9, channels)
    values = np.random.default_rng(seed).integers(0, highest + 1, shape, np.uint16)
    values[0, 0] = highest
    return values


@pytest.mark.parametrize(("extension", "channels"), KINDS)
@given(white=st.sampled_from([1023, 4095, 16383, 65535]), seed=st.integers(0, 99))
def test_white_becomes_255_and_all_below_it_in_proportion(extension, channels, white, seed):
    values = drawn(channels, white, seed)
    pixels = decode_image(encoded(values, extension), white=white)
    rgb = values[:, :, None].repeat(3, 2) if channels == 1 else values[:, :, 2::-1]
    expected = rgb.astype(np.int64) * 255 / white
    assert pixels.shape == (6, 9, 3)
    assert pixels.max() == 255
    assert (np.abs(pixels - expected) <= 1).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_brighter_than_white_is_white(channels):
    values = np.full((4, 4) if channels == 1 else (4, 4, 3), 60000, np.uint16)
    assert (decode_image(encoded(values, ".png"), white=4095) == 255).all()


def test_files_of_8_bits_do_not_know_of_it():
    content = encoded(np.full((4, 4, 3), 77, np.uint8), ".png")
    assert (decode_image(content, white=4095) == decode_image(content)).all()
    assert highest_16_bit_value(content) is None


def turned_png(values: np.ndarray, orientation: int) -> bytes:
    content = encoded(values, ".png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = content.index(b"IDAT") - 4
    return content[:at] + chunk + content[at:]


def turned_tiff(values: np.ndarray, orientation: int) -> bytes:
    """A little-endian TIFF of one strip, uncompressed; no writer here writes such files."""
    height, width = values.shape[:2]
    pixels = np.ascontiguousarray(values[:, :, ::-1]).astype("<u2").tobytes()
    short, long, end = 3, 4, 8 + 2 + 10 * 12 + 4
    entries = [
        (256, short, 1, width), (257, short, 1, height), (258, short, 3, end),
        (259, short, 1, 1), (262, short, 1, 2), (273, long, 1, end + 6),
        (274, short, 1, orientation), (277, short, 1, 3), (278, short, 1, height),
        (279, long, 1, len(pixels)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0)
    return head + struct.pack("<HHH", 16, 16, 16) + pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("turned", [turned_png, turned_tiff])
def test_a_turned_image_of_16_bit_colours_is_upright_as_with_the_usual_range(orientation, turned):
    content = turned(drawn(3, 65535), orientation)
    usual, deep = decode_image(content), decode_image(content, white=65534)
    assert usual.shape == deep.shape == ((9, 6, 3) if orientation > 4 else (6, 9, 3))
    assert (np.abs(usual.astype(int) - deep) <= 1).all()


def test_the_contract_keeps_it_and_the_decoder_follows():
    spec = InputSpec((32, 32), white=4095)
    contract = ModelContract(LabelMap.of(["background", "cell"]), spec)
    assert ModelContract.from_json(contract.to_json()) == contract
    values = drawn(1, 4095)
    pixels, _ = decode_for(contract, encoded(values, ".png"))
    usual = ModelContract(contract.label_map, InputSpec((32, 32)))
    assert "white" not in usual.to_json()["input"]
    assert pixels.max() == 255
    assert decode_for(usual, encoded(values, ".png"))[0].max() == 15
    with pytest.raises(ContractError, match="white 0"):
        InputSpec((32, 32), white=0)


@pytest.mark.parametrize(
    ("highest", "white", "said"),
    [
        (4000, 65535, "16 of 256 grey levels are left; set processing.white=4095"),
        (1000, 65535, "set processing.white=1023"),
        (4000, 1023, "brighter pixels are cut off; set processing.white=4095"),
        (4000, 4095, ""),
        (60000, 65535, ""),
    ],
)
def test_train_warns_of_images_that_would_be_black(tmp_path, caplog, highest, white, said):
    with DatasetWriter(tmp_path, ROAD, {"source": "drawn"}) as writer:
        for index in range(4):
            content = encoded(drawn(1, highest, index), ".png")
            writer.add(f"{index}", content, np.zeros((6, 9), np.uint8), f"{index}")
    with caplog.at_level(logging.WARNING):
        warn_of_dark_files(Dataset(tmp_path), white)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)
