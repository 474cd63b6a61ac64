"""Whatever the bytes, a parser answers or raises one of our errors: never anything else."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.convert_labels.formats import coco, cvat_xml, datumaro_json
from components.convert_labels.formats.class_lists import parse_label_colours, parse_label_map
from components.convert_labels.formats.detection import open_export
from components.convert_labels.masks.painting import paint
from components.convert_labels.raw_labels import ShapesLabel
from components.convert_labels.source.listing import open_source
from segmentor.errors import SegmentorError
from tests.components.convert_labels.label_builders import (
    coco_export,
    images_export,
    mask_export,
    plain_task,
)

SIZE = (20, 30)
TARGETS = {"car": 1}
ATTRIBUTES = (
    *("points", "xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry"),
    *("rotation", "rle", "left", "top", "width", "height", "z_order"),
)
numbers = st.one_of(
    st.integers(-40, 40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**30), 10**30),
    st.text(max_size=4),
    st.none(),
)
texts = st.text(st.sampled_from("0123456789,;. -eE:#=nax\n\r\té\0"), max_size=40)


def paints_or_refuses(parse: Any, record: Any) -> None:
    label = ShapesLabel((record,), parse, SIZE, "x.png")
    with contextlib.suppress(SegmentorError):
        mask = paint(label, SIZE, TARGETS, 0).mask
        assert mask.shape == SIZE
        assert set(mask.ravel().tolist()) <= {0, 1}


@given(
    st.sampled_from(cvat_xml.PAINTED),
    st.dictionaries(
        st.sampled_from(ATTRIBUTES),
        st.one_of(texts, st.integers(-50, 50).map(str), st.floats().map(str)),
    ),
)
def test_shapes_of_cvat(kind: str, attributes: dict[str, str]) -> None:
    paints_or_refuses(cvat_xml.parse_shape, (kind, {"label": "car", **attributes}))


@given(st.integers(-3, 40), st.integers(-3, 40), st.lists(st.integers(-5, 300), max_size=9))
def test_masks_of_cvat(width: int, height: int, runs: list[int]) -> None:
    box = {"left": "-2", "top": "5", "width": str(width), "height": str(height)}
    rle = ", ".join(map(str, runs))
    paints_or_refuses(cvat_xml.parse_shape, ("mask", {"label": "car", "rle": rle, **box}))


segmentations = st.one_of(
    numbers,
    st.lists(numbers, max_size=8),
    st.lists(st.lists(numbers, max_size=9), max_size=3),
    st.fixed_dictionaries(
        {
            "counts": st.one_of(st.text(max_size=12), st.lists(numbers, max_size=6)),
            "size": st.one_of(st.just(list(SIZE)), st.lists(numbers, max_size=3)),
        }
    ),
)


@given(segmentations, st.one_of(st.none(), st.lists(numbers, max_size=5)))
def test_annotations_of_coco(segmentation: Any, bbox: Any) -> None:
    annotation = {"segmentation": segmentation, "bbox": bbox}
    paints_or_refuses(coco.parse_annotation, ("car", annotation))


@given(st.sampled_from(["polygon", "bbox", "mask", "ellipse"]), segmentations, numbers)
def test_annotations_of_datumaro(kind: str, value: Any, z_order: Any) -> None:
    annotation = {"type": kind, "points": value, "bbox": value, "rle": value, "z_order": z_order}
    paints_or_refuses(datumaro_json.parse_annotation, ("car", annotation))


@given(texts)
def test_label_maps(text: str) -> None:
    with contextlib.suppress(SegmentorError):
        assert all(label.name for label in parse_label_map(text, "labelmap.txt"))
    with contextlib.suppress(SegmentorError):
        parse_label_colours(text)


json_values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


@settings(max_examples=40)
@given(st.sampled_from(["images", "annotations", "categories", "items"]), json_values)
def test_json_of_another_shape(key: str, value: Any) -> None:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "x.png"}],
        "annotations": [{"image_id": 1, "category_id": 1}],
        "categories": [{"id": 1, "name": "car"}],
    }
    if key == "items":
        content = {"categories": {"label": {"labels": [{"name": "car"}]}}, "items": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "instances_a.json")
        path.write_text(json.dumps({**content, key: value}))
        with contextlib.suppress(SegmentorError):
            export, _ = open_export(open_source(Path(folder), "folder"))
            list(export.items())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["xml", "mask", "coco"]), st.data())
def test_archives_with_flipped_bytes(kind: str, data: st.DataObject) -> None:
    write = {"xml": images_export, "mask": mask_export, "coco": coco_export}[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = write(plain_task(), Path(folder, "e.zip"))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            position = data.draw(st.integers(0, len(content) - 1))
            content[position] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        with contextlib.suppress(SegmentorError):
            files = open_source(path, "e.zip")
            export, _ = open_export(files)
            for item in export.items():
                if isinstance(item.label, ShapesLabel):
                    item.label.shapes()
