"""Raw labels as an export holds them, the same for every format: classes, items and shapes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.convert_labels.source.files import SourceFile, SourceFiles
from segmentor.label_map import LabelClass

# What fills pixels that nothing else covers: CVAT adds this label to every mask export.
UNLABELLED = "background"
# The label, and the target of --classes, of pixels without ground truth.
IGNORE = "ignore"
# What other tools call the two: labelme and its converters.
_OTHER_NAMES = {"_background_": UNLABELLED, "__background__": UNLABELLED, "__ignore__": IGNORE}
# The colour of such pixels, where the export gives that label none.
BLACK = (0, 0, 0)


def class_name(name: str) -> str:
    """Return what we call a label: labelme's `_background_` is `background`."""
    return _OTHER_NAMES.get(name, name)


@dataclass(frozen=True)
class ColourLabel:
    """A colour mask: its colours are those of the export's classes."""

    file: SourceFile


@dataclass(frozen=True)
class IndexLabel:
    """An index mask: one channel, whose values are indices of the export's class list.

    `is_binary`: the export has no class list; 0 is background, 1 or 255 the one class.
    """

    file: SourceFile
    is_binary: bool = False


@dataclass(frozen=True)
class Shape:
    """One shape: what it covers, its label, and what decides which shape is on top.

    kind        values
    polygon     x, y, x, y, ...
    box         x1, y1, x2, y2; `rotation` in degrees, clockwise about its centre
    ellipse     cx, cy, rx, ry; `rotation` likewise
    mask        left, top, width, height, then run lengths by rows, zeros first
    rle         height, width, then run lengths by columns of the whole image, zeros first

    `stated_box` is the bounding box (x1, y1, x2, y2) that the export gives beside run lengths.
    """

    kind: str
    label: str
    values: NDArray[np.float64]
    z_order: int = 0
    group: str = ""
    rotation: float = 0.0
    stated_box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class ShapesLabel:
    """The shapes of one image in document order, as the format wrote them.

    `parse` turns a record into shapes; it runs in a worker because it is most of the work of
    reading. `size` is the (height, width) that the export states. `is_relative`: polygons and
    boxes are given in fractions of the image's width and height.
    """

    records: tuple[Any, ...]
    parse: Callable[[Any, str], tuple[Shape, ...]]
    size: tuple[int, int] | None
    where: str
    is_relative: bool = False

    def shapes(self, size: tuple[int, int] = (1, 1)) -> tuple[Shape, ...]:
        """Parse the records; `size` is the image's (height, width), for relative coordinates.

        Raises:
            MaskError: a record is not a valid shape.
        """
        parsed = (
            self.parse(record, f"{self.where}, shape {number}")
            for number, record in enumerate(self.records, 1)
        )
        shapes = tuple(shape for shapes in parsed for shape in shapes)
        if not self.is_relative:
            return shapes
        scale = np.array(size[::-1], np.float64)
        return tuple(
            replace(shape, values=(shape.values.reshape(-1, 2) * scale).ravel()) for shape in shapes
        )


RawLabel = ColourLabel | IndexLabel | ShapesLabel


@dataclass(frozen=True)
class Item:
    """One image of an export and its raw label; None when it has none.

    `name` has no extension; `image_name` is the image's file name when the export states it, and
    else "": any extension will do then.
    """

    name: str
    label: RawLabel | None
    subset: str = ""
    task: str = ""
    image_name: str = ""

    @property
    def place(self) -> str:
        """What problems call it: the name an annotator knows."""
        if isinstance(self.label, ShapesLabel):
            return self.label.where
        return f"{self.subset}/{self.name}" if self.subset else self.name


@dataclass(frozen=True)
class Finding:
    """Something about a sample that an annotator should look at; it does not stop the step."""

    kind: str
    text: str


# How many images are named of those that something was left out of.
SOME_NAMES = 10


@dataclass
class Notes:
    """What a reader saw and did not turn into pixels: for the report."""

    counts: dict[str, int] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)

    def count(self, what: str, image: str = "") -> None:
        """Count one occurrence, and keep the names of the first images that have it."""
        self.counts[what] = self.counts.get(what, 0) + 1
        names = self.images.setdefault(what, [])
        if image and image not in names and len(names) <= SOME_NAMES:
            names.append(image)

    def clear(self) -> None:
        """Forget what was counted, before the items are read again."""
        self.counts.clear()
        self.images.clear()


@dataclass(frozen=True)
class Export:
    """An export of a known format, opened.

    Attributes:
        format: Its name, for people.
        classes: What the export declares, in its own order; `background` among them or not.
        is_ordered: The order is part of the labels (index masks), so it is kept.
        is_complete: Every pixel of a mask is one of `classes`: there are no unlabelled pixels.
        is_by_colour: Its masks are of colours, which tell labels apart.
        index_values: The value of each class in index masks; empty when it is its position.
        items: Yields the items, one in memory at a time; it may be called again.
        subsets: The subsets there are, sorted; names may repeat between them.
        tasks: The tasks there are, sorted.
        task_names: What to call a task, where the export says more than its number.
        count: How many items there are; 0 when unknown.
        image_folders: Where images lie in the export, best first; "" is the top.
        remarks: What a user should know about how it is read, a sentence each.
        notes: Filled while `items` runs.
    """

    format: str
    classes: tuple[LabelClass, ...]
    items: Callable[[], Iterator[Item]]
    image_folders: tuple[str, ...]
    subsets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    task_names: Mapping[str, str] = field(default_factory=dict)
    count: int = 0
    is_ordered: bool = False
    is_complete: bool = False
    is_by_colour: bool = False
    index_values: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True)
class Format:
    """A label format: its entry in the table of formats.

    Attributes:
        name: What people call it.
        marks: What it is recognised by, as messages and docs/labels.md say it.
        recognises: Says whether files are an export of this format.
        read: Opens the export; the second argument are the files of `--images`, if given.
    """

    name: str
    marks: str
    recognises: Callable[[SourceFiles], bool]
    read: Callable[[SourceFiles, SourceFiles | None], Export]
