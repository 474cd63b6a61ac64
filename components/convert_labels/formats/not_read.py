"""Label formats that are known and not read: each is named, with what to export instead."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.convert_labels.formats import yolo
from components.convert_labels.formats.layouts import find_layouts
from components.convert_labels.raw_labels import Export, Format
from components.convert_labels.source.files import SourceFiles
from segmentor.errors import DataError
from segmentor.image_io import EXTENSIONS
from segmentor.sample_lines import PLAIN_SAMPLES, SAMPLES

_CVAT = "export as CVAT for images 1.1"
_COCO = "export as COCO with polygons or masks"
_BYTES = 1 << 16
_LOOKED_AT = 20
_ARRAYS = (
    ".npy", ".npz", ".mat", ".h5", ".hdf5", ".nii", ".nii.gz", ".dcm", ".mha", ".nrrd", ".pkl",
    ".parquet", ".tfrecord", ".lmdb",
)  # fmt: skip
_FILMS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


@dataclass(frozen=True)
class _Known:
    """A format that is not read: its name, the remedy, and how it is recognised."""

    name: str
    remedy: str
    recognises: Callable[[SourceFiles], bool]


def _named(*patterns: str) -> Callable[[SourceFiles], bool]:
    """Return a test for files whose path matches one of the patterns."""
    expressions = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    return lambda files: any(e.search(name) for name in files for e in expressions)


def _says(extension: str, *texts: bytes) -> Callable[[SourceFiles], bool]:
    """Return a test for one of the first files of an extension that has all these texts."""

    def test(files: SourceFiles) -> bool:
        return any(all(t in head for t in texts) for head in _heads(files, extension))

    return test


def _heads(files: SourceFiles, extension: str) -> Iterator[bytes]:
    names = sorted(name for name in files if name.lower().endswith(extension))
    for name in names[:_LOOKED_AT]:
        with files[name].open() as stream:
            yield stream.read(_BYTES)


def _is_label_studio(files: SourceFiles) -> bool:
    return any(
        head.lstrip()[:1] == b"[" and b'"result"' in head and b'"annotations"' in head
        for head in _heads(files, ".json")
    )


def _are_masks_a_class(files: SourceFiles) -> bool:
    """Return True for Label Studio's brush masks: `task-1-annotation-2-by-1-tag-road-0.png`."""
    return any(re.search(r"task-\d+-annotation-\d+-.*tag-.*\.(png|npy)$", name) for name in files)


def _has_masks_of(*extensions: str) -> Callable[[SourceFiles], bool]:
    """Return a test for folders named as masks are that have files of these extensions alone."""

    def test(files: SourceFiles) -> bool:
        found = [n for n in files if re.search(r"(^|/)[^/]*(mask|label|annot|gt)[^/]*/", n, re.I)]
        if find_layouts(files, True):
            return False
        return any(name.lower().endswith(extensions) for name in found)

    return test


def _are_pairs_in_one_folder(files: SourceFiles) -> bool:
    return any(
        name.lower().endswith(".png") and f"{name[:-4]}{extension}" in files
        for name in files
        for extension in (".jpg", ".jpeg", ".JPG")
    )


def has_only_images(files: SourceFiles) -> bool:
    """Return True when nothing is there but images and texts."""
    names = [name.lower() for name in files]
    return all(name.endswith((*EXTENSIONS, ".txt", ".md", ".pdf", ".csv")) for name in names) and (
        any(name.endswith(EXTENSIONS) for name in names) and not find_layouts(files, True)
    )


def _only_films(files: SourceFiles) -> bool:
    return any(n.lower().endswith(_FILMS) for n in files) and not find_layouts(files, True)


def _is_via(files: SourceFiles) -> bool:
    is_json = _says(".json", b'"shape_attributes"')(files)
    return is_json or _named(r"(^|/)via_[^/]*\.(csv|json)$")(files)


def _is_supervisely(files: SourceFiles) -> bool:
    return any(PurePosixPath(n).name == "meta.json" for n in files) and any(
        "/ann/" in f"/{name}" and name.lower().endswith(".json") for name in files
    )


def _is_dataset(files: SourceFiles) -> bool:
    lists = (SAMPLES, PLAIN_SAMPLES)
    if "manifest.json" not in files or not any(name in files for name in lists):
        return False
    try:
        return "label_map" in json.loads(files["manifest.json"].read_text())
    except ValueError:
        return False


