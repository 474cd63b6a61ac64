"""What an augmentation may do to images and masks, tried before anything is trained."""

import numpy as np
import pytest

from components.train.augmentation import Augmentation, try_transforms
from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.configuration.transform_names import transforms
from segmentor.errors import ConfigError
from segmentor.label_map import IGNORE_INDEX


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+processing.augmentation.Normalize={}", "normalised twice"),
        ("+processing.augmentation.ToFloat={max_value: 255}", "normalised twice"),
        ("+processing.augmentation.ToTensorV2={}", "leave it out"),
        ("+processing.augmentation.OneOf={transforms: []}", "one by one, each with its own p"),
        ("+processing.augmentation.Mosaic={p: 0.1}", "mosaic_metadata"),
        ("+processing.augmentation.FDA={p: 0.1}", "fda_metadata"),
        ("+processing.augmentation.Crop={x_max: 9000, y_max: 9000, p: 0.1}", "at which it fails"),
        ("+processing.augmentation.RandomCrop={height: 64, width: 64, p: 0.1}", "64 x 64"),
        ("+processing.augmentation.RandomRotate90={p: 0.1}", "turn by 90 degrees"),
        ("+processing.augmentation.ToGray={num_output_channels: 1, p: 0.1}", "RGB"),
        ("+processing.augmentation.Perspective={mask_interpolation: 1}", "class indices"),
        ("+processing.augmentation.MaskDropout={fill_mask: 3}", ""),
        ("+processing.augmentation.PixelDropout={mask_drop_value: 300, p: 0.1}", "PixelDropout"),
    ],
)
def test_what_would_ruin_a_training_is_refused_by_name_with_the_configuration(override, said):
    name = override.partition("augmentation.")[2].partition("=")[0]
    if name == "MaskDropout":  # class 3 was asked for
        to_train_config(compose_config([override]))
        return
    with pytest.raises(ConfigError, match=f"^processing.augmentation.{name}") as caught:
        to_train_config(compose_config([override]))
    assert said in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # some say that they did nothing
def test_every_transform_is_taken_or_refused_and_never_an_error_of_another_kind():
    """Whatever is taken gives uint8 RGB and the mask's own values, also with other seeds."""
    needed = {
        "RandomSizedCrop": {"min_max_height": (16, 32), "size": (32, 48)},
        "RandomResizedCrop": {"size": (32, 48)},
        "GridElasticDeform": {"num_grid_xy": (3, 3), "magnitude": 3},
    }
    image = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
    mask = np.tile(np.uint8([[0, 3], [3, 0]]), (16, 24))
    taken = []
    for name in transforms():
        try:
            try_transforms({name: needed.get(name, {})}, (32, 48))
            augmentation = Augmentation({name: {**needed.get(name, {}), "p": 1.0}})
        except ConfigError:
            continue
        taken.append(name)
        for seed in range(5):
            found, labels = augmentation(image, mask, (seed,))
            assert found.dtype == labels.dtype == np.uint8, name
            assert set(np.unique(labels)) <= {0, 3, IGNORE_INDEX}, name
    assert len(taken) > 70
    assert not {"Normalize", "ToFloat", "ToTensorV2", "Mosaic", "FDA"} & set(taken)


@pytest.mark.parametrize("name", ["CoarseDropout", "GridDropout", "XYMasking", "Erasing"])
def test_what_is_hidden_is_still_learned_from(name):
    arguments = {"num_masks_x": 2, "mask_x_length": 10} if name == "XYMasking" else {}
    image, mask = np.full((64, 96, 3), 200, np.uint8), np.ones((64, 96), np.uint8)
    found, labels = Augmentation({name: {**arguments, "p": 1.0}})(image, mask, (0,))
    assert (found != image).any()
    assert (labels == 1).all()
    own = Augmentation({name: {**arguments, "fill_mask": 255, "p": 1.0}})
    assert (own(image, mask, (0,))[1] == 255).any()


@pytest.mark.parametrize("name", ["Rotate", "Affine", "ShiftScaleRotate"])
def test_what_is_uncovered_has_no_ground_truth(name):
    arguments = {"rotate": (30, 30)} if name == "Affine" else {}
    image, mask = np.zeros((64, 96, 3), np.uint8), np.ones((64, 96), np.uint8)
    values = set()
    for seed in range(5):
        labels = Augmentation({name: {**arguments, "p": 1.0}})(image, mask, (seed,))[1]
        values |= set(np.unique(labels))
    assert values == {1, IGNORE_INDEX}


def test_presets_need_no_trial(monkeypatch):
    monkeypatch.setattr("components.train.augmentation.try_transforms", lambda *_: 1 / 0)
    for preset in ("generic", "road", "small_objects"):
        to_train_config(compose_config([f"processing={preset}"]))
    to_train_config(compose_config(["~processing.augmentation.HorizontalFlip"]))
    with pytest.raises(ZeroDivisionError):
        to_train_config(compose_config(["processing.augmentation.HorizontalFlip.p=0.4"]))
