"""The deployment report: what the gate found, what was and is served, and how to ask the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from components.deploy.gate.candidate import Candidate
from components.deploy.gate.checks import Check, shorten_digests
from components.deploy.kserve.inference_service import Target
from components.deploy.publishing import Publication
from segmentor.inference import decode_for, predict_mask
from segmentor.masks import overlay, overlay_legend, resize_mask
from segmentor.onnx_model import MODEL_FILE, OnnxModel
from segmentor.plurals import counted
from segmentor.report import Report
from segmentor.seen_data import seen_data_notice

PICTURE_WIDTH = 480
LOCAL_PORT = 8081
# Keys of evaluation.json that have an interval: the part it stands in, its key, what it is.
_FIGURES = (
    ("dataset", "iou", "IoU (data set)"),
    ("dataset", "mean_iou", "mean IoU (data set)"),
    ("per_image", "mean_iou_score", "IoU (mean over images)"),
    ("per_image", "mean_dice_loss", "Dice loss (mean over images)"),
)

Picture = tuple[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Outcome:
    """What a deployment did.

    `previous_uri`: where the version lies that was served before; '' when none was. `url`: where
    the model answers; '' when the cluster was left alone.
    """

    target: Target
    publication: Publication
    checks: Sequence[Check]
    previous_uri: str
    is_applied: bool
    url: str


def draw_samples(candidate: Candidate) -> list[Picture]:
    """Run the candidate on the images that are kept with it; return overlays with captions."""
    model = OnnxModel(candidate.files[MODEL_FILE])
    return [
        (name, _draw(model, candidate, content))
        for name, content in sorted(candidate.samples.items())
    ]


def build_report(candidate: Candidate, outcome: Outcome, overlays: Sequence[Picture]) -> Report:
    """Return the page."""
    target, publication = outcome.target, outcome.publication
    iou = candidate.evaluation["dataset"]["iou"]
    report = Report(
        f"Deployment of {target.name}",
        f"version {publication.version}, {candidate.digest}, namespace {target.namespace}",
    )
    report.tiles(
        [
            ("test IoU", f"{iou:.4f}"),
            ("checks passed", f"{sum(c.passed for c in outcome.checks)} of {len(outcome.checks)}"),
            ("served", "yes" if outcome.is_applied else "not yet"),
            ("version", publication.version),
        ]
    )
    _add_state(report, candidate, outcome)
    report.section("Gate", "Every check must pass before a model is published.")
    report.table(
        ["check", "found", "required", "passed"],
        [
            (c.name, shorten_digests(c.found), shorten_digests(c.required), c.passed)
            for c in outcome.checks
        ],
    )
    _add_figures(report, candidate)
    _add_address(report, outcome)
    _add_samples(report, candidate, overlays)
    return report


def _draw(model: OnnxModel, candidate: Candidate, content: bytes) -> NDArray[np.uint8]:
    contract = candidate.contract
    mask = predict_mask(model.forward, contract, content)
    height, width = mask.shape
    shown_width = min(width, PICTURE_WIDTH)
    shown = (max(1, round(height * shown_width / width)), shown_width)
    pixels, _size = decode_for(contract, content)
    image = cv2.resize(pixels, shown[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    return overlay(image, resize_mask(mask, shown), contract.label_map)


def _add_state(report: Report, candidate: Candidate, outcome: Outcome) -> None:
    notice = seen_data_notice(
        candidate.contract, str(candidate.evaluation.get("dataset_digest", ""))
    )
    if notice:
        report.notice(notice, "bad")
    if outcome.is_applied:
        report.notice(
            "Served. The pods are ready and answered the golden images with the evaluated masks.",
            "good",
        )
        before = outcome.previous_uri or "nothing"
    else:
        report.notice(
            "Published but not applied (parameter apply is false): the cluster serves what it "
            "served before.",
            "neutral",
        )
        before = "not looked at, because the cluster was left alone"
    report.key_values(
        [
            ("served before", before),
            ("served now" if outcome.is_applied else "published", outcome.publication.uri),
            ("stored by", "this run" if outcome.publication.is_new else "an earlier run"),
        ]
    )


def _add_figures(report: Report, candidate: Candidate) -> None:
    evaluation = candidate.evaluation
    bounds = evaluation.get("intervals") or {}
    rows = [
        (title, evaluation[part][key], _range(bounds.get(key)))
        for part, key, title in _FIGURES
        if evaluation.get(part, {}).get(key) is not None
    ]
    by_class = bounds.get("classes") or {}
    rows += [
        (f"IoU of {item['name']}", item["iou"], _range(by_class.get(item["name"])))
        for item in evaluation.get("classes", [])
        if item.get("iou") is not None
    ]
    report.section(
        "Figures",
        f"Measured by evaluate on {counted(evaluation['samples'], 'test image')}; the comparison "
        "with the served version is a check of the gate.",
    )
    report.table(["figure", "value", "95 % interval"], rows, 4)


def _range(bounds: Any) -> str:
    if not isinstance(bounds, list) or None in bounds or len(bounds) != 2:
        return "n/a"
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _add_address(report: Report, outcome: Outcome) -> None:
    name, namespace = outcome.target.name, outcome.target.namespace
    report.section("Ask the model")
    if outcome.url:
        report.key_values([("address", outcome.url)])
        report.code(curl_line(outcome.url, name))
        host = urlsplit(outcome.url).hostname or ""
        if not (host.endswith(".svc") or ".svc." in host):
            return
        report.paragraph("The address is inside the cluster. From elsewhere:")
    else:
        report.paragraph(
            "Nothing serves this version yet. Run the pipeline again with apply=true: the steps "
            "before deploy come from KFP's cache. Then:"
        )
    report.code(
        f"kubectl port-forward --namespace {namespace} service/{name}-predictor {LOCAL_PORT}:80 &\n"
        + curl_line(f"http://localhost:{LOCAL_PORT}", name)
    )
    if not outcome.url:
        report.paragraph("Or on one machine, with the object store's credentials:")
        report.code(
            f"python -m serving --model_name {name} --model_dir {outcome.publication.uri} "
            f"--http_port {LOCAL_PORT}"
        )


def curl_line(url: str, name: str) -> str:
    """Return the command that asks a predictor for the mask of a photograph."""
    return (
        "curl --fail --data-binary @photograph.jpg --header 'Content-Type: image/jpeg' \\\n"
        f"  --output mask.png {url.rstrip('/')}/v1/models/{name}:predict"
    )


def _add_samples(report: Report, candidate: Candidate, overlays: Sequence[Picture]) -> None:
    report.section(
        "Golden images",
        "Test images that are kept with the model, and the masks that this model predicts."
        if overlays
        else "None: deploy was given no test set.",
    )
    if overlays:
        report.legend(overlay_legend(candidate.contract.label_map))
        report.pictures(overlays)
