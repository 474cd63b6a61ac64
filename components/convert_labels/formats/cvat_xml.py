"""What CVAT's two XML formats share: finding the file, streaming it, labels, and shapes."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse
from numpy.typing import NDArray

from components.convert_labels.raw_labels import Shape
from components.convert_labels.run_lengths import REDRAW
from components.convert_labels.source.files import SourceFile, SourceFiles
from segmentor.errors import DataError, MaskError
from segmentor.label_map import Colour, LabelClass, voc_palette

# Shapes that become pixels; the others are counted and reported.
PAINTED = ("polygon", "box", "ellipse", "mask")
NOT_PAINTED = ("polyline", "points", "cuboid", "tag", "skeleton")
_NUMBERS = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}
_MASK_BOX = ("left", "top", "width", "height")
_WITHOUT_NUMBERS = str.maketrans("", "", "0123456789.-+eE ")
# Looked at to tell an annotations file from any other XML.
_HEAD_BYTES = 4096

Record = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Meta:
    """What stands in front of the annotations: labels, and single facts of each task or job.

    A task's facts are the texts of its elements by their name; `height` and `width` are those of
    its <original_size>, which CVAT writes of a film.
    """

    classes: tuple[LabelClass, ...] = ()
    tasks: tuple[Mapping[str, str], ...] = ()


def task_names(meta: Meta) -> dict[str, str]:
    """Return what to call each task: two may have one name."""
    return {
        facts["id"]: f"{facts['name']} (task {facts['id']})"
        for facts in meta.tasks
        if "id" in facts and "name" in facts
    }


def annotation_file(files: SourceFiles) -> SourceFile | None:
    """Return the one XML at the top whose root is <annotations>, or None.

    Raises:
        DataError: there are several.
    """
    found = [
        files[name]
        for name in sorted(name for name in files if "/" not in name)
        if name.lower().endswith(".xml") and _is_annotations(files[name])
    ]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        remedy = "export the project as a whole, which gives one file, or convert one at a time"
        raise DataError(files.where, f"several annotation files: {names}", "one", remedy)
    return found[0] if found else None


def elements(file: SourceFile, names: tuple[str, ...]) -> Iterator[ElementTree.Element]:
    """Stream the elements of these names below the root; each is emptied when the next is asked.

    Raises:
        DataError: no well-formed XML, or one with a document type (entities are never expanded).
    """
    root = None
    for event, element in _events(file):
        if root is None:
            root = element
        elif event == "end" and element.tag in names:
            yield element
            root.clear()


def first_tag(file: SourceFile, names: tuple[str, ...]) -> str:
    """Return the name of the first element of these names, or ""; it is not read whole.

    Raises:
        DataError: no well-formed XML up to there.
    """
    for event, element in _events(file):
        if event == "start" and element.tag in names:
            return str(element.tag)
    return ""


def track_shapes(file: SourceFile) -> Iterator[tuple[Mapping[str, str], ElementTree.Element]]:
    """Stream the shapes of every <track>, each with the attributes of its track.

    A track has a shape for each frame: so it is not held whole.

    Raises:
        DataError: no well-formed XML.
    """
    ancestors: list[ElementTree.Element] = []
    for event, element in _events(file):
        if event == "start":
            ancestors.append(element)
            continue
        ancestors.pop()
        if len(ancestors) == 2 and ancestors[1].tag == "track":
            yield ancestors[1].attrib, element
        if 1 <= len(ancestors) <= 2:
            del ancestors[-1][:]


def _events(file: SourceFile) -> Iterator[tuple[str, ElementTree.Element]]:
    try:
        with file.open() as stream:
            yield from iterparse(stream, ("start", "end"), forbid_dtd=True)
    except DefusedXmlException as error:
        raise DataError(
            file.name, "a document type or entities", "plain XML as CVAT writes it"
        ) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        # An unknown encoding raises one of the last two.
        raise DataError(
            file.name, f"broken XML ({error})", "a complete file", "export it again"
        ) from error


def parse_meta(element: ElementTree.Element) -> Meta:
    """Read <meta>: the labels with their colours, and single facts of the tasks.

    Raises:
        DataError: a label without a name.
    """
    classes: dict[str, LabelClass] = {}
    for label in element.iter("label"):
        name = (label.findtext("name") or "").strip()
        # The parts of a skeleton are labels too, but nothing is painted with them.
        if not name or label.findtext("parent"):
            continue
        colour = _colour(label.findtext("color") or "", len(classes) + 1)
        classes.setdefault(name, LabelClass(name, colour))
    if not classes:
        raise DataError("annotations.xml: meta", "no labels", "the labels of the task")
    tasks = [*element.iter("task")] or [*element.iter("job")]
    # The size of a job's film is beside <job>, that of a task's film inside <task>.
    size = element.findall("original_size/*")
    return Meta(tuple(classes.values()), tuple(_facts(task, size) for task in tasks))


def _facts(task: ElementTree.Element, size: list[ElementTree.Element]) -> dict[str, str]:
    found = [*task, *(task.findall("original_size/*") or size)]
    return {child.tag: child.text.strip() for child in found if child.text and child.text.strip()}


def parse_shape(record: Record, where: str) -> tuple[Shape, ...]:
    """Turn an element's name and attributes into a shape.

    Raises:
        MaskError: an attribute that is missing or no number.
    """
    kind, attributes = record
    where = f"{where} ({kind} '{attributes.get('label', '')}')"
    try:
        return (
            Shape(
                kind,
                attributes["label"],
                _values(kind, attributes),
                int(attributes.get("z_order") or 0),
                attributes.get("group_id", ""),
                float(attributes.get("rotation") or 0),
            ),
        )
    except KeyError as error:
        expected = f"a {kind} as CVAT writes it"
        raise MaskError(where, f"a {kind} without {error}", expected, REDRAW) from None
    except (ValueError, OverflowError) as error:
        found = f"a {kind} that cannot be read ({error})"
        raise MaskError(where, found, "numbers", REDRAW) from error


def _values(kind: str, attributes: Mapping[str, str]) -> NDArray[np.float64]:
    if kind == "polygon":
        points = attributes["points"]
        numbers = points.replace(";", ",").split(",")
        # What is left without the numbers is the order of commas and semicolons.
        if points.translate(_WITHOUT_NUMBERS) != ",;" * (len(numbers) // 2 - 1) + ",":
            for pair in points.split(";"):
                if pair.count(",") != 1:
                    raise ValueError(f"point '{pair[:40]}'")
        return np.array(list(map(float, numbers)), np.float64)
    if kind == "mask":
        box = [int(float(attributes[name])) for name in _MASK_BOX]
        runs = list(map(int, attributes["rle"].split(","))) if attributes["rle"] else []
        return np.array(box + runs, np.float64)
    return np.array([float(attributes[name]) for name in _NUMBERS[kind]], np.float64)


def _colour(text: str, position: int) -> Colour:
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text.strip()):
        red, green, blue = bytes.fromhex(text.strip()[1:])
    else:
        red, green, blue = (int(value) for value in voc_palette()[position % 256])
    return red, green, blue


def _is_annotations(file: SourceFile) -> bool:
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES)
    # The first element, after declaration, comments and, on hostile files, a document type.
    # UTF-16 has a zero beside each of these letters.
    return re.search(rb"<annotations[\s>/]", head.replace(b"\0", b"")) is not None
