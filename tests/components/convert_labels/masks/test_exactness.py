"""Masks are pixel for pixel what CVAT paints, in whatever format the task was exported."""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segmentor.image_io import decode_image
from tests.components.convert_labels.label_builders import (
    Drawn,
    Task,
    camvid_export,
    coco_export,
    cvat_xml,
    datumaro_export,
    image_files,
    images_export,
    mask_export,
    painted,
    plain_task,
    write_files,
)
from tests.components.convert_labels.step_runs import convert, masks_of

COMMA = {
    "road": 0x402020,
    "lane": 0xFF0000,
    "undrivable": 0x808060,
    "movable": 0x00FF66,
    "my_car": 0xCC00FF,
}


@pytest.mark.parametrize(
    "export", [images_export, mask_export, coco_export, datumaro_export, camvid_export]
)
def test_one_task_gives_the_same_masks_in_every_format(
    export: Callable[[Task, Path], Path], tmp_path: Path
) -> None:
    task = plain_task()
    dataset = convert(export(task, tmp_path / "export.zip"), tmp_path / "out")
    assert dataset.label_map.names == ("background", "car", "road", "traffic light")
    found = masks_of(dataset)
    assert set(found) == {"a.b c", "deep/er/b", "none"}
    for name in task.images:
        expected = painted(task, name)
        assert (found[name.rpartition(".")[0]] == expected).all()
    assert found["a.b c"].any()


def comma_masks(shared_data: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.uint8]]:
    """The published masks, one colour at a time."""
    masks = {}
    for path in sorted((shared_data / "comma10k_mini" / "masks").iterdir()):
        rgb = decode_image(path.read_bytes()).astype(np.uint32)
        codes = rgb[:, :, 0] << 16 | rgb[:, :, 1] << 8 | rgb[:, :, 2]
        mask = np.full(codes.shape, 99, np.uint8)
        for name, colour in COMMA.items():
            mask[codes == colour] = names.index(name)
        masks[path.stem] = mask
    return masks


