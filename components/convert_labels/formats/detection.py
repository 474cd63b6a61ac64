"""Which format an export is of: found out by what is in it, never by its name."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from components.convert_labels.formats import (
    coco,
    cvat_images,
    cvat_video,
    datumaro_json,
    kitti_road,
    labelme_json,
    labelme_xml,
    not_read,
    paired_folders,
    segmentation_mask,
    yolo,
)
from components.convert_labels.raw_labels import Export, Format
from components.convert_labels.source.files import SourceFiles
from segmentor.errors import DataError

# The table of formats. The first that recognises the files reads them: the more particular come
# first, and folders of any images and masks after what is known by name and not read.
FORMATS: tuple[Format, ...] = (
    cvat_images.FORMAT,
    cvat_video.FORMAT,
    segmentation_mask.FORMAT,
    labelme_json.FORMAT,
    coco.FORMAT,
    datumaro_json.FORMAT,
    kitti_road.FORMAT,
    labelme_xml.FORMAT,
    yolo.FORMAT,
    not_read.FORMAT,
    paired_folders.FORMAT,
)
# A file of this name lies at the top of an export.
_MARKS = ("annotations.xml", "labelmap.txt", "label_colors.txt")


def open_export(
    files: SourceFiles, elsewhere: SourceFiles | None = None
) -> tuple[Export, SourceFiles]:
    """Open an export; return it and its files, without a folder that only wraps everything.

    `elsewhere` are the files of another place that has its images.

    Raises:
        DataError: no known format, or files of one that cannot be read.
    """
    candidates = list(files.unwrapped())
    for known in FORMATS:
        # What is not read is recognised at any depth, so the innermost folder will do.
        for candidate in candidates if known.marks else candidates[-1:]:
            if known.recognises(candidate):
                if known is not_read.FORMAT and _is_around_exports(candidate):
                    continue
                return known.read(candidate, elsewhere), candidate
    nested = _exports_inside(files)
    if len(nested) == 1:
        around = f"a folder around {nested[0]}"
        raise DataError(files.where, around, "the export itself", "give that")
    if nested:
        raise DataError(
            files.where,
            f"{len(nested)} exports: {', '.join(nested[:4])}{', ...' if len(nested) > 4 else ''}",
            "one",
            "export the project as a whole, or convert one at a time",
        )
    raise _unknown(files)


def _unknown(files: SourceFiles) -> DataError:
    """Say what is there, and which formats are read."""
    for candidate in files.unwrapped():
        if odd := paired_folders.unmatched(candidate):
            remedy = "give a mask the name of its image, or one of the usual endings (_mask, _L)"
            found = f"masks whose names no image has: {odd}"
            return DataError(files.where, found, "the same names in both folders", remedy)
    top = sorted({name.split("/", 1)[0] for name in files})
    shown = ", ".join(top[:8]) + (", ..." if len(top) > 8 else "")
    expected = ", ".join(known.name for known in FORMATS if known.marks)
    remedy = "docs/labels.md says what each looks like; of CVAT, export as CVAT for images 1.1"
    return DataError(files.where, f"no known label format ({shown})", f"one of {expected}", remedy)


def _is_around_exports(files: SourceFiles) -> bool:
    return not_read.has_only_images(files) and bool(_exports_inside(files))


def _exports_inside(files: SourceFiles) -> list[str]:
    """Return the exports in one place: zips, folders with annotations, or what can be read."""
    zips = [name for name in files if name.lower().endswith(".zip")]
    folders = [name for name in files if PurePosixPath(name).name in _MARKS and "/" in name]
    marked = sorted(folders) if len(folders) > 1 else []
    return sorted(zips) or marked or list(_readable_folders(files))


def _readable_folders(files: SourceFiles) -> Iterator[str]:
    """Yield the outermost folders that hold an export, with what else lies beside them."""
    for top in files.top_folders():
        for inner in files.inside(top).unwrapped():
            if any(known.marks and known.recognises(inner) for known in FORMATS):
                yield inner.wrapper.rstrip("/")
                break
        else:
            yield from _readable_folders(inner)
