import numpy as np
import pytest
from builders import ROAD

from segmentor.agreement import flipped_fraction, with_expected
from segmentor.contract import InputSpec, ModelContract
from segmentor.errors import ContractError
from segmentor.image_io import decode_index, encode_index, encode_png
from segmentor.model_samples import KeptSample
from segmentor.onnx_model import OnnxModel

SIZE = (64, 96)
CONTRACT = ModelContract(ROAD, InputSpec(SIZE))


def half(pixels_less: int = 0) -> np.ndarray:
    """A mask whose lower half is road, but for some pixels."""
    mask = np.zeros(SIZE, np.uint8)
    mask[32:] = 1
    mask[40, :pixels_less] = 0
    return mask


def flipped(engine: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Compare an engine's masks of some images of one colour each, which tells it which it is."""
    samples = []
    for index, mask in enumerate(expected):
        image = np.full((*SIZE, 3), index, np.uint8)
        samples.append(KeptSample(f"{index}.png", encode_png(image), encode_index(mask)))

    def forward(images: np.ndarray) -> np.ndarray:
        return engine[int(images[0, 0, 0, 0])][None, None].astype(np.float32)

    return flipped_fraction(forward, CONTRACT, samples)


def test_the_same_masks_agree():
    assert flipped([half(), half(7)], [half(), half(7)]) == 0


def test_pixels_are_counted_over_all_images_whichever_way_they_change():
    expected = 30 / (2 * SIZE[0] * SIZE[1])
    assert flipped([half(20), half()], [half(), half(10)]) == pytest.approx(expected)


def test_a_mask_of_another_size_than_its_image_is_refused():
    with pytest.raises(ContractError, match=r"0\.png: a mask of \(9, 96\), expected \(64, 96\)"):
        flipped([half()], [half()[:9]])


def test_masks_that_were_not_published_are_those_of_the_exact_engine(street_model, scene):
    model = OnnxModel(street_model)
    published = KeptSample("0.png", encode_png(scene), encode_index(half()))
    kept = with_expected(model, [published, KeptSample("1.png", encode_png(scene))])
    assert kept[0] == published
    mask = decode_index(kept[1].expected, "1.png")
    assert mask.shape == scene.shape[:2]
    assert flipped_fraction(model.forward, model.contract, kept[1:]) == 0