# The first that fits is named: the more particular come first.
_KNOWN = (
    _Known("a CVAT backup", f"{_CVAT}, from the task's or project's menu", _named(
        r"(^|/)(task|project)\.json$")),
    _Known("a data set that convert_labels has written", "give it to split", _is_dataset),
    _Known("Open Images V6", _CVAT, _named(
        r"-annotations-(object-segmentation|bbox)\.csv$", r"-images-with-rotation\.csv$")),
    _Known("MOTS PNG", _CVAT, lambda files: _named(r"(^|/)instances/")(files)
        and _named(r"(^|/)labels\.txt$")(files)),
    _Known("MOT, which has boxes alone", _CVAT, _named(r"(^|/)gt/gt\.txt$")),
    _Known("Pascal VOC, which has boxes and no masks", _CVAT, lambda files: _says(
        ".xml", b"<annotation>", b"<bndbox>")(files) and not find_layouts(files, True)),
    _Known("COCO panoptic", "export COCO instances, or masks of class indices", _says(
        ".json", b'"segments_info"')),
    _Known("labelme_json_to_dataset's folders",
        "give the folder of labelme's JSON files itself, or run labelme2voc", _named(
        r"_json/label\.png$")),
    _Known("Supervisely", f"in Supervisely, {_COCO}", _is_supervisely),
    _Known("Label Studio's JSON", f"in Label Studio, {_COCO}", _is_label_studio),
    _Known("Label Studio's PNG file a label", f"in Label Studio, {_COCO}", _are_masks_a_class),
    _Known("VGG Image Annotator", f"in VIA, {_COCO}", _is_via),
    _Known("V7 Darwin", f"in V7, {_COCO}", _says(".json", b'"annotations"', b'"slots"')),
    _Known("CreateML", f"in Roboflow, {_COCO}", _named(r"_annotations\.createml\.json$")),
    _Known("a CSV of boxes (TensorFlow, RetinaNet)", f"in Roboflow, {_COCO}", _named(
        r"_annotations\.csv$")),
    _Known("WIDER FACE, which has boxes alone", _CVAT, _named(r"(^|/)wider_face")),
    _Known("VGGFace2", _CVAT, _named(r"(^|/)bb_landmark/")),
    _Known("KITTI detection, which has boxes alone", _CVAT, lambda files: _named(
        r"(^|/)label_2/.*\.txt$")(files) and not find_layouts(files, True)),
    _Known("ICDAR", _CVAT, _named(r"(^|/)gt_[^/]*\.txt$", r"_GT\.txt$")),
    _Known("Market-1501 or LFW, which have no masks", _CVAT, _named(
        r"(^|/)bounding_box_(train|test)/", r"(^|/)annotations/(pairs|people)\.txt$")),
    _Known("YOLO without the names of its classes",
        "add data.yaml with 'names:', or classes.txt with a name a line, at the top",
        yolo.has_labels),
    _Known("GIF masks", "save them as PNG: for f in *.gif; do convert $f ${f%.gif}.png; done",
        _has_masks_of(".gif")),
    _Known("labels as arrays", "save masks as PNG files of class indices beside the images",
        lambda files: any(n.lower().endswith(_ARRAYS) for n in files)
        and not find_layouts(files, True)),
    _Known("a film and no labels", "give the frames as images, or CVAT's export", _only_films),
    _Known("an image and a mask of one name in one folder",
        "put the masks into a folder masks/ beside images/, or end their names in _mask",
        _are_pairs_in_one_folder),
    _Known("images and no labels", "give the export that has the labels; images go to --images",
        has_only_images),
)  # fmt: skip


def recognises(files: SourceFiles) -> bool:
    """Return True when the files are of a format that is known and not read."""
    return _first(files) is not None


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Refuse the export, naming its format and what to give instead.

    Raises:
        DataError: always.
    """
    known = _first(files)
    assert known is not None  # `recognises` has seen it
    raise DataError(files.where, f"this looks like {known.name}", "a format that is read; "
                    "docs/labels.md lists them", known.remedy)  # fmt: skip


def _first(files: SourceFiles) -> _Known | None:
    return next((known for known in _KNOWN if known.recognises(files)), None)


FORMAT = Format("", "", recognises, read)
