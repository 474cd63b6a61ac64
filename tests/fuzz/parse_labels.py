"""Fuzzes a parser of labels, guided by coverage: `python tests/fuzz/parse_labels.py TARGET`.

Whatever the bytes, a parser answers or raises one of our errors. More options are libFuzzer's:
`-max_total_time=60`, or a file that made it fail. It ends with 0 when nothing failed.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["components.convert_labels", "defusedxml", "ijson"]):
    from components.convert_labels.formats.class_lists import parse_label_colours, parse_label_map
    from components.convert_labels.formats.detection import open_export
    from components.convert_labels.masks.painting import paint
    from components.convert_labels.raw_labels import ShapesLabel
    from components.convert_labels.run_lengths import runs_of_counts, unpack_counts
    from components.convert_labels.source.listing import open_source
from segmentor.errors import SegmentorError

SIZE = (12, 17)
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
META = b"<meta><task><labels><label><name>car</name></label></labels></task></meta>"
# One valid input each: mutations of it reach deeper than noise.
XML = b"""<image id="0" name="a.png" width="17" height="12">
<polygon label="car" points="1.00,1.00;9.50,2.00;5,11" z_order="1" group_id="2"/>
<box label="car" xtl="1" ytl="1" xbr="5" ybr="5" rotation="30"/>
<ellipse label="car" cx="5" cy="5" rx="3" ry="2"/>
<mask label="car" rle="1, 2, 1" left="1" top="1" width="2" height="2"/></image>"""
TRACK = b"""<track id="0" label="car"><box frame="0" outside="0" keyframe="1" xtl="1" ytl="1"
xbr="5" ybr="5"/><box frame="1" outside="1" xtl="1" ytl="1" xbr="5" ybr="5"/></track>"""
COCO = b"""{"images": [{"id": 1, "file_name": "a.png", "height": 12, "width": 17}],
"categories": [{"id": 1, "name": "car"}], "annotations": [{"image_id": 1, "category_id": 1,
"segmentation": [[1, 1, 9, 2, 5, 11]], "bbox": [1, 1, 8, 9], "iscrowd": 0}, {"image_id": 1,
"category_id": 1, "segmentation": {"size": [12, 17], "counts": "R14:"}}]}"""
DATUMARO = b"""{"categories": {"label": {"labels": [{"name": "car", "parent": ""}]}}, "items":
[{"id": "a", "annotations": [{"type": "polygon", "label_id": 0, "points": [1, 1, 9, 2, 5, 11],
"z_order": 0, "group": 0}], "image": {"path": "a.png", "size": [12, 17]}}]}"""


def export_of(name: str, content: bytes) -> None:
    """Read an export of one annotation file, and paint its shapes."""
    path = FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    export, _ = open_export(open_source(FOLDER, "export"))
    targets = {label.name: 1 for label in export.classes}
    for item in export.items():
        if isinstance(item.label, ShapesLabel):
            paint(item.label, SIZE, targets, 0)


def xml(content: bytes) -> None:
    export_of("annotations.xml", b"<annotations>" + META + content + b"</annotations>")


def whole_xml(content: bytes) -> None:
    export_of("annotations.xml", content)


def coco(content: bytes) -> None:
    export_of("annotations/instances_a.json", content)


def datumaro(content: bytes) -> None:
    export_of("annotations/a.json", content)


def label_maps(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    for parse in (lambda: parse_label_map(text, "labelmap.txt"), lambda: parse_label_colours(text)):
        with contextlib.suppress(SegmentorError):
            parse()


def run_lengths(content: bytes) -> None:
    starts, lengths = runs_of_counts(unpack_counts(content, "rle"), SIZE[0] * SIZE[1], "rle")
    assert (starts >= 0).all()
    assert (starts + lengths <= SIZE[0] * SIZE[1]).all()


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "xml": (xml, [XML, TRACK]),
    "whole_xml": (whole_xml, [b"<annotations>" + META + XML + b"</annotations>"]),
    "coco": (coco, [COCO]),
    "datumaro": (datumaro, [DATUMARO]),
    "label_maps": (label_maps, [b"# label:color_rgb\ncar:1,2,3::\n", b"1 2 3 car\n"]),
    "run_lengths": (run_lengths, [b"R14:", b"\\3"]),
}


def main() -> None:
    work, seeds = TARGETS[sys.argv.pop(1)]
    corpus = FOLDER.with_name(f"{FOLDER.name}-corpus")
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def once(content: bytes) -> None:
        with contextlib.suppress(SegmentorError):
            work(content)

    files = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    atheris.Setup([*sys.argv, *([] if files else [str(corpus)])], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
