"""Folders of images with folders of masks beside them, under the names that people give them.

Index masks take their names from a class list (classes.txt and its like), colour masks from a list
of colours. Without either, masks must be binary: 0, and 1 or 255.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from components.convert_labels.formats.class_lists import (
    COLOUR_LISTS,
    LABEL_COLOURS,
    ClassList,
    find_class_list,
)
from components.convert_labels.formats.layouts import (
    SUBSETS,
    Layout,
    find_layouts,
    odd_names,
    unlike_the_others,
)
from components.convert_labels.raw_labels import (
    ColourLabel,
    Export,
    Format,
    IndexLabel,
    Item,
    Notes,
)
from components.convert_labels.source.files import SourceFiles
from components.convert_labels.source.image_finder import by_letters, same_letters, stem
from segmentor.errors import DataError
from segmentor.label_map import LabelClass, voc_palette
from segmentor.plurals import counted

# The one class of binary masks without a class list.
FOREGROUND = "foreground"
NO_MASK = "images without a mask file (no label)"
_NOT_LISTED = "images that no list in ImageSets names (left out)"
_LISTS = "ImageSets/Segmentation"


def recognises(files: SourceFiles) -> bool:
    """Return True when folders of masks stand beside folders of images."""
    layouts = _layouts(files)
    return any(layout.mask_names.keys() & layout.image_names.keys() for layout in layouts) or any(
        not layout.image_names for layout in layouts
    )


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        LabelMapError: the class list cannot be read.
        DataError: a mask that a list of images names is not there.
    """
    layouts = _layouts(files)
    for layout in layouts:
        _refuse_lost_masks(layout)
        _refuse_other_endings(layout)
    folders = sorted({f for layout in layouts for f in (_parent(layout), layout.masks) if f})
    listed = find_class_list(files, folders)
    classes = listed or ClassList(_binary_classes(), (0, 1))
    by_colour = not classes.values
    lists = _image_lists(files, layouts)
    notes = Notes()

    def items() -> Iterator[Item]:
        notes.clear()
        for layout in layouts:
            for name in _names(layout):
                subset = layout.subset
                if lists:
                    if name not in lists:
                        notes.count(_NOT_LISTED, name)
                        continue
                    subset = lists[name]
                item = _item(layout, name, subset, by_colour, is_binary=listed is None)
                if item.label is None:
                    notes.count(NO_MASK, item.place)
                yield item

    return Export(
        format=_name(files, listed),
        classes=classes.classes,
        items=items,
        image_folders=_image_folders(layouts),
        subsets=tuple(sorted(set(lists.values()) or {layout.subset for layout in layouts})),
        count=sum(len(_names(layout)) for layout in layouts),
        is_ordered=not by_colour,
        is_complete=not by_colour,
        is_by_colour=by_colour,
        index_values=classes.values,
        remarks=classes.remarks,
        notes=notes,
    )


def _layouts(files: SourceFiles) -> list[Layout]:
    has_colours = any(PurePosixPath(name).name in COLOUR_LISTS for name in _near_the_top(files))
    layouts = find_layouts(files, has_colours)
    with_masks = {layout.subset for layout in layouts}
    unlabelled = [subset for subset in _listed_subsets(files) if subset not in with_masks]
    return [*layouts, *(Layout(files, subset, subset, f"{subset}annot") for subset in unlabelled)]


def _near_the_top(files: SourceFiles) -> Iterator[str]:
    return (name for name in files if name.count("/") <= 1)


def _item(layout: Layout, name: str, subset: str, by_colour: bool, is_binary: bool) -> Item:
    mask, image = layout.mask_names.get(name), layout.image_names.get(name, "")
    label: ColourLabel | IndexLabel | None = None
    if mask == "":
        found, remedy = f"several masks called {name} in {layout.masks}", "take one of them out"
        raise DataError(layout.files.where, found, "one mask a name", remedy)
    if mask is not None:
        file = layout.files[mask]
        label = ColourLabel(file) if by_colour else IndexLabel(file, is_binary)
    # If several images have the name, the finder reports them.
    return Item(name + layout.image_suffix, label, subset, image_name=image)


