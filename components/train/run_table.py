"""The comparison of a multirun: a page, a CSV file, and a table for the terminal."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from components.cli import output_file
from components.train.multirun import REPORT, Result
from segmentor.report import Report

FIGURES = ("val_iou", "val_loss", "train_iou", "best_epoch", "epochs", "images_per_s", "elapsed_s")
CSV, PAGE = "comparison.csv", "comparison.html"


def write_tables(output: Path, results: Sequence[Result]) -> str:
    """Writes both files; returns the table for the terminal."""
    ordered = ranked(results)
    header, rows = table(ordered)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with output_file(output / CSV) as path:
        path.write_text(text.getvalue(), encoding="utf-8")
    with output_file(output / PAGE) as path:
        path.write_text(page(ordered), encoding="utf-8")
    return aligned(header, rows)


def ranked(results: Sequence[Result]) -> list[Result]:
    """The best validation IoU first; failures last."""
    return sorted(results, key=lambda result: -result.metrics.get("val_iou", float("-inf")))


def table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """A row a combination: its folder, the values that vary, its figures, and why it failed."""
    names = [item.partition("=")[0] for item in results[0].varied]
    header = ["run", *names, *FIGURES, "error"]
    rows = [
        [
            result.folder.name,
            *(item.partition("=")[2] for item in result.varied),
            *(_number(result.metrics.get(name)) for name in FIGURES),
            result.error,
        ]
        for result in results
    ]
    return header, rows


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to the widest value; the last one is left as it is."""
    lines = [header, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header) - 1)]
    padded = (
        [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded) + "\n"


def page(ordered: Sequence[Result]) -> str:
    """The page: the best combination, all of them, and where each one's report is."""
    done = [result for result in ordered if not result.error]
    report = Report("Comparison of trainings", f"{len(ordered)} combinations, {len(done)} trained")
    if done:
        report.tiles(
            [
                ("best IoU on val", done[0].metrics.get("val_iou", float("nan"))),
                ("its run", done[0].folder.name),
                ("failed", len(ordered) - len(done)),
            ]
        )
        report.paragraph(f"Best with {' '.join(done[0].varied)}")
    for result in ordered:
        if result.error:
            name = f"{result.folder.name} ({' '.join(result.varied)})"
            report.notice(f"{name} failed: {result.error}", "bad")
    report.section(
        "Combinations",
        "Figures are of each run's best epoch, on the validation set and at the network's own "
        "resolution: compare runs of different sizes by evaluate, on the test set.",
    )
    header, rows = table(ordered)
    # Without the errors, which stand above.
    report.table(header[:-1], [[row[0], *map(_shown, row[1:-1])] for row in rows])
    if done:
        report.chart(bars(done))
    report.section("Reports")
    report.links(
        (f"{r.folder.name}", f"{r.folder.name}/{REPORT}", " ".join(r.varied)) for r in done
    )
    return report.html()


def bars(done: Sequence[Result]) -> Figure:
    """IoU on val of each run that was trained, the best on top."""
    figure = Figure(figsize=(8, 0.6 + 0.35 * len(done)), layout="constrained")
    axis = figure.subplots()
    labels = [f"{result.folder.name}  {' '.join(result.varied)}" for result in done]
    values = [result.metrics.get("val_iou", 0.0) for result in done]
    drawn = axis.barh(range(len(done)), values, color="tab:blue")
    axis.bar_label(drawn, fmt="%.3f", padding=3)
    axis.set_yticks(range(len(done)), labels)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.08)
    axis.set_xlabel("IoU on val")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def _shown(cell: str) -> str | float:
    """Numbers as numbers, so that the page sets them to the right."""
    try:
        return float(cell)
    except ValueError:
        return cell
