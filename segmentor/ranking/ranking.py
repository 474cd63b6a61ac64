"""One pass of a model over labelled and unlabelled images, and the two ranked lists."""

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmentor.dataset import Dataset
from segmentor.errors import ContractError, DataError, ImageError
from segmentor.label_map import LabelMap
from segmentor.model import Model
from segmentor.progress import track
from segmentor.ranking.images import Look, doubt, spread
from segmentor.ranking.labels import Box, Region, contradicted_regions

# Nobody labels more before the next ranking.
SPREAD = 200
IMAGES_FILE, LABELS_FILE = "images.csv", "labels.csv"


@dataclass(frozen=True)
class UnlabelledImage:
    """An image that could be labelled next.

    Attributes:
        name: What people call it.
        group: The drive, patient or task that it is of; empty where that is unknown.
        read: Returns the encoded image.
    """

    name: str
    group: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class RankedImage:
    """An unlabelled image in the list.

    Attributes:
        image: The image.
        doubt: How much the model doubts, 0..1.
    """

    image: UnlabelledImage
    doubt: float


@dataclass(frozen=True)
class Suspicion:
    """A region of a label that is probably wrong.

    Attributes:
        sample: Id of the sample.
        group: Its group.
        region: The region.
    """

    sample: str
    group: str
    region: Region


@dataclass(frozen=True)
class Ranking:
    """What to label next, and which labels to look at, both best first; None was not asked for.

    `labelled` counts the images whose labels were looked at. `problems` are of images that cannot
    be read, a line each.
    """

    label_map: LabelMap
    model_digest: str
    images: tuple[RankedImage, ...] | None
    suspicions: tuple[Suspicion, ...] | None
    labelled: int
    problems: tuple[str, ...]


def rank(
    model: Model,
    dataset: Dataset | None,
    images: Sequence[UnlabelledImage] | None,
    without: Collection[str] = (),
) -> Ranking:
    """Predict all images once and rank them.

    Args:
        model: The model.
        dataset: The labelled images; None ranks no labels.
        images: Those that could be labelled next; None ranks no images.
        without: Ids of samples of the data set whose labels say nothing: nobody has drawn any.

    Raises:
        ContractError: the classes of the data set are not the model's.
    """
    label_map = model.label_map
    if dataset is not None and dataset.label_map.names != label_map.names:
        raise ContractError(
            str(dataset.folder),
            f"classes {', '.join(dataset.label_map.names)}",
            f"those of the model, {', '.join(label_map.names)}",
            "convert the labels as for the model's training",
        )
    suspicions = []
    samples = [] if dataset is None else [s for s in dataset if s.id not in without]
    for sample in track(samples, "labelled", len(samples)):
        assert dataset is not None
        label = dataset.mask(sample)
        prediction = model.predict(dataset.image_content(sample))
        found = contradicted_regions(label, prediction.mask, prediction.probability)
        suspicions += [Suspicion(sample.id, sample.group, region) for region in found]
    scores, looks, read, problems = [], [], [], []
    for image in track(images or (), "unlabelled", len(images or ())):
        try:
            prediction = model.predict(image.read())
        except ImageError as error:
            problems.append(f"{image.name}: {error.found}")
            continue
        scores.append(doubt(prediction.probability))
        looks.append(Look.of(prediction.image, image.group))
        read.append(image)
    best_first = [RankedImage(read[at], scores[at]) for at in spread(scores, looks, SPREAD)]
    return Ranking(
        label_map,
        model.digest,
        None if images is None else tuple(best_first),
        None if dataset is None else tuple(sorted(suspicions, key=_suspicion_order)),
        len(samples),
        tuple(problems),
    )


def _suspicion_order(item: Suspicion) -> tuple[float, str, Box]:
    return -item.region.score, item.sample, item.region.box


def folder_of_images(folder: Path, paths: Sequence[Path]) -> list[UnlabelledImage]:
    """Return the images of a folder; the folder that an image lies in is its group."""
    return [
        UnlabelledImage(
            path.relative_to(folder).as_posix(),
            path.parent.relative_to(folder).as_posix().removeprefix("."),
            _reader(path),
        )
        for path in paths
    ]


def _reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(str(path), f"no image ({error.strerror})") from error

    return read


def write_lists(folder: Path, ranking: Ranking) -> list[Path]:
    """Write each list that was asked for as CSV, complete; return the files."""
    names = ranking.label_map.names
    written = []
    if ranking.images is not None:
        images = [
            (place, item.image.name, item.image.group, f"{item.doubt:.4f}")
            for place, item in enumerate(ranking.images, 1)
        ]
        written.append(folder / IMAGES_FILE)
        _write(written[-1], ("rank", "image", "group", "doubt"), images)
    if ranking.suspicions is not None:
        labels = [
            (place, item.sample, item.group, *_region_row(item.region, names))
            for place, item in enumerate(ranking.suspicions, 1)
        ]
        header = (
            "rank", "image", "group", "kind", "labelled", "looks_like", "score", "pixels", "top",
            "left", "bottom", "right",
        )  # fmt: skip
        written.append(folder / LABELS_FILE)
        _write(written[-1], header, labels)
    return written


def _region_row(region: Region, names: Sequence[str]) -> tuple[object, ...]:
    labelled, predicted = names[region.labelled], names[region.predicted]
    score = f"{region.score:.3f}"
    return region.kind, labelled, predicted, score, region.pixels, *region.box


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
