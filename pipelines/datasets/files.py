"""A data set artifact for people: what is in it, and its images and masks as plain files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.cli import output_folder
from segmentor.dataset import CLASS_LIST, MANIFEST, Dataset
from segmentor.errors import ConfigError, DataError
from segmentor.image_io import decode_image, encode_png, read_header
from segmentor.plurals import counted
from segmentor.progress import track
from segmentor.run_record import FILE_NAME, RunRecord
from segmentor.text_table import text_table

SPLITS = ("train", "val", "test")


def open_datasets(folder: Path) -> dict[str, Dataset]:
    """Open a data set artifact, or the three of a split; keyed by the name of their subset.

    The three are a run's, or lie in one folder as train, val and test.

    The key of a lone artifact is empty: its samples know their subsets themselves.

    Raises:
        ContractError: neither a run, nor a split, nor a data set artifact.
    """
    if (folder / FILE_NAME).is_file():
        record = RunRecord.read(folder)
        return {name: Dataset(record.artifact("split", name)) for name in SPLITS}
    if all((folder / name / MANIFEST).is_file() for name in SPLITS):
        return {name: Dataset(folder / name) for name in SPLITS}
    return {"": Dataset(folder)}


def describe(folder: Path) -> Iterator[str]:
    """Yield lines: samples, groups, sizes, classes by pixels and by images, provenance.

    Raises:
        ContractError: neither a run, nor a split, nor a data set artifact.
    """
    for name, dataset in open_datasets(folder).items():
        if name:
            yield f"== {name}"
        samples = dataset.samples
        sizes = sorted({sample.size for sample in samples})
        shown = ", ".join(f"{height} x {width}" for height, width in sizes[:3])
        more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
        yield f"digest        {dataset.digest}"
        yield f"samples       {len(samples):,} in {counted(dataset.manifest['groups'], 'group')}"
        yield f"sizes         {shown}{more} (height x width)"
        yield from _provenance_lines(dataset.manifest["provenance"])
        yield from _class_lines(dataset)


def _provenance_lines(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is known, a line each; of several values each has its own."""
    for key, value in sorted(provenance.items()):
        for item in value if isinstance(value, list) else [value]:
            if item != "":
                yield f"{key.replace('_', ' '):<13} {item}"


def unpack(folder: Path, output: Path) -> int:
    """Write `<subset>/<id>.<jpg|png>` and `<subset>annot/<id>.png`, and the names of the classes.

    That is the layout of the original, which convert_labels reads as well. Returns the number of
    samples. Without a subset, samples go to `images/` and `masks/`.

    Raises:
        ConfigError: `output` is there already.
        ContractError: neither a run, nor a split, nor a data set artifact.
        DataError: an id that would leave the folder.
    """
    datasets = open_datasets(folder)
    if output.exists():
        raise ConfigError(str(output), "a folder that is there already", "a new one")
    with output_folder(output) as partial:
        names = next(iter(datasets.values())).label_map.names
        (partial / CLASS_LIST).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        return sum(_unpack_one(dataset, name, partial) for name, dataset in datasets.items())


def _unpack_one(dataset: Dataset, name: str, folder: Path) -> int:
    samples = dataset.samples
    # Ids start with the subset if there are several; with one subset the folder names it.
    says_subset = not name or len({sample.subset for sample in samples}) == 1
    for sample in track(dataset.read_ahead(samples), "unpack", len(samples)):
        subset = name or sample.subset
        images, masks = (subset, f"{subset}annot") if subset else ("images", "masks")
        plain = sample.id.removeprefix(f"{sample.subset}/") if says_subset else sample.id
        extension, image = _upright(dataset.image_content(sample), sample.extension)
        for path, content in (
            (f"{images}/{plain}.{extension}", image),
            (f"{masks}/{plain}.png", dataset.mask_content(sample)),
        ):
            target = folder / path
            if not target.resolve().is_relative_to(folder.resolve()):
                raise DataError(sample.id, "a name that climbs out of the folder", "a plain name")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return len(samples)


def _upright(content: bytes, extension: str) -> tuple[str, bytes]:
    """Return an image's extension and content; one that EXIF turns becomes an upright PNG.

    Masks are upright, and many readers pass over EXIF. PNG keeps every pixel.
    """
    header = read_header(content)
    # The reader of a TIFF applies its orientation.
    if header.orientation <= 1 or header.format == "TIFF":
        return extension, content
    return "png", encode_png(decode_image(content))


def _class_lines(dataset: Dataset) -> Iterator[str]:
    names = dataset.label_map.names
    pixels = [0] * len(names)
    images = [0] * len(names)
    for sample in dataset.samples:
        for index, count in enumerate(sample.class_pixels):
            pixels[index] += count
            images[index] += count > 0
    total = sum(sample.height * sample.width for sample in dataset.samples)
    by_class = [*zip(names, pixels, map(str, images), strict=True)]
    rows = [
        (name, f"{count:,}", f"{count / total if total else 0:.1%}", occurs)
        for name, count, occurs in [*by_class, ("(ignored)", total - sum(pixels), "")]
    ]
    yield from text_table(("class", "pixels", "share", "images"), rows)