@pytest.mark.parametrize("export", ["segmentation_mask_1.1", "images_1.1_rle"])
def test_comma10k_through_cvat_equals_the_published_masks(
    export: str, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "cvat_derived_comma10k" / export
    images = str(shared_data / "comma10k_mini" / "imgs")
    dataset = convert(source, tmp_path, "--images", images)
    expected = comma_masks(shared_data, dataset.label_map.names)
    found = masks_of(dataset)
    assert found.keys() == expected.keys()
    assert len(found) == 11
    for name, mask in expected.items():
        assert (found[name] == mask).all(), name


def overlapping_task() -> Task:
    shapes = [
        Drawn("polygon", "road", [0, 10, 60, 10, 60, 50, 0, 50], z_order=-1),
        Drawn("box", "car", [10, 5, 40, 30], z_order=4),
        Drawn("ellipse", "traffic light", [25.5, 20.5, 14.2, 9.7], z_order=7, rotation=30),
        Drawn("mask", "car", np.ones((6, 11), np.bool_), z_order=2, left=30, top=35),
        Drawn("polygon", "car", [30.5, 30.5, 59, 40, 35, 49.5], z_order=1),
    ]
    return Task({"x.png": (52, 64)}, {"x.png": shapes})


def test_shapes_in_any_document_order_are_painted_by_z_order(tmp_path: Path) -> None:
    task = overlapping_task()
    expected = painted(task, "x.png")
    shuffler = random.Random(1)
    for attempt in range(3):
        shuffler.shuffle(task.shapes["x.png"])
        folder = tmp_path / str(attempt)
        folder.mkdir()
        dataset = convert(images_export(task, folder / "export.zip"), folder)
        assert (masks_of(dataset)["x"] == expected).all()


def test_of_equal_z_order_the_later_shape_is_on_top(tmp_path: Path) -> None:
    boxes = [
        Drawn("box", "road", [0, 0, 20, 20]),
        Drawn("box", "car", [5, 5, 15, 15]),
        Drawn("box", "traffic light", [8, 8, 12, 12]),
    ]
    task = Task({"x.png": (20, 20)}, {"x.png": boxes})
    mask = masks_of(convert(images_export(task, tmp_path / "e.zip"), tmp_path))["x"]
    assert [mask[2, 2], mask[6, 6], mask[10, 10]] == [2, 1, 3]


def test_a_rotated_box_turns_clockwise_about_its_centre(tmp_path: Path) -> None:
    # A 40 x 10 box, turned by 90 degrees, is a 10 x 40 box about the same centre.
    turned = Task({"x.png": (60, 60)}, {"x.png": [Drawn("box", "car", [10, 25, 50, 35])]})
    turned.shapes["x.png"][0].rotation = 90.0
    upright = Task({"x.png": (60, 60)}, {"x.png": [Drawn("box", "car", [25, 10, 35, 50])]})
    mask = masks_of(convert(images_export(turned, tmp_path / "e.zip"), tmp_path))["x"]
    assert (mask == painted(upright, "x.png")).all()
    # By 30 degrees clockwise (y down), its right end goes down.
    turned.shapes["x.png"][0].rotation = 30.0
    mask = masks_of(convert(images_export(turned, tmp_path / "e.zip"), tmp_path))["x"]
    ys, xs = np.nonzero(mask)
    assert ys[xs > 40].mean() > 32
    assert ys[xs < 20].mean() < 28


def test_turned_boxes_are_painted_as_the_polygons_that_cvat_makes_of_them(tmp_path: Path) -> None:
    # As RotatedBoxesToPolygons turns them, and datumaro's polygons round: two decimals.
    random = np.random.default_rng(4)
    boxes, polygons = [], []
    for _ in range(60):
        x, y, width, height = random.uniform((10, 10, 5, 5), (60, 60, 30, 30)).round(2).tolist()
        angle = round(random.uniform(1, 359), 2)
        boxes.append(Drawn("box", "car", [x, y, x + width, y + height], rotation=angle))
        ends = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        centre = complex(x + width / 2, y + height / 2)
        turned = [
            (complex(*end) - centre) * np.exp(1j * np.radians(angle)) + centre for end in ends
        ]
        points = [value for point in turned for value in (point.real, point.imag)]
        polygons.append(Drawn("polygon", "car", np.around(points, 2).tolist()))
    names = [f"{number}.png" for number in range(len(boxes))]
    sizes = dict.fromkeys(names, (100, 100))
    task = Task(sizes, {name: [box] for name, box in zip(names, boxes, strict=True)})
    drawn = Task(sizes, {name: [shape] for name, shape in zip(names, polygons, strict=True)})
    found = masks_of(convert(images_export(task, tmp_path / "e.zip"), tmp_path))
    for name in names:
        assert (found[name.removesuffix(".png")] == painted(drawn, name)).all(), name


def test_datumaro_paints_the_same_but_for_its_known_bugs(tmp_path: Path) -> None:
    # The oracle drops ellipses [X] and cannot read CVAT's <mask>; all else must agree.
    import datumaro

    task = overlapping_task()
    task.shapes["x.png"] = [s for s in task.shapes["x.png"] if s.kind in ("polygon", "box")]
    write_files(tmp_path / "export", {"annotations.xml": cvat_xml(task), **image_files(task)})
    ours = masks_of(convert(tmp_path / "export", tmp_path))["x"]
    oracle = datumaro.Dataset.import_from(str(tmp_path / "export"), "cvat")
    oracle.transform("polygons_to_masks")
    oracle.transform("boxes_to_masks")
    (item,) = list(oracle)
    labels = [label.name for label in oracle.categories()[datumaro.AnnotationType.label]]
    theirs = np.zeros((52, 64), np.uint8)
    for annotation in sorted(item.annotations, key=lambda annotation: annotation.z_order):
        index = sorted(task.colours).index(labels[annotation.label]) + 1
        theirs[annotation.image.astype(np.bool_)] = index
    assert (ours == theirs).all()
    assert len(np.unique(ours)) == 3


def test_datumaro_still_drops_ellipses(tmp_path: Path) -> None:
    # When this fails, datumaro has mended it: then the comparison above can include them.
    import datumaro

    task = Task({"x.png": (30, 40)}, {"x.png": [Drawn("ellipse", "car", [20, 15, 9, 6])]})
    write_files(tmp_path / "export", {"annotations.xml": cvat_xml(task), **image_files(task)})
    (item,) = list(datumaro.Dataset.import_from(str(tmp_path / "export"), "cvat"))
    assert not item.annotations
    mask = masks_of(convert(tmp_path / "export", tmp_path))["x"]
    assert (mask == painted(task, "x.png")).all()
    assert mask.any()


def test_datumaro_still_fails_on_camvid_names_with_spaces(tmp_path: Path) -> None:
    # Its reader takes the fourth word of a line as the name: when this fails, it is mended.
    import datumaro
    from datumaro.components.errors import DatasetImportError

    task = plain_task()
    with zipfile.ZipFile(camvid_export(task, tmp_path / "e.zip")) as archive:
        archive.extractall(tmp_path / "export")
    with pytest.raises(DatasetImportError):
        datumaro.Dataset.import_from(str(tmp_path / "export"), "camvid")
    found = masks_of(convert(tmp_path / "export", tmp_path))
    assert (found["a.b c"] == painted(task, "a.b c.jpg")).all()
    assert "traffic light" in (tmp_path / "label-report").read_text()
