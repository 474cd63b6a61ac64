"""Which folder of masks belongs to which folder of images, and how their names go together.

These folders have many names (`images/` and `masks/`, `img_dir/` and `ann_dir/`,
`train/images/`, `leftImg8bit/` and `gtFine/`), so they are found by words in their names, and by
whether names in one occur in the other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from components.convert_labels.source.files import SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.image_io import EXTENSIONS

_WORDS = "train training trn val valid validation dev test testing tst default"
SUBSETS = frozenset(_WORDS.split())
# Best first, for exports with several folders of masks.
_MASK_WORDS = (
    "semantic_rgb", "semantic", "segmentationclass", "masks", "mask", "labels", "label", "annot",
    "ann_dir", "ann", "groundtruth", "ground_truth", "gtfine", "gt", "seg", "targets",
)  # fmt: skip
_IMAGE_WORDS = (
    "images", "imgs", "image", "img", "jpegimages", "leftimg8bit", "imgsfine", "stills", "raw",
    "photos", "pictures", "frames", "rgb", "data", "input",
)  # fmt: skip
# Masks of single objects, or of boundaries: their indices are not classes.
_NO_CLASSES = ("object", "instance", "panoptic", "boundar", "edge", "json", "xml", "txt")
# Endings of masks and images, after the part of the name that they share.
MASK_SUFFIXES = (
    "_gtFine_color", "_gtFine_labelTrainIds", "_gtFine_labelIds", "_labelTrainIds", "_labelIds",
    "_mask", "-mask", "_masks", "_L", "_label", "_labels", "_gt", "_seg", "_segmentation", "_ann",
    "_annotation", "_semantic", "_GT", "_Mask", "_m",
)  # fmt: skip
IMAGE_SUFFIXES = ("_leftImg8bit", "_image", "_img", "_sat", "_rgb", "_im")


@dataclass(frozen=True)
class Layout:
    """A folder of images and a folder of masks; each of its masks has an image's name.

    Names lack `image_suffix` and `mask_suffix`. Where both lie in one folder, masks are told by
    their suffix. `images` may be absent: then images lie elsewhere, or in no folder yet.
    """

    files: SourceFiles
    subset: str
    images: str
    masks: str
    mask_suffix: str = ""
    image_suffix: str = ""

    @cached_property
    def mask_names(self) -> dict[str, str]:
        """The masks by the name they share with their image."""
        found = names_in(self.files, self.masks)
        suffix = self.mask_suffix
        return {k.removesuffix(suffix): name for k, name in found.items() if k.endswith(suffix)}

    @cached_property
    def image_names(self) -> dict[str, str]:
        """The images by the name they share with their mask."""
        found = names_in(self.files, self.images)
        masks = set(self.mask_names.values())
        suffix = self.image_suffix
        return {
            key.removesuffix(suffix): name
            for key, name in found.items()
            if name not in masks and key.endswith(suffix)
        }


def names_in(files: SourceFiles, folder: str) -> dict[str, str]:
    """Return the images and masks below a folder by their names in it, without extension.

    Two that differ in the extension alone are "", because it is unclear which is meant.
    """
    names = files.below(folder) if folder else sorted(files)
    start = len(folder) + 1 if folder else 0
    found: dict[str, str] = {}
    for name in names:
        if name.lower().endswith(EXTENSIONS):
            key = stem(name[start:])
            found[key] = "" if key in found else name
    return found


def find_layouts(files: SourceFiles, has_colours: bool) -> list[Layout]:
    """Return the layouts of an export of masks, sorted by subset; [] if it has none.

    `has_colours`: there is a list of colours, so masks of colours are preferred to class indices.
    """
    folders = _folders(files)
    pairs = list(_annot_pairs(folders))
    pairs = pairs or list(_word_pairs(folders, has_colours)) or _cityscapes(folders)
    layouts = [Layout(files, subset, images, masks) for subset, images, masks in pairs]
    layouts = [_with_suffixes(layout, has_colours) for layout in layouts if layout.mask_names]
    layouts = [part for layout in layouts for part in _by_subset(layout) if part.mask_names]
    return sorted(layouts or _one_folder(files, folders), key=lambda layout: layout.subset)


def _folders(files: SourceFiles) -> list[str]:
    """Return the folders of the first two levels that hold images, sorted."""
    found: set[str] = set()
    for name in (name for name in files if name.lower().endswith(EXTENSIONS)):
        parts = name.split("/")[:-1]
        found.update("/".join(parts[:depth]) for depth in range(1, min(len(parts), 2) + 1))
    return sorted(found)


def _annot_pairs(folders: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the pairs of SegNet's CamVid: `train/` and `trainannot/`."""
    for folder in folders:
        if "/" not in folder and folder.endswith("annot") and folder != "annot":
            subset = folder.removesuffix("annot")
            yield subset, subset, folder


def _word_pairs(folders: list[str], has_colours: bool) -> Iterator[tuple[str, str, str]]:
    """Yield pairs of folders beside one another, one named as images are and one as masks are."""
    beside: dict[str, list[str]] = {}
    for folder in folders:
        parent, _, name = folder.rpartition("/")
        if not has_colours and _is_of_colours(name):
            continue
        beside.setdefault(parent, []).append(name)
    tops = [parent for parent in beside if parent and _is_subset(parent)]
    for parent in ["", *tops]:
        pairs = list(_pairs_beside(beside.get(parent, [])))
        for subset, images, masks in pairs:
            at = f"{parent}/" if parent else ""
            yield parent or subset, f"{at}{images}", f"{at}{masks}"
        if pairs and not parent:
            return


