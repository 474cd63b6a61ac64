"""Folders of images with folders of masks beside them: `train/` and `trainannot/`, and the like.

That is the layout of SegNet's CamVid (index masks), of CVAT's "CamVid 1.0" (colour masks with a
label_colors.txt), and of `images/` with `masks/`. Index masks take their names from classes.txt;
without one they must be binary: 0, and 1 or 255.
"""

from collections.abc import Iterator

from components.convert_labels.exports import ColourLabel, Export, IndexLabel, Item
from components.convert_labels.formats.segmentation_mask import (
    LABEL_MAP,
    black_labels,
    parse_colour,
    parse_label_map,
)
from components.convert_labels.image_finder import by_letters, same_letters, stem
from components.convert_labels.source_files import SourceFiles
from segmentor.errors import DataError, LabelMapError
from segmentor.image_io import EXTENSIONS
from segmentor.label_map import LabelClass, LabelMap, voc_palette

LABEL_COLOURS = "label_colors.txt"
CLASS_LIST = "classes.txt"
# The one class of binary masks without a class list.
FOREGROUND = "foreground"
_SUFFIX = "annot"
_NAMED_PAIRS = tuple(
    (images, masks)
    for images in ("images", "imgs", "image", "JPEGImages")
    for masks in ("masks", "mask", "labels", "annotations", "SegmentationClass")
)


def recognises(files: SourceFiles) -> bool:
    """True when folders of masks stand beside folders of images."""
    return bool(_pairs(files))


def read(files: SourceFiles) -> Export:
    """Opens the export.

    Raises:
        LabelMapError: the class list cannot be read.
        DataError: a mask that a list of images names is not there.
    """
    pairs = _pairs(files)
    for subset, _, mask_folder in pairs:
        _refuse_lost_masks(files, subset, mask_folder)
    by_colour = _colours(files)
    is_binary = by_colour is None and CLASS_LIST not in files
    subsets = tuple(sorted(subset for subset, _, _ in pairs))

    def items() -> Iterator[Item]:
        for subset, image_folder, mask_folder in pairs:
            masks = _stems(files, mask_folder)
            images = _stems(files, image_folder)
            letters = by_letters(masks.keys() | images.keys())
            listed = {letters.get(same_letters(name), name) for name in _listed(files, subset)}
            for name in sorted(masks.keys() | images.keys() | listed):
                label = None
                if name in masks:
                    file = files[masks[name]]
                    label = IndexLabel(file, is_binary) if by_colour is None else ColourLabel(file)
                yield Item(name, label, subset)

    if by_colour is not None:
        classes, kind = by_colour, "CamVid 1.0" if LABEL_COLOURS in files else "colour masks"
    elif is_binary:
        classes, kind = _binary_classes(), "folders with binary masks"
    else:
        classes, kind = read_class_list(files), "folders with index masks"
    return Export(
        format=kind,
        classes=classes,
        items=items,
        image_folders=tuple(dict.fromkeys(["", *(image for _, image, _ in pairs if image)])),
        subsets=subsets,
        count=sum(
            len(_stems(files, image).keys() | _stems(files, mask).keys())
            for _, image, mask in pairs
        ),
        is_ordered=by_colour is None,
        is_complete=by_colour is None,
        is_by_colour=by_colour is not None,
        remarks=() if by_colour is None else black_labels(classes),
    )


def parse_label_colours(text: str) -> tuple[LabelClass, ...]:
    """Parses `r g b name` lines; a name may hold spaces.

    Raises:
        LabelMapError: a line that is none.
    """
    classes: dict[str, LabelClass] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(maxsplit=3)
        colour = parse_colour(fields[:3])
        if colour is None or len(fields) != 4 or fields[3].strip() in classes:
            where = f"{LABEL_COLOURS}, line {number}"
            raise LabelMapError(where, f"'{line.strip()}'", "r g b name, each name once")
        classes[fields[3].strip()] = LabelClass(fields[3].strip(), colour)
    return tuple(classes.values())


