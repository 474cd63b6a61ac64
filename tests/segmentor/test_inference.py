import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from segmentor.contract import InputSpec, ModelContract
from segmentor.errors import ImageError
from segmentor.image_io import encode_jpeg, encode_png
from segmentor.inference import decode_for, mask_at, predict_mask, probability_at
from segmentor.label_map import LabelMap

BINARY = ModelContract(LabelMap.of(["background", "road"]), InputSpec((32, 64)), threshold=0.3)
SEVERAL = ModelContract(LabelMap.of(["sky", "road", "car"]), InputSpec((32, 64)))


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 100),
)
def test_probability_is_brought_to_a_size_as_torch_interpolates(
    size: tuple[int, int], source: tuple[int, int], seed: int
) -> None:
    probability = np.random.default_rng(seed).random((2, *source), dtype=np.float32)
    expected = functional.interpolate(torch.from_numpy(probability[None]), size, mode="bilinear")
    assert probability_at(probability, size) == pytest.approx(expected[0].numpy(), abs=1e-5)


@given(seed=st.integers(0, 1000))
def test_the_running_maximum_takes_the_mask_that_argmax_takes(seed: int) -> None:
    probability = np.random.default_rng(seed).integers(0, 4, (3, 5, 7)).astype(np.float32)
    expected = probability_at(probability, (10, 9)).argmax(axis=0)
    assert np.array_equal(mask_at(probability, SEVERAL, (10, 9)), expected)


def test_a_binary_mask_is_where_the_probability_exceeds_the_threshold() -> None:
    probability = np.array([[[0.29, 0.3, 0.31]]], np.float32)
    # 0.3 as float32 is a little more than 0.3: what counts is that equal is not above.
    assert mask_at(probability, BINARY, (1, 3)).tolist() == [[0, int(np.float32(0.3) > 0.3), 1]]


def test_a_mask_has_the_size_of_the_image_as_displayed() -> None:
    image = Image.new("RGB", (80, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    import io

    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)

    def forward(images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 80, 40, 3)
        return np.ones((1, 1, 32, 64), np.float32)

    mask = predict_mask(forward, BINARY, buffer.getvalue())
    assert mask.shape == (80, 40)
    assert mask.all()


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_but_keeps_its_size() -> None:
    pixels, size = decode_for(BINARY, encode_jpeg(np.zeros((256, 512, 3), np.uint8)))
    assert size == (256, 512)
    assert pixels.shape[:2] == (32, 64)


def test_a_native_model_sees_every_pixel_of_a_jpeg() -> None:
    native = ModelContract(SEVERAL.label_map, InputSpec((32, 64), size_policy="native"))
    pixels, size = decode_for(native, encode_jpeg(np.zeros((256, 512, 3), np.uint8)))
    assert pixels.shape[:2] == size == (256, 512)


def test_what_is_no_image_is_refused_by_name() -> None:
    with pytest.raises(ImageError, match=r"^a\.png: data in no known image format"):
        predict_mask(lambda images: images, BINARY, b"not an image", "a.png")


def test_an_image_of_one_pixel_has_a_mask_of_one_pixel() -> None:
    content = encode_png(np.zeros((1, 1, 3), np.uint8))
    mask = predict_mask(lambda _: np.ones((1, 1, 32, 64), np.float32), BINARY, content)
    assert mask.tolist() == [[1]]
