"""CVAT's "Segmentation mask 1.1": labelmap.txt, SegmentationClass/*.png, ImageSets, JPEGImages."""

from collections.abc import Iterator, Mapping

from components.convert_labels.formats.class_lists import LABEL_MAP, black_labels, parse_label_map
from components.convert_labels.raw_labels import ColourLabel, Export, Format, Item, Notes
from components.convert_labels.source.files import SourceFiles
from components.convert_labels.source.image_finder import by_letters, same_letters, stem
from segmentor.errors import DataError
from segmentor.plurals import counted

_MASKS = "SegmentationClass"
_OBJECTS = "SegmentationObject"
_IMAGES = "JPEGImages"
_LISTS = "ImageSets/Segmentation"
_BOXES = "Annotations"


def recognises(files: SourceFiles) -> bool:
    """Return True when there is a labelmap.txt, and colour masks or lists of images."""
    return LABEL_MAP in files and bool(files.below(_MASKS) or files.below(_LISTS))


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

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
            f"{counted(len(lost), 'mask')} that no list names, first {lost[0]}",
            "every mask in a list",
        )
    absent = sorted(
        {stem(name[len(_OBJECTS) + 1 :]) for name in files.below(_OBJECTS)} - set(masks)
    )
    if absent:
        raise DataError(
            f"{files.where}: {_MASKS}",
            f"{counted(len(absent), 'mask')} fewer than in {_OBJECTS}, first {absent[0]}",
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
        remarks=(*black_labels(classes), *_boxes_left_out(files)),
        notes=notes,
    )


def _boxes_left_out(files: SourceFiles) -> tuple[str, ...]:
    """Say that PASCAL VOC 1.1 has masks of brush strokes alone: polygons became boxes."""
    if not files.below(_BOXES):
        return ()
    return (
        f"PASCAL VOC 1.1 keeps polygons as boxes ({_BOXES}/), which are not read: only brush masks "
        "are. If the task has polygons, export it as CVAT for images 1.1.",
    )


def _listed_once(lists: list[tuple[str, list[str]]], where: str) -> set[str]:
    """Return the names of all lists; CVAT keeps one image and one mask of a name."""
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


def _lists(files: SourceFiles, masks: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Return each subset and its names; an export without lists has one subset of all masks."""
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
    """Return a name as its mask or image has it, which may be written otherwise."""
    plain = name.strip()
    if len(plain) > 1 and plain[0] == plain[-1] == '"':
        plain = plain[1:-1]
    for spelling in (name, plain):
        if same_letters(spelling) in known:
            return known[same_letters(spelling)]
    return stem(plain)


FORMAT = Format("Segmentation mask 1.1", "`labelmap.txt`", recognises, read)
