"""CVAT for video 1.1: annotations.xml with a <track> for each object, a shape for each frame."""

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element

from components.convert_labels.formats.annotations_by_image import AnnotationsByImage
from components.convert_labels.formats.cvat_xml import (
    NOT_PAINTED,
    PAINTED,
    Meta,
    annotation_file,
    elements,
    parse_meta,
    parse_shape,
    task_names,
    track_shapes,
)
from components.convert_labels.formats.video_frames import Film, films
from components.convert_labels.raw_labels import Export, Format, Item, Notes, Shape, ShapesLabel
from components.convert_labels.source.files import SourceFile, SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.errors import DataError

# Frame numbers are smaller, so a film's number times this plus the frame is a unique key.
_FRAMES = 1 << 32


def recognises(files: SourceFiles) -> bool:
    """Return True when there are annotations; those of images are recognised before."""
    return annotation_file(files) is not None


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export; images are in it, or `elsewhere`: which there are says which frames are.

    CVAT writes each visible frame of a track, interpolated ones too; `outside` ends visibility.

    Raises:
        DataError: the XML cannot be read, a frame is no number, or it cannot be decided which
            image is which frame.
    """
    file = annotation_file(files)
    assert file is not None  # `recognises` has seen it
    meta = _meta(file)
    labelled = defaultdict(set)
    for track, shape in track_shapes(file):
        if _is_painted(shape):
            labelled[_task_and_subset(track)].add(_frame(shape, file.name))
    places = [files, *([elsewhere.without_wrapper()] if elsewhere else [])]
    found = films(places, meta, labelled, file.name)
    notes = Notes()

    def items() -> Iterator[Item]:
        notes.clear()
        by_position = sum(len(film.images) for film in found if film.by_position)
        if by_position:
            notes.counts["frames matched to images by the order of their names"] = by_position
        with AnnotationsByImage() as kept:
            _keep_shapes(kept, file, found, notes)
            for number, film in enumerate(found):
                for frame in film.frames():
                    yield _item(film, frame, kept.of(number * _FRAMES + frame))

    return Export(
        format="CVAT for video 1.1",
        classes=meta.classes,
        items=items,
        image_folders=("images", ""),
        subsets=tuple(sorted({film.subset for film in found})),
        tasks=tuple(sorted({film.task for film in found})),
        task_names=task_names(meta),
        count=sum(len(film.frames()) for film in found),
        notes=notes,
    )


def parse_line(line: bytes, where: str) -> tuple[Shape, ...]:
    """Turn what was kept of a shape into a shape.

    Raises:
        MaskError: an attribute that is missing or no number.
    """
    kind, attributes = json.loads(line)
    return parse_shape((kind, attributes), where)


def _meta(file: SourceFile) -> Meta:
    for element in elements(file, ("meta", "track")):
        if element.tag == "meta":
            return parse_meta(element)
    raise DataError(file.name, "no meta with labels", "what CVAT exports")


def _keep_shapes(
    kept: AnnotationsByImage, file: SourceFile, found: tuple[Film, ...], notes: Notes
) -> None:
    # A single film has the shapes of every track.
    number_of = {film.task: number for number, film in enumerate(found)}
    gaps = _Gaps([film.frames() for film in found])
    for track, shape in track_shapes(file):
        if shape.tag in NOT_PAINTED:
            place = f"frame {shape.get('frame', '')}"
            notes.count(f"{shape.tag} annotations (no area: not painted)", place)
        number = number_of[_task_and_subset(track)[0]]
        for frame in gaps.before(track, shape, number, file.name):
            notes.count("frames between keyframes, missing in the XML (not painted)", frame)
        if not _is_painted(shape):
            continue
        attributes = {**shape.attrib, "label": track.get("label", "")}
        if track.get("group_id"):
            attributes.setdefault("group_id", track["group_id"])
        kept.add(number * _FRAMES + _frame(shape, file.name), (shape.tag, attributes))
    kept.sort()


class _Gaps:
    """Find frames that a track skips while it is visible: CVAT writes those, other tools do not.

    `frames` are those of each film, sorted.
    """

    def __init__(self, frames: Sequence[Sequence[int]]) -> None:
        self._frames = frames
        self._track: Mapping[str, str] | None = None
        self._last = _FRAMES

    def before(
        self, track: Mapping[str, str], shape: Element, film: int, where: str
    ) -> Iterator[str]:
        """Yield the names of the frames skipped before the next shape of a track."""
        frame = _frame(shape, where)
        if track is self._track:
            frames = self._frames[film]
            skipped = slice(bisect_right(frames, self._last), bisect_left(frames, frame))
            yield from (f"frame {number}" for number in frames[skipped])
        self._track = track
        self._last = frame if _is_painted(shape) else _FRAMES


def _item(film: Film, frame: int, records: tuple[bytes, ...]) -> Item:
    image_name = film.images.get(frame, "")
    name = stem(image_name) if image_name else f"frame_{frame:06d}"
    where = f"{film.subset}/{name}" if film.subset else name
    label = ShapesLabel(records, parse_line, film.size, where)
    return Item(name, label, film.subset, film.task, image_name)


def _is_painted(shape: Element) -> bool:
    return shape.tag in PAINTED and shape.get("outside") != "1"


def _task_and_subset(track: Mapping[str, str]) -> tuple[str, str]:
    return track.get("task_id", ""), track.get("subset", "")


def _frame(shape: Element, where: str) -> int:
    text = shape.get("frame", "")
    if not text.isdecimal() or int(text) >= _FRAMES:
        raise DataError(where, f"frame '{text[:20]}'", "a frame number")
    return int(text)


FORMAT = Format("CVAT for video 1.1", "`annotations.xml` with `<track>`", recognises, read)
