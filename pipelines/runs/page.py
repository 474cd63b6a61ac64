"""index.html of a run folder: state, figures, reports, steps, artifacts, parameters."""

import shlex
import shutil
from pathlib import Path

from segmentor.image_io import decode_image
from segmentor.report import Report
from segmentor.run_record import RunRecord

FILE_NAME = "index.html"
REPORTS = "reports"
PREDICTIONS = "predictions"
_HTML = "system.HTML"
# Shown large, when the run measured them: step, output, key, what it is.
_FIGURES = (
    ("evaluate", "metrics", "iou", "test IoU"),
    ("evaluate", "metrics", "mean_dice", "mean Dice on test"),
    ("export", "parity", "flipped_pixels", "pixels flipped by ONNX"),
)

_FILES = (
    ("run.json", "the content of this page, for programs"),
    ("configs/parameters.yaml", "the parameters of the pipeline"),
    ("configs/training.yaml", "the resolved configuration of training"),
    ("configs/pipeline.yaml", "the pipeline that ran"),
    ("tensorboard", "events of training"),
)
# Written by evaluate beside its figures: the worst and the best image.
_EXAMPLES = "examples.jpg"


def write_run_page(record: RunRecord) -> Path:
    """Write index.html, and copies of the reports with the suffix that browsers need."""
    reports = _copy_reports(record)
    started = record.started.replace("T", " ")
    page = Report(f"Run of {record.pipeline}", f"{started}, {record.runner} runner")
    page.tiles(
        [
            ("state", record.state),
            ("seconds", f"{record.seconds:.1f}"),
            *_figures(record),
        ]
    )
    for step in record.steps:
        if step.error:
            page.notice(f"{step.name}: {step.error}", "bad")
    for item in record.artifacts:
        for warning in item.warnings:
            page.notice(f"{item.step}: {warning}")
    _add_examples(page, record)
    if reports:
        page.section("Reports")
        page.links(reports)
    overlays = sorted((record.folder / PREDICTIONS).glob("*.overlay.png"))
    if overlays:
        page.section("Predictions", "What the served model answered.")
        page.pictures((path.name, decode_image(path.read_bytes())) for path in overlays)
    _add_record(page, record)
    path = record.folder / FILE_NAME
    path.write_text(page.html(), encoding="utf-8")
    return path


def _add_examples(page: Report, record: RunRecord) -> None:
    """Add the worst and the best image of each evaluation."""
    for item in record.artifacts:
        path = record.folder / item.path / _EXAMPLES
        if item.output == "evaluation" and path.is_file():
            page.section(
                "Worst and best test image",
                "Image, truth, prediction and error from left to right.",
            )
            page.pictures([(item.step, decode_image(path.read_bytes()))], wide=True)


def _add_record(page: Report, record: RunRecord) -> None:
    """Add what run.json says: steps and their logs, artifacts, files, parameters, versions."""
    page.section("Steps")
    page.table(
        ["step", "state", "seconds"],
        [(step.name, step.state, f"{step.seconds:.1f}") for step in record.steps],
    )
    logs = [step for step in record.steps if (record.folder / step.log).is_file()]
    page.links((f"log of {step.name}", step.log, "") for step in logs)
    page.section("Artifacts")
    page.table(
        ["step", "output", "type", "path", "digest"],
        [
            (item.step, item.output, item.type, item.path, item.digest[:19])
            for item in record.artifacts
        ],
    )
    page.section("Files")
    page.links((name, name, note) for name, note in _FILES if (record.folder / name).exists())
    if (record.folder / "tensorboard").exists():
        page.code(f"tensorboard --logdir {shlex.quote(str(record.folder / 'tensorboard'))}")
    page.section("Parameters")
    page.key_values(record.parameters.items())
    page.section("Versions")
    page.key_values(record.versions.items())


def _figures(record: RunRecord) -> list[tuple[str, str]]:
    measured = {(item.step, item.output): item.metadata for item in record.artifacts}
    return [
        (label, f"{measured[step, output][key]:.4g}")
        for step, output, key, label in _FIGURES
        if key in measured.get((step, output), {})
    ]


def _copy_reports(record: RunRecord) -> list[tuple[str, str, str]]:
    """Copy HTML artifacts to reports/<output>.html: an artifact's own name has no suffix."""
    links = []
    for item in record.artifacts:
        if item.type != _HTML:
            continue
        name = "-".join([*Path(item.step).parts[:-1], f"{item.output}.html"])
        target = record.folder / REPORTS / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(record.folder / item.path, target)
        links.append((item.output.replace("_", " "), f"{REPORTS}/{name}", f"by {item.step}"))
    return links
