"""CVAT for video 1.1: annotations.xml with a <track> for each object, a shape for each frame."""

from collections.abc import Iterator

from components.convert_labels.exports import Export, Item, Notes, ShapesLabel
from components.convert_labels.formats.cvat_xml import (
    NOT_PAINTED,
    PAINTED,
    Meta,
    Record,
    annotation_file,
    elements,
    parse_meta,
    parse_shape,
)
from components.convert_labels.image_finder import stem
from components.convert_labels.source_files import SourceFiles
from segmentor.errors import DataError
from segmentor.image_io import EXTENSIONS


def recognises(files: SourceFiles) -> bool:
    """True when there are annotations; those of images are recognised before."""
    return annotation_file(files) is not None


def read(files: SourceFiles) -> Export:
    """Opens the export.

    CVAT writes each visible frame of a track, interpolated ones too; `outside` ends visibility.

    Raises:
        DataError: the XML cannot be read, or a frame is no number.
    """
    file = annotation_file(files)
    assert file is not None  # `recognises` has seen it
    notes = Notes()
    meta = Meta()
    frames: dict[int, list[Record]] = {}
    for element in elements(file, ("meta", "track")):
        if element.tag == "meta":
            meta = parse_meta(element)
            continue
        for child in element:
            if child.tag in NOT_PAINTED:
                notes.count(f"{child.tag} annotations (no area: not painted)")
            if child.tag not in PAINTED or child.get("outside") == "1":
                continue
            attributes = {**child.attrib, "label": element.get("label", "")}
            if element.get("group_id"):
                attributes.setdefault("group_id", element.get("group_id", ""))
            frame = _number(child.get("frame", ""), file.name)
            frames.setdefault(frame, []).append((child.tag, attributes))
    if not meta.classes:
        raise DataError(file.name, "no meta with labels", "what CVAT exports")
    size = _original_size(meta)
    names = _frame_names(files, meta, sorted(frames))

    def items() -> Iterator[Item]:
        for frame in sorted({*frames, *names}):
            image_name = names.get(frame, "")
            name = stem(image_name) if image_name else f"frame_{frame:06d}"
            records = tuple(frames.get(frame, ()))
            yield Item(name, ShapesLabel(records, parse_shape, size, name), image_name=image_name)

    return Export(
        format="CVAT for video 1.1",
        classes=meta.classes,
        items=items,
        image_folders=("images", ""),
        count=len({*frames, *names}),
        notes=notes,
    )


def _frame_names(files: SourceFiles, meta: Meta, labelled: list[int]) -> dict[int, str]:
    """Returns the image of each frame: by its number, else by its position among all images."""
    images = sorted(
        name.removeprefix("images/") for name in files if name.lower().endswith(EXTENSIONS)
    )
    numbered = {}
    for name in images:
        digits = stem(name).rpartition("frame_")[2]
        if "frame_" in name and digits.isdecimal():
            numbered[int(digits)] = name
    if numbered or not images:
        return numbered
    start = int(meta.facts.get("start_frame", "0"))
    step = int(meta.facts.get("frame_filter", "step=1").rpartition("=")[2] or 1)
    if labelled and labelled[-1] >= start + len(images) * step:
        raise DataError(
            files.where,
            f"frame {labelled[-1]} labelled, but {len(images)} images",
            "an image for each frame, in order or called frame_000000",
        )
    return {start + position * step: name for position, name in enumerate(images)}


def _original_size(meta: Meta) -> tuple[int, int] | None:
    height, width = meta.facts.get("height", ""), meta.facts.get("width", "")
    return (int(height), int(width)) if height.isdecimal() and width.isdecimal() else None


def _number(text: str, where: str) -> int:
    if not text.isdecimal():
        raise DataError(where, f"frame '{text[:20]}'", "a frame number")
    return int(text)
