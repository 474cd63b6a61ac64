import dataclasses

import numpy as np
import pytest
from builders import ROAD
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segmentor.contract import InputSpec, ModelContract
from segmentor.errors import ContractError, MaskError
from segmentor.image_io import encode_png
from segmentor.masks import encode_mask
from segmentor.model_samples import KeptSample
from serving.agreement import MAX_IOU_LOSS, Reference, compare

SIZE = (64, 96)
IMAGES = 10
CONTRACT = ModelContract(ROAD, InputSpec(SIZE))


def truth() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[32:] = 1
    return mask


def wrong(count: int, mask: np.ndarray | None = None) -> np.ndarray:
    """The truth, or a mask, with so many pixels of road missing, from the right."""
    changed = truth() if mask is None else mask.copy()
    changed[40, SIZE[1] - count :] = 0
    return changed


def agreement(exact, engine, masks=True, contract=CONTRACT):
    """Compares two engines by their masks of some images of one colour each, which tells them."""
    references = []
    for index, mask in enumerate(exact):
        image = np.full((*mask.shape, 3), index, np.uint8)
        kept = encode_mask(truth()[: mask.shape[0], : mask.shape[1]]) if masks else None
        sample = KeptSample(f"{index}.png", encode_png(image), kept)
        references.append(Reference(sample, encode_mask(mask)))

    def forward(images: np.ndarray) -> np.ndarray:
        return engine[int(images[0, 0, 0, 0])][None, None].astype(np.float32)

    return compare(forward, contract, references)


def test_the_same_masks_agree():
    found = agreement([wrong(30)] * IMAGES, [wrong(30)] * IMAGES)
    assert dataclasses.astuple(found) == (0, 0, 0)
    assert found.refusal() is None


def test_an_engine_that_loses_too_much_of_the_truth_is_refused():
    found = agreement([truth()] * IMAGES, [wrong(15)] * IMAGES)
    assert found.iou_loss == pytest.approx(15 / (32 * 96))
    assert "it loses 0.0049 of IoU on the images kept with the model" in found.refusal()


def test_changes_that_cost_nothing_are_granted_where_the_truth_shows_it():
    # Four pixels become right and four wrong.
    exact = wrong(4)
    engine = truth()
    engine[50, :4] = 0
    found = agreement([exact] * IMAGES, [engine] * IMAGES)
    assert found.iou_loss == 0
    assert found.refusal() is None
    assert "no masks of 6 images" in agreement([exact] * 9, [engine] * 9, masks=False).refusal()
    assert "no masks of 6 images" in agreement([exact] * 5, [engine] * 5).refusal()


def test_a_loss_that_is_small_by_luck_is_refused():
    # Some images gain and some lose as much: another choice of images would show a loss.
    engine = [truth(), wrong(40)] * (IMAGES // 2)
    found = agreement([wrong(20)] * IMAGES, engine)
    assert abs(found.iou_loss) < MAX_IOU_LOSS / 10
    assert found.iou_loss_at_most > MAX_IOU_LOSS
    assert "at two standard errors" in found.refusal()


def test_an_engine_that_changes_many_pixels_is_refused_whatever_it_gains():
    found = agreement([wrong(40)] * IMAGES, [truth()] * IMAGES)
    assert found.iou_loss < 0
    assert "0.65% of the pixels differ from fp32, at most 0.50%" in found.refusal()


def test_a_few_pixels_of_a_small_class_are_rounding():
    exact = np.zeros(SIZE, np.uint8)
    exact[0, :10] = 1
    engine = exact.copy()
    engine[0, 0] = 0
    others = [np.zeros(SIZE, np.uint8)] * 4
    found = agreement([exact, *others], [engine, *others], masks=False)
    assert found.iou_loss_at_most == pytest.approx(0.1)
    assert found.refusal() is None


MASKS = arrays.arrays(np.uint8, (3, 4), elements=st.integers(0, 1))


@settings(max_examples=40)
@given(st.lists(st.tuples(MASKS, MASKS), min_size=1, max_size=8))
def test_no_loss_exceeds_what_is_said_of_masks_without_truth(pairs):
    exact, engine = zip(*pairs, strict=True)
    contract = ModelContract(ROAD, InputSpec((3, 4), stride=1))
    bound = agreement(exact, engine, masks=False, contract=contract).iou_loss_at_most
    for turn in range(4):  # some truths, of which the true one could be any
        true = np.random.default_rng(turn).integers(0, 2, (len(exact), 3, 4))
        assert iou(true, np.array(exact)) - iou(true, np.array(engine)) <= bound + 1e-9


def iou(one, other) -> float:
    union = ((one == 1) | (other == 1)).sum()
    return ((one == 1) & (other == 1)).sum() / union if union else 1.0


def test_only_the_middle_of_an_image_is_compared_for_a_native_model():
    contract = ModelContract(ROAD, InputSpec(SIZE, size_policy="native"))
    image, true = np.zeros((600, 700, 3), np.uint8), np.zeros((600, 700), np.uint8)
    image[44:-44, 94:-94] = true[44:-44, 94:-94] = 1
    sample = KeptSample("0.png", encode_png(image), encode_mask(true))
    seen = []

    def forward(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.ones((1, 1, *images.shape[1:3]), np.float32)

    exact = encode_mask(np.ones((512, 512), np.uint8))
    assert compare(forward, contract, [Reference(sample, exact)]).flipped_fraction == 0
    assert seen[0].shape == (1, 512, 512, 3)
    assert seen[0].all()


def test_masks_that_are_none_of_their_images_end_the_start():
    image = encode_png(np.zeros((*SIZE, 3), np.uint8))
    exact = encode_mask(truth())
    small = KeptSample("0.png", image, encode_mask(truth()[:9]))
    with pytest.raises(ContractError, match=r"0\.png: a mask of \(9, 96\), expected"):
        compare(lambda _: None, CONTRACT, [Reference(small, exact)])
    strange = KeptSample("0.png", image, encode_mask(truth() * 7))
    with pytest.raises(MaskError, match=r"0\.png: class index 7"):
        compare(lambda _: None, CONTRACT, [Reference(strange, exact)])
