"""The page that an annotator works through: labels to look at, and images to label next."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Dataset, Sample
from segmentor.label_map import LabelMap
from segmentor.masks import brightened, overlay, overlay_legend
from segmentor.model import Model
from segmentor.ranking.images import margins
from segmentor.ranking.labels import BORDER, MISSED, Box, Region
from segmentor.ranking.ranking import IMAGES_FILE, LABELS_FILE, RankedImage, Ranking, Suspicion
from segmentor.report import Report

# Of each list; the CSV files have all.
SHOWN = 24
_PICTURE_WIDTH = 400
_GAP = 6
_MARK = (255, 0, 255)


def build_report(
    ranking: Ranking, model: Model, dataset: Dataset | None, links: Mapping[str, str] | None = None
) -> Report:
    """Build the page; the model predicts again what it shows.

    Args:
        ranking: Both lists.
        model: The model that ranked.
        dataset: The labelled images.
        links: Address of an image in CVAT, by the name of the image or the id of the sample.
    """
    report = Report(
        "What to label next", f"model {ranking.model_digest.removeprefix('sha256:')[:12]}"
    )
    tiles = []
    if ranking.images is not None:
        tiles.append(("unlabelled images", len(ranking.images)))
    if ranking.suspicions is not None:
        tiles.append(("labelled images", ranking.labelled))
        tiles.append(("places where label and model differ", len(ranking.suspicions)))
    report.tiles(tiles)
    for problem in ranking.problems:
        report.notice(problem)
    links = links or {}
    if ranking.suspicions and dataset is not None:
        _add_suspicions(report, ranking.suspicions, model, dataset, links)
    if ranking.images:
        _add_images(report, ranking.images, model, links, has_legend=bool(ranking.suspicions))
    return report


def advice(region: Region, label_map: LabelMap) -> str:
    """Say what an annotator should look at, in a few words."""
    labelled, predicted = label_map.names[region.labelled], label_map.names[region.predicted]
    if region.kind == MISSED:
        return f"Missed object? This looks like {predicted}; it is labelled {labelled}."
    if region.kind == BORDER:
        return f"Shifted border? {predicted} seems to reach into {labelled} here."
    return f"Wrong class? This is labelled {labelled}; it looks like {predicted}."


def _add_suspicions(
    report: Report,
    suspicions: Sequence[Suspicion],
    model: Model,
    dataset: Dataset,
    links: Mapping[str, str],
) -> None:
    shown = suspicions[:SHOWN]
    report.section(
        "Labels that are probably wrong",
        "The model rules these labels out, and not along a narrow border alone. Left: the image. "
        "Middle: the label. Right: the prediction. The box marks the place. Many are right all the "
        f"same: decide by the image. At most {SHOWN} are shown; {LABELS_FILE} has all.",
    )
    report.legend(overlay_legend(model.label_map))
    samples = {sample.id: sample for sample in dataset}
    pictures = []
    for place, item in enumerate(shown, 1):
        top, left, bottom, right = item.region.box
        caption = (
            f"{place}. {item.sample}: {advice(item.region, model.label_map)} "
            f"x {left} to {right}, y {top} to {bottom}"
        )
        pictures.append((caption, _look(item, samples[item.sample], model, dataset)))
    report.pictures(pictures, wide=True)
    _add_links(report, [item.sample for item in shown], links)


def _add_images(
    report: Report,
    images: Sequence[RankedImage],
    model: Model,
    links: Mapping[str, str],
    has_legend: bool,
) -> None:
    shown = images[:SHOWN]
    report.section(
        "Images to label next",
        "First those that the model doubts most, on average over the pixels. Images wait if one "
        "before them is of the same group or looks alike. Left: the image. Middle: the prediction. "
        f"Right: where the model is in doubt (bright). At most {SHOWN} are shown; "
        f"{IMAGES_FILE} has all.",
    )
    if not has_legend:
        report.legend(overlay_legend(model.label_map))
    pictures = []
    for place, item in enumerate(shown, 1):
        group = f" ({item.image.group})" if item.image.group else ""
        caption = f"{place}. {item.image.name}{group}: doubt {item.doubt:.0%}"
        pictures.append((caption, _doubt(item, model)))
    report.pictures(pictures, wide=True)
    _add_links(report, [item.image.name for item in shown], links)


def _add_links(report: Report, names: list[str], links: Mapping[str, str]) -> None:
    known = [(name, links[name], "") for name in dict.fromkeys(names) if name in links]
    if known:
        report.paragraph("In CVAT:")
        report.links(known)


def _look(item: Suspicion, sample: Sample, model: Model, dataset: Dataset) -> NDArray[np.uint8]:
    """Draw image, label and prediction around a region, side by side."""
    prediction = model.predict(dataset.image_content(sample))
    image, label = brightened(prediction.image), dataset.mask(sample)
    top, left, bottom, right = item.region.box
    window = _window(item.region.box, sample.size)
    pictures = []
    for picture in (
        image,
        overlay(image, label, prediction.label_map),
        overlay(image, prediction.mask, prediction.label_map),
    ):
        cut = picture[window]
        scale = _PICTURE_WIDTH / cut.shape[1]
        shown = _resized(cut)
        corners = (
            (
                round((left - window[1].start) * scale) - 2,
                round((top - window[0].start) * scale) - 2,
            ),
            (
                round((right - window[1].start) * scale) + 1,
                round((bottom - window[0].start) * scale) + 1,
            ),
        )
        cv2.rectangle(shown, *corners, _MARK, 2)
        pictures.append(shown)
    return _side_by_side(pictures)


def _doubt(item: RankedImage, model: Model) -> NDArray[np.uint8]:
    prediction = model.predict(item.image.read())
    doubted = 1 - margins(prediction.probability)
    heat = cv2.applyColorMap((doubted * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    image = brightened(prediction.image)
    drawn = overlay(image, prediction.mask, prediction.label_map)
    return _side_by_side([_resized(picture) for picture in (image, drawn, heat)])


def _window(box: Box, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns around a box: three times its size, a third of the image or more."""
    slices = []
    for first, last, length in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        extent = min(length, max(3 * (last - first), length // 3))
        start = min(max(0, (first + last - extent) // 2), length - extent)
        slices.append(slice(start, start + extent))
    return slices[0], slices[1]


def _resized(picture: NDArray[Any]) -> NDArray[np.uint8]:
    height = max(1, round(picture.shape[0] * _PICTURE_WIDTH / picture.shape[1]))
    resized = cv2.resize(
        np.ascontiguousarray(picture), (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA
    )
    return np.asarray(resized, np.uint8)


def _side_by_side(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)
