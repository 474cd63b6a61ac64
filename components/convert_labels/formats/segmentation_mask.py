"""CVAT's "Segmentation mask 1.1": labelmap.txt, SegmentationClass/*.png, ImageSets, JPEGImages."""

from collections.abc import Iterator, Mapping, Sequence

from components.convert_labels.exports import BLACK, UNLABELLED, ColourLabel, Export, Item, Notes
from components.convert_labels.image_finder import by_letters, same_letters, stem
from components.convert_labels.source_files import SourceFiles
from segmentor.errors import DataError, LabelMapError
from segmentor.label_map import Colour, LabelClass

LABEL_MAP = "labelmap.txt"
_MASKS = "SegmentationClass"
_OBJECTS = "SegmentationObject"
_IMAGES = "JPEGImages"
_LISTS = "ImageSets/Segmentation"
_BOXES = "Annotations"


def recognises(files: SourceFiles) -> bool:
    """True when there is a labelmap.txt, and colour masks or lists of images."""
    return LABEL_MAP in files and bool(files.below(_MASKS) or files.below(_LISTS))


def read(files: SourceFiles) -> Export:
    """Opens the export.

    Raises:
        LabelMapError: labelmap.txt cannot be read.
        DataError: a list is no text.
    """
    notes = Notes()
    masks = {stem(name[len(_MASKS) + 1 :]): name for name in files.below(_MASKS)}
    lists = _lists(files, masks)

    def items() -> Iterator[Item]:
        for subset, names in lists:
            for name in names:
                mask = masks.get(name)
                yield Item(name, ColourLabel(files[mask]) if mask else None, subset)

    if not masks and files.below(_BOXES):
        raise DataError(
            files.where,
            f"Pascal VOC 1.1 ({_BOXES}/), which has boxes and no masks",
            "Segmentation mask 1.1",
            "export as CVAT for images 1.1",
        )
    listed = _listed_once(lists, f"{files.where}: {_LISTS}")
    lost = sorted(set(masks) - listed)
    if lost:
        raise DataError(
            f"{files.where}: {_LISTS}",
            f"{len(lost)} masks that no list names, first {lost[0]}",
            "every mask in a list",
        )
    absent = sorted(
        {stem(name[len(_OBJECTS) + 1 :]) for name in files.below(_OBJECTS)} - set(masks)
    )
    if absent:
        raise DataError(
            f"{files.where}: {_MASKS}",
            f"{len(absent)} masks less than in {_OBJECTS}, first {absent[0]}",
            "a mask in each",
            "copy the whole export again",
        )
    classes = parse_label_map(files[LABEL_MAP].read_text(), LABEL_MAP)
    return Export(
        format="Segmentation mask 1.1",
        classes=classes,
        items=items,
        image_folders=(_IMAGES, "images", ""),
        subsets=tuple(subset for subset, _ in lists),
        count=sum(len(names) for _, names in lists),
        is_by_colour=True,
        remarks=black_labels(classes),
        notes=notes,
    )


def _listed_once(lists: list[tuple[str, list[str]]], where: str) -> set[str]:
    """Returns the names of all lists; CVAT keeps one image and one mask of a name."""
    subset_of: dict[str, str] = {}
    twice = []
    for subset, names in lists:
        for name in names:
            other = subset_of.setdefault(name, subset)
            if other != subset:
                twice.append(f"'{name}' ({other} and {subset})")
    if twice:
        raise DataError(
            where,
            f"names in several lists: {', '.join(twice[:3])}{', ...' if len(twice) > 3 else ''}",
            "each name in one, as the export has one image and one mask of a name",
            "export as CVAT for images 1.1, or task by task; take lists out that repeat others",
        )
    return set(subset_of)


def black_labels(classes: Sequence[LabelClass]) -> tuple[str, ...]:
    """Says which label takes the unlabelled pixels of colour masks, where one has their colour.

    Source: CVAT, dataset_manager/formats/utils.py, find_background_label: black goes before names.
    """
    return tuple(
        f"Label '{label.name}' is black, and so are pixels without a label: they are taken for it. "
        "Where that matters, export as CVAT for images 1.1, or give the label another colour."
        for label in classes
        if label.colour == BLACK and label.name != UNLABELLED
    )


def parse_label_map(text: str, where: str) -> tuple[LabelClass, ...]:
    """Parses `name:r,g,b:parts:actions` lines; a name may hold ':' and '#'.

    Raises:
        LabelMapError: a line that is none, or a name twice.
    """
    classes: dict[str, LabelClass] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        # CVAT's first line is a comment; a label may start with '#' nevertheless.
        if not raw.strip() or (raw.startswith("#") and "color_rgb" in raw):
            continue
        # From the right: the name is whatever stands before the last three fields.
        fields = raw.strip("\r\n").rsplit(":", 3)
        colour = parse_colour(fields[1].split(",")) if len(fields) == 4 else None
        if colour is None and raw.startswith("#"):
            continue
        if colour is None or not fields[0].strip():
            raise LabelMapError(f"{where}, line {number}", f"'{raw.strip()}'", "name:r,g,b::")
        if fields[0] in classes:
            raise LabelMapError(f"{where}, line {number}", f"'{fields[0]}' twice", "unique names")
        classes[fields[0]] = LabelClass(fields[0], colour)
    if not classes:
        raise LabelMapError(where, "no label", "lines of name:r,g,b::")
    return tuple(classes.values())


def parse_colour(parts: list[str]) -> Colour | None:
    """Returns three values of 0..255, or None."""
    values = [int(part) for part in map(str.strip, parts) if part.isascii() and part.isdigit()]
    if len(parts) != 3 or len(values) != 3 or max(values) > 255:
        return None
    return values[0], values[1], values[2]


def _lists(files: SourceFiles, masks: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Returns each subset and its names; an export without lists has one subset of all masks."""
    lists = []
    images = (stem(name[len(_IMAGES) + 1 :]) for name in files.below(_IMAGES))
    letters = by_letters([*images, *masks])
    for path in files.below(_LISTS):
        if not path.endswith(".txt"):
            continue
        names = [line for line in files[path].read_text().splitlines() if line.strip()]
        # CVAT writes plain names; other tools of this layout may add the extension, or a quote.
        lists.append((path[len(_LISTS) + 1 : -4], [_plain(name, letters) for name in names]))
    return lists or [("", sorted(masks))]


def _plain(name: str, known: Mapping[str, str]) -> str:
    """Returns a name as its mask or image has it, which may be written otherwise."""
    plain = name.strip()
    if len(plain) > 1 and plain[0] == plain[-1] == '"':
        plain = plain[1:-1]
    for spelling in (name, plain):
        if same_letters(spelling) in known:
            return known[same_letters(spelling)]
    return stem(plain)