def read_class_list(files: SourceFiles) -> tuple[LabelClass, ...]:
    """Reads classes.txt: the name of each index, one a line.

    Raises:
        LabelMapError: no names, or one twice.
    """
    names = [line.strip() for line in files[CLASS_LIST].read_text().splitlines() if line.strip()]
    try:
        return LabelMap.of(names).classes
    except LabelMapError as error:
        raise LabelMapError(CLASS_LIST, error.found, error.expected) from error


def _binary_classes() -> tuple[LabelClass, ...]:
    red, green, blue = (int(value) for value in voc_palette()[1])
    return LabelClass("background", (0, 0, 0)), LabelClass(FOREGROUND, (red, green, blue))


def _colours(files: SourceFiles) -> tuple[LabelClass, ...] | None:
    if LABEL_COLOURS in files:
        return parse_label_colours(files[LABEL_COLOURS].read_text())
    if LABEL_MAP in files:
        return parse_label_map(files[LABEL_MAP].read_text(), LABEL_MAP)
    return None


def _pairs(files: SourceFiles) -> list[tuple[str, str, str]]:
    """Returns (subset, folder of images, folder of masks), sorted by subset."""
    tops = files.top_folders()
    pairs = [(top[: -len(_SUFFIX)], top) for top in tops if top.endswith(_SUFFIX)]
    found = [(subset, subset, masks) for subset, masks in pairs if subset]
    if not found:
        named = [pair for pair in _NAMED_PAIRS if set(pair) <= set(tops)]
        found = [("", images, masks) for images, masks in named[:1]]
    found = [pair for pair in found if _stems(files, pair[2])]
    with_masks = {subset for subset, _, _ in found}
    unlabelled = [subset for subset in _listed_subsets(files) if subset not in with_masks]
    return sorted([*found, *((subset, subset, f"{subset}{_SUFFIX}") for subset in unlabelled)])


def _listed_subsets(files: SourceFiles) -> list[str]:
    """Subsets that CVAT lists; one has no folder of masks if none of its images is labelled."""
    if LABEL_COLOURS not in files:
        return []
    names = [name.removesuffix(".txt") for name in files if "/" not in name]
    return [name for name in names if f"{name}.txt" in files and _listed(files, name)]


def _stems(files: SourceFiles, folder: str) -> dict[str, str]:
    names = (name for name in files.below(folder) if name.lower().endswith(EXTENSIONS))
    return {stem(name[len(folder) + 1 :]): name for name in names}


def _refuse_lost_masks(files: SourceFiles, subset: str, mask_folder: str) -> None:
    """Refuses masks that are listed and not there: their images would count as unlabelled."""
    there = by_letters(_stems(files, mask_folder))
    lost = [
        mask
        for name, mask in sorted(_listed(files, subset).items())
        if mask and same_letters(name) not in there
    ]
    if lost:
        count = "a mask" if len(lost) == 1 else f"{len(lost)} masks"
        raise DataError(
            f"{files.where}: {subset}.txt",
            f"{count} that {'is' if len(lost) == 1 else 'are'} not there, first {lost[0]}",
            "every mask that it lists",
            "copy the whole export again",
        )


def _listed(files: SourceFiles, subset: str) -> dict[str, str]:
    """Names in CVAT's `<subset>.txt`: the only trace of unlabelled images that were not saved.

    Each comes with the path of its mask, "" where the image has no labels.

    A line is `/subset/a.png subsetannot/a.png`; both are quoted when one has a space.
    """
    if LABEL_COLOURS not in files or f"{subset}.txt" not in files:
        return {}
    names = {}
    for line in files[f"{subset}.txt"].read_text().splitlines():
        # A name may hold a quote itself: two paths are parted by quote, space, quote.
        is_quoted = line.startswith('"')
        first, _, mask = line[1:].partition('" "') if is_quoted else line.partition(" ")
        first, mask = (path.strip().removesuffix('"' * is_quoted) for path in (first, mask))
        if first.lstrip("/").startswith(f"{subset}/"):
            names[stem(first.lstrip("/").removeprefix(f"{subset}/"))] = mask
    return names
