"""Which format an export is of: found out by what is in it, never by its name."""

from pathlib import PurePosixPath

from components.convert_labels.exports import Export
from components.convert_labels.formats import (
    coco,
    cvat_images,
    cvat_video,
    datumaro_json,
    kitti_road,
    paired_folders,
    segmentation_mask,
)
from components.convert_labels.source_files import SourceFiles
from segmentor.errors import DataError

# The first that recognises the files reads them; the more particular come first.
FORMATS = (
    cvat_images,
    cvat_video,
    segmentation_mask,
    coco,
    datumaro_json,
    kitti_road,
    paired_folders,
)
# A file of this name lies at the top of an export.
_MARKS = ("annotations.xml", "labelmap.txt", "label_colors.txt")
# A backup has one of these, and its annotations in no published format.
_BACKUP = ("task.json", "project.json")
_EXPECTED = (
    "CVAT for images or video 1.1 (annotations.xml), Segmentation mask 1.1 (labelmap.txt), "
    "COCO 1.0 or Datumaro 1.0 (annotations/*.json), CamVid 1.0 (label_colors.txt), KITTI road, "
    "or folders of images and masks (train/ and trainannot/, images/ and masks/)"
)


def open_export(
    files: SourceFiles, elsewhere: SourceFiles | None = None
) -> tuple[Export, SourceFiles]:
    """Opens an export; returns it and its files, without a folder that only wraps everything.

    `elsewhere` are the files of another place that has its images.

    Raises:
        DataError: no known format, or files of one that cannot be read.
    """
    for candidate in files.unwrapped():
        for reader in FORMATS:
            if reader is cvat_video and reader.recognises(candidate):
                return cvat_video.read(candidate, elsewhere), candidate
            if reader.recognises(candidate):
                return reader.read(candidate), candidate
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
    if any(PurePosixPath(name).name in _BACKUP for name in files):
        remedy = "export the task or project as CVAT for images 1.1"
        raise DataError(files.where, "a CVAT backup", "an export", remedy)
    top = sorted({name.split("/", 1)[0] for name in files})
    shown = ", ".join(top[:8]) + (", ..." if len(top) > 8 else "")
    raise DataError(files.where, f"no known export format ({shown})", _EXPECTED)


def _exports_inside(files: SourceFiles) -> list[str]:
    """Returns what looks like several exports in one place: zips, or folders with annotations."""
    zips = [name for name in files if name.lower().endswith(".zip")]
    folders = [name for name in files if PurePosixPath(name).name in _MARKS and "/" in name]
    return sorted(zips) or (sorted(folders) if len(folders) > 1 else [])