def _pairs_beside(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (subset, images, masks) of folders in one place: one pair a subset."""
    masks: dict[str, tuple[int, str]] = {}
    images: dict[str, tuple[int, str]] = {}
    for name in names:
        plain = name.lower()
        if any(word in plain for word in _NO_CLASSES):
            continue
        for words, found in ((_MASK_WORDS, masks), (_IMAGE_WORDS, images)):
            rank = next((rank for rank, word in enumerate(words) if word in plain), None)
            if rank is not None:
                subset = plain.replace(words[rank], "", 1).strip("_- .")
                subset = name[: len(subset)] if name.lower().startswith(subset) else subset
                key = subset if _is_subset(subset) else ""
                found[key] = min(found.get(key, (rank, name)), (rank, name))
                break
    for subset, (_, mask_folder) in masks.items():
        if subset in images:
            yield subset, images[subset][1], mask_folder


def _cityscapes(folders: list[str]) -> list[tuple[str, str, str]]:
    """Return Cityscapes' folders as CVAT once wrote them, `imgsFine/leftImg8bit/` and `gtFine/`."""
    images = next((f for f in folders if f.lower().endswith("leftimg8bit")), "")
    masks = next((f for f in folders if f.lower().startswith(("gtfine", "gtcoarse"))), "")
    return [("", images, masks)] if images and masks else []


def _is_subset(name: str) -> bool:
    return name.lower() in SUBSETS


def _is_of_colours(name: str) -> bool:
    return any(word in name.lower() for word in ("semantic_rgb", "_color", "_colour"))


def _with_suffixes(layout: Layout, has_colours: bool) -> Layout:
    """Find the suffixes by which most masks have an image; as it is where none helps."""
    suffixes = [s for s in ("", *MASK_SUFFIXES) if has_colours or not _is_of_colours(s)]
    # Listed once: a folder may have a million names.
    images, masks = (names_in(layout.files, folder) for folder in (layout.images, layout.masks))
    if not images:
        # The images lie elsewhere; Cityscapes' names tell without them.
        ends = [s for s in suffixes if "Ids" in s or "_color" in s]
        found = [replace(layout, mask_suffix=s, image_suffix=IMAGE_SUFFIXES[0]) for s in ends]
        return next((candidate for candidate in found if candidate.mask_names), layout)
    best, most = layout, -1
    for mask_suffix in suffixes:
        of_masks = {key: name for key, name in masks.items() if key.endswith(mask_suffix)}
        keys, names = {key.removesuffix(mask_suffix) for key in of_masks}, set(of_masks.values())
        for image_suffix in ("", *IMAGE_SUFFIXES) if keys else ("",):
            count = sum(
                key.endswith(image_suffix)
                and key.removesuffix(image_suffix) in keys
                and name not in names
                for key, name in images.items()
            )
            if count > most:
                best = replace(layout, mask_suffix=mask_suffix, image_suffix=image_suffix)
                most = count
    return best


def _matches(layout: Layout) -> int:
    return len(layout.mask_names.keys() & layout.image_names.keys())


def unlike_the_others(layout: Layout) -> tuple[str, str] | None:
    """Return an image without a mask, and a mask whose name is the image's but for the ending."""
    if layout.masks == layout.images:
        return None
    used = {mask for key, mask in layout.mask_names.items() if key in layout.image_names}
    without = {k: name for k, name in layout.image_names.items() if k not in layout.mask_names}
    for key, mask in names_in(layout.files, layout.masks).items():
        ends = [suffix for suffix in ("", *MASK_SUFFIXES) if key.endswith(suffix)]
        image = next((without[k] for s in ends if (k := key.removesuffix(s)) in without), "")
        if image and mask not in used:
            return image, mask
    return None


def _by_subset(layout: Layout) -> Iterator[Layout]:
    """Yield a layout for each of `masks/train/`, `masks/val/`, ...: subsets, if all are."""
    if layout.subset:
        yield layout
        return
    inner = {key.split("/", 1)[0] if "/" in key else "" for key in layout.mask_names}
    inner |= {key.split("/", 1)[0] if "/" in key else "" for key in layout.image_names}
    if not all(_is_subset(name) for name in inner):
        yield layout
        return
    for name in sorted(inner):
        images, masks = f"{layout.images}/{name}", f"{layout.masks}/{name}"
        yield replace(layout, subset=name, images=images, masks=masks)


def _one_folder(files: SourceFiles, folders: list[str]) -> list[Layout]:
    """Roboflow's masks: `x.jpg` and `x_mask.png` in one folder, which may be a subset's."""
    found = []
    for folder in ["", *(f for f in folders if "/" not in f)]:
        if folder == "" and any("/" in name for name in files):
            continue
        best = max(
            (
                Layout(files, folder, folder, folder, mask_suffix, image_suffix)
                for mask_suffix in MASK_SUFFIXES
                for image_suffix in ("", *IMAGE_SUFFIXES)
            ),
            key=_matches,
        )
        if _matches(best) * 2 >= max(1, len(best.mask_names)) and _matches(best):
            found.append(best)
    return found


def odd_names(layouts: Iterable[Layout]) -> str:
    """Say which masks have no image and which images no mask, where no name is in both; else ""."""
    for layout in layouts:
        if layout.image_names and layout.mask_names and not _matches(layout):
            mask = min(layout.mask_names.values())
            image = min(layout.image_names.values())
            return f"{mask} has no image, {image} has no mask"
    return ""
