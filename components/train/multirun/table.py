"""The comparison of a multirun: a page, a CSV file, and a table for the terminal."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from components.cli import output_file
from components.train.multirun.one_training import REPORT, Result
from segmentor.plurals import counted
from segmentor.report import Report
from segmentor.text_table import text_table

FIGURES = ("val_iou", "val_loss", "train_iou", "best_epoch", "epochs", "images_per_s", "elapsed_s")
CSV, PAGE = "comparison.csv", "comparison.html"


def write_tables(output: Path, results: Sequence[Result]) -> str:
    """Write both files; return the table for the terminal."""
    ordered = ranked(results)
    header, rows = table(ordered)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with output_file(output / CSV) as path:
        path.write_text(text.getvalue(), encoding="utf-8")
    with output_file(output / PAGE) as path:
        path.write_text(page(ordered), encoding="utf-8")
    short = [[row[0], *map(_short, row[1:-1]), row[-1]] for row in rows]
    return "\n".join(text_table(header, short)) + "\n"


def ranked(results: Sequence[Result]) -> list[Result]:
    """Sort by validation IoU, the best first; failures last."""
    return sorted(results, key=lambda result: -result.metrics.get("val_iou", float("-inf")))


def table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Return a row for each training: folder, values that vary, figures, and how it ended."""
    names = [item.partition("=")[0] for item in results[0].varied]
    header = ["run", *names, *FIGURES, "note"]
    rows = [
        [
            result.folder.name,
            *(item.partition("=")[2] for item in result.varied),
            *(_number(result.metrics.get(name)) for name in FIGURES),
            f"pruned after epoch {result.pruned_after}" if result.pruned_after else result.error,
        ]
        for result in results
    ]
    return header, rows


def page(ordered: Sequence[Result]) -> str:
    """Return the page: the best training, all of them, and where each one's report is."""
    done = [result for result in ordered if result.is_done]
    failed = sum(bool(result.error) for result in ordered)
    pruned = len(ordered) - len(done) - failed
    subtitle = f"{counted(len(ordered), 'training')}, {len(done)} to their end"
    report = Report("Comparison of trainings", subtitle + (f", {pruned} pruned" if pruned else ""))
    if done:
        report.tiles(
            [
                ("best IoU on val", done[0].metrics.get("val_iou", float("nan"))),
                ("its run", done[0].folder.name),
                ("failed", failed),
            ]
        )
        report.paragraph(f"Best with {_values(done[0])}")
    for result in ordered:
        if result.error:
            name = f"{result.folder.name} ({_values(result)})"
            report.notice(f"{name} failed: {result.error}", "bad")
    report.section(
        "Trainings",
        "Figures are of each run's best epoch, on the validation set and at the network's own "
        "resolution: compare runs of different sizes by evaluate, on the test set.",
    )
    header, rows = table(ordered)
    # Errors stand above.
    notes = ["" if result.error else row[-1] for result, row in zip(ordered, rows, strict=True)]
    columns = len(header) if pruned else -1
    cells = [[row[0], *map(_shown, row[1:-1]), note] for row, note in zip(rows, notes, strict=True)]
    report.table(header[:columns], [row[:columns] for row in cells])
    if done:
        report.chart(bars(done))
    report.section("Reports")
    report.links((f"{r.folder.name}", f"{r.folder.name}/{REPORT}", _values(r)) for r in done)
    return report.html()


def bars(done: Sequence[Result]) -> Figure:
    """Draw the IoU on val of each run that was trained to its end, the best on top."""
    figure = Figure(figsize=(8, 0.6 + 0.35 * len(done)), layout="constrained")
    axis = figure.subplots()
    labels = [f"{result.folder.name}  {_values(result)}" for result in done]
    values = [result.metrics.get("val_iou", 0.0) for result in done]
    drawn = axis.barh(range(len(done)), values, color="tab:blue")
    axis.bar_label(drawn, fmt="%.3f", padding=3)
    axis.set_yticks(range(len(done)), labels)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.08)
    axis.set_xlabel("IoU on val")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _values(result: Result) -> str:
    """The values that vary, as overrides."""
    pairs = (item.partition("=") for item in result.varied)
    return " ".join(f"{key}={_short(value)}" for key, _, value in pairs)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def _short(cell: str) -> str:
    """Four digits of what has many: a search draws numbers to the last digit."""
    return f"{float(cell):.4g}" if re.fullmatch(r"[\d.]{8,}(e[-+]\d+)?", cell) else cell


def _shown(cell: str) -> str | float:
    """Keep numbers as numbers, so that the page aligns them to the right."""
    try:
        return float(_short(cell))
    except ValueError:
        return cell
