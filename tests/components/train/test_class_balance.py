"""Class weights from the data, and classes that are not there."""

import numpy as np
import pytest
from builders import ROAD, STREET, draw_scene, write_dataset

from components.train.class_balance import LARGEST_WEIGHT, class_weights, require_classes
from segmentor.errors import ConfigError, TrainingError
from segmentor.label_map import LabelMap


def data_of(folder, masks, label_map):
    image, _ = draw_scene(0, (32, 32))
    samples = ((f"s{i}", image, mask, f"g{i}") for i, mask in enumerate(masks))
    return write_dataset(folder / "data", samples, label_map)


def mask_of(*parts: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.full(n, value, np.uint8) for value, n in parts]).reshape(32, 32)


def test_balanced_weights_are_median_frequency_over_frequency(tmp_path):
    dataset = data_of(tmp_path, [mask_of((0, 512), (1, 256), (2, 256))], STREET)
    assert class_weights("balanced", dataset) == pytest.approx([0.5, 1.0, 1.0])


def test_a_class_counts_over_the_images_that_hold_it(tmp_path):
    masks = [mask_of((0, 512), (1, 512)), mask_of((0, 512), (2, 512))]
    assert class_weights("balanced", data_of(tmp_path, masks, STREET)) == pytest.approx([1, 1, 1])


def test_ignored_pixels_have_no_weight_and_rare_classes_a_bounded_one(tmp_path):
    masks = [mask_of((0, 500), (1, 511), (2, 1), (255, 12))]
    weights = class_weights("balanced", data_of(tmp_path, masks, STREET))
    assert weights[2] == LARGEST_WEIGHT


def test_given_weights_must_fit_the_classes(tmp_path):
    dataset = data_of(tmp_path, [mask_of((0, 512), (1, 512))], ROAD)
    assert class_weights("none", dataset) is None
    assert class_weights([1.0, 3.0], dataset) == [1.0, 3.0]
    for wrong in ([1.0], [1.0, 0.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ConfigError, match="2 positive weights, for background, road"):
            class_weights(wrong, dataset)


def test_a_class_without_a_pixel_is_refused_and_background_is_not(tmp_path):
    street = LabelMap.of(["background", "road", "grass"])
    require_classes(data_of(tmp_path / "a", [mask_of((1, 512), (2, 512))], street))
    with pytest.raises(TrainingError, match="no pixel of road in 1 image"):
        require_classes(data_of(tmp_path / "b", [mask_of((0, 1024))], ROAD))
    with pytest.raises(TrainingError, match="no pixel of road, grass"):
        require_classes(data_of(tmp_path / "c", [mask_of((0, 1024))], STREET))


@pytest.mark.parametrize("label_map", [LabelMap.of(["road"]), ROAD])
def test_one_class_and_nothing_to_tell_it_from_is_refused(tmp_path, label_map):
    masks = [mask_of((label_map.index("road"), 1000), (255, 24))]
    with pytest.raises(TrainingError, match="pixels of one class, 'road'.*--unlabelled background"):
        require_classes(data_of(tmp_path, masks, label_map))
