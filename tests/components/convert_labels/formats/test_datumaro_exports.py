"""What datumaro, the library that CVAT uses, writes is read exactly."""

from collections.abc import Mapping
from pathlib import Path

import datumaro
import numpy as np
import pytest
from datumaro.components.annotation import (
    AnnotationType,
    Bbox,
    LabelCategories,
    Mask,
    MaskCategories,
    Polygon,
)
from datumaro.components.media import Image as DatumaroImage
from numpy.typing import NDArray

from tests.components.convert_labels.formats.door_builders import SIZE
from tests.components.convert_labels.label_builders import (
    photograph,
)
from tests.components.convert_labels.step_runs import convert, masks_of


@pytest.mark.filterwarnings("ignore:Saving I mode images:DeprecationWarning")  # datumaro's
@pytest.mark.parametrize("kind", ["voc_segmentation", "cityscapes", "kitti_segmentation", "camvid"])
def test_what_datumaro_writes_is_read_exactly(kind: str, tmp_path: Path) -> None:
    items, expected = _datumaro_items()
    labels = LabelCategories.from_iterable(["background", "road", "lamp"])
    colours = MaskCategories({0: (0, 0, 0), 1: (128, 64, 128), 2: (250, 170, 30)})
    categories = {AnnotationType.label: labels, AnnotationType.mask: colours}
    task = datumaro.Dataset.from_iterable(items, categories=categories)
    for transform in ("polygons_to_masks", "boxes_to_masks", "merge_instance_segments"):
        task.transform(transform)
    task.export(str(tmp_path / "e"), kind, save_media=True)
    dataset = convert(tmp_path / "e", tmp_path)
    names = ("background", "lamp", "road")
    assert dataset.label_map.names == names
    found = {k.removesuffix("_leftImg8bit"): mask for k, mask in masks_of(dataset).items()}
    assert found.keys() == expected.keys()
    for name, mask in expected.items():
        assert np.array_equal(found[name], mask)


def test_label_me_as_datumaro_writes_it_is_read_exactly(tmp_path: Path) -> None:
    items, expected = _datumaro_items()
    task = datumaro.Dataset.from_iterable(items, categories=["background", "road", "lamp"])
    task.export(str(tmp_path / "e"), "label_me", save_media=True)
    dataset = convert(tmp_path / "e", tmp_path)
    found = masks_of(dataset)
    for name, mask in expected.items():
        assert np.array_equal(found[name], mask)


def _datumaro_items() -> tuple[list[datumaro.DatasetItem], Mapping[str, NDArray[np.uint8]]]:
    brush = np.zeros(SIZE, np.bool_)
    brush[12:18, 4:9] = True
    brush[14, 6] = False

    def item(name: str, subset: str, *annotations: object) -> datumaro.DatasetItem:
        media = DatumaroImage.from_numpy(data=photograph(SIZE, len(name)), ext=".png")
        return datumaro.DatasetItem(
            id=name, subset=subset, media=media, annotations=list(annotations)
        )

    items = [
        item(
            "a",
            "train",
            Polygon([1, 2, 20, 2, 20, 10, 1, 10], label=1, id=1, group=1),
            Mask(brush, label=2, id=2, group=2),
        ),
        item("sub/b c", "train", Bbox(3, 4, 20, 10, label=2, id=1, group=1)),
        item("d", "val", Mask(brush, label=1, id=1, group=1)),
    ]
    expected = {name: np.zeros(SIZE, np.uint8) for name in ("train/a", "train/sub/b c", "val/d")}
    expected["train/a"][2:10, 1:20] = 2
    expected["train/a"][brush] = 1
    expected["train/sub/b c"][4:14, 3:23] = 1
    expected["val/d"][brush] = 2
    return items, expected