def _names(layout: Layout) -> list[str]:
    """Return the names of masks, images and lists of images, sorted, each once."""
    there = layout.mask_names.keys() | layout.image_names.keys()
    letters = by_letters(there)
    listed = {letters.get(same_letters(n), n) for n in _listed(layout.files, layout.subset)}
    return sorted(there | listed)


def _parent(layout: Layout) -> str:
    return layout.masks.rpartition("/")[0]


def _image_folders(layouts: Sequence[Layout]) -> tuple[str, ...]:
    """Return where images lie; the finder tries the subset's folder below each as well."""
    # A folder that holds the masks too has no images but those with a mask.
    found = [layout.images for layout in layouts if layout.images not in ("", layout.masks)]
    roots = [f.rpartition("/")[0] for f in found if f.rpartition("/")[2].lower() in SUBSETS]
    return tuple(dict.fromkeys(["", *found, *(root for root in roots if root)]))


def _name(files: SourceFiles, listed: ClassList | None) -> str:
    if listed is None:
        return "folders with binary masks"
    if listed.values:
        return "folders with index masks"
    return "CamVid 1.0" if LABEL_COLOURS in files else "folders with colour masks"


def _binary_classes() -> tuple[LabelClass, ...]:
    red, green, blue = (int(value) for value in voc_palette()[1])
    return LabelClass("background", (0, 0, 0)), LabelClass(FOREGROUND, (red, green, blue))


def _image_lists(files: SourceFiles, layouts: Sequence[Layout]) -> dict[str, str]:
    """Return the subset of each name that PASCAL VOC's lists have; {} without such lists.

    Of lists that repeat one another (trainval.txt has the names of two) those called as subsets
    are count.
    """
    paths = [p for p in files.below(_LISTS) if p.endswith(".txt")]
    named = [p for p in paths if PurePosixPath(p).stem.lower() in SUBSETS]
    if len(layouts) != 1 or layouts[0].subset:
        return {}
    return {
        name: PurePosixPath(path).stem if named else ""
        for path in named or paths
        for name in map(str.strip, files[path].read_text().splitlines())
        if name
    }


def _listed_subsets(files: SourceFiles) -> list[str]:
    """Return subsets that CVAT lists; those without any label have no folder of masks."""
    if LABEL_COLOURS not in files:
        return []
    names = [name.removesuffix(".txt") for name in files if "/" not in name]
    return [name for name in names if f"{name}.txt" in files and _listed(files, name)]


def _refuse_lost_masks(layout: Layout) -> None:
    """Refuse masks that are listed and not there: their images would count as unlabelled."""
    there = by_letters(layout.mask_names)
    lost = [
        mask
        for name, mask in sorted(_listed(layout.files, layout.subset).items())
        if mask and same_letters(name) not in there
    ]
    if lost:
        raise DataError(
            f"{layout.files.where}: {layout.subset}.txt",
            f"{counted(len(lost), 'mask that is', 'masks that are')} not there, first {lost[0]}",
            "every mask that it lists",
            "copy the whole export again",
        )


def _refuse_other_endings(layout: Layout) -> None:
    """Refuse masks of several endings: images of the rarer ones would count as unlabelled."""
    if found := unlike_the_others(layout):
        image, mask = found
        usual = min(name for name in layout.mask_names.values() if name)
        raise DataError(
            layout.files.where,
            f"{mask} for {image}, but {usual} and others end otherwise",
            "one ending for all masks of a folder",
            "rename the masks that differ",
        )


def _listed(files: SourceFiles, subset: str) -> Mapping[str, str]:
    """Return the names in CVAT's `<subset>.txt`, the only trace of unlabelled images not saved.

    Each comes with the path of its mask, "" where the image has no labels.

    A line is `/subset/a.png subsetannot/a.png`; both are quoted when one has a space.
    """
    if LABEL_COLOURS not in files or not subset or f"{subset}.txt" not in files:
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


def unmatched(files: SourceFiles) -> str:
    """Say why folders of images and masks are not read: no mask has an image's name; else ""."""
    return odd_names(_layouts(files))


FORMAT = Format(
    "folders of images and masks",
    "`images/` and `masks/`, `train/` and `trainannot/`, `img_dir/` and `ann_dir/`, "
    "`train/images/` and `train/masks/`, `x.jpg` and `x_mask.png`",
    recognises,
    read,
)
