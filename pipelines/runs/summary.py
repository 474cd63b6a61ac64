"""The results of a run as text for a terminal: evaluation, parity, publication."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segmentor.errors import ContractError
from segmentor.plurals import counted
from segmentor.run_record import RunRecord
from segmentor.text_table import text_table

# A longer table is for per_image.csv, not for eyes.
TABLE_ROWS = 12


def summary(record: RunRecord) -> str:
    """Return the evaluation's table, IoU, parity, and the paths of the results.

    A run that trains nothing has its page alone.

    Raises:
        ContractError: what a step wrote is not readable.
    """
    if not any(step.name == "evaluate" for step in record.steps):
        return _run_page(record)
    parity = read_json(record.artifact("export", "parity"))
    deployment = read_json(record.artifact("deploy", "deployment") / "deployment.json")
    return "\n".join(
        [
            *evaluation_lines(record),
            f"parity     torch and ONNX differ by at most "
            f"{parity['max_probability_difference']:.1e} in probability, "
            f"{parity['flipped_pixels']:.0f} of {parity['pixels']:,.0f} pixels flipped",
            f"published  {published_uri(deployment)}",
            _run_page(record),
        ]
    )


def failure_summary(record: RunRecord) -> str:
    """Return the evaluation of a failed run, if it got that far, and the path of its page."""
    is_evaluated = any(step.name == "evaluate" and step.state == "done" for step in record.steps)
    return "\n".join([*(evaluation_lines(record) if is_evaluated else []), _run_page(record)])


def evaluation_lines(record: RunRecord) -> list[str]:
    """Return the evaluation's tables and the IoU.

    Raises:
        ContractError: the run has no evaluation, or it is not readable.
    """
    evaluation = record.artifact("evaluate", "evaluation")
    figures = read_json(evaluation / "evaluation.json")
    return [
        *image_table(evaluation / "per_image.csv", figures["per_image"]),
        "",
        *class_table(figures["classes"]),
        "",
        f"IoU        {_number(figures['dataset']['iou'])} on "
        f"{counted(figures['samples'], 'held-out image')}{_of_how_many(figures['classes'])}",
        *not_measured(figures["classes"]),
        *never_predicted(figures.get("never_predicted", [])),
    ]


def _run_page(record: RunRecord) -> str:
    return f"run page   {record.folder / 'index.html'}"


def image_table(per_image: Path, overall: dict[str, float]) -> list[str]:
    """Return the table image | dice_loss | iou_score, the original's, with its overall row."""
    with per_image.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = [
        (row["image"], _number(row["dice_loss"]), _number(row["iou_score"]))
        for row in rows[:TABLE_ROWS]
    ]
    if len(rows) > TABLE_ROWS:
        shown.append((f"... {len(rows) - TABLE_ROWS} more in {per_image.name}", "", ""))
    end = (
        "overall",
        _number(overall["mean_dice_loss"]),
        _number(overall["mean_iou_score"]),
    )
    return text_table(("image", "dice_loss", "iou_score"), [*shown, end])


def class_table(classes: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of the classes, over all pixels of the set."""
    names = ("iou", "dice", "precision", "recall")
    rows = [
        (item["name"], *(_number(item[name]) for name in names), f"{item['support']:,}")
        for item in classes
    ]
    return text_table(("class", *names, "true pixels"), rows)


def not_measured(classes: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines that name the classes without true pixels; none when all have some."""
    names = [item["name"] for item in classes if not item["support"]]
    if not names:
        return []
    return [f"no truth   {', '.join(names)}: no true pixels in the test set, so not measured"]


def never_predicted(names: Sequence[str]) -> list[str]:
    """Return the line that names the classes the model never predicts; none without any."""
    return [f"never said {', '.join(names)}: predicted for no pixel, so IoU 0"] if names else []


def published_uri(deployment: dict[str, Any]) -> str:
    """Return where the model was published: the folder that a predictor is started on."""
    return str(deployment["uri"])


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that a step wrote.

    Raises:
        ContractError: no such file, or not JSON.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContractError(str(path), f"not readable ({error})", "what a step wrote") from error
    return content


def _of_how_many(classes: Sequence[dict[str, Any]]) -> str:
    """Return over how many classes a mean is taken; '' for a binary model."""
    measured = sum(item["support"] > 0 for item in classes)
    return f", mean of {measured} of {len(classes)} classes" if len(classes) > 2 else ""


def _number(value: Any) -> str:
    return "n/a" if value in ("", None) else f"{float(value):.4f}"
