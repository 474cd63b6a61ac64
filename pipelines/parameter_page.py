"""docs/parameters.md: every option of every step, as the dataclasses declare it."""

import json
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING

from components.options import Option, options_of
from components.predict_batch.options import PredictBatchOptions
from pipelines import labelling, segmentation, sweep

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PAGE = Path(__file__).parent.parent / "docs" / "parameters.md"
_HEAD = """\
# Pipeline parameters

`segmentor run` and `segmentor submit` take them as `--param name=value`, the pipelines UI as a
form; `--export` is `source`. A step's own command has a flag of the same name (`--min-iou`). What a
step does with them is in [labels](labels.md), [training](training.md), [serving](serving.md) and
[cluster](cluster.md). `segmentor compile` writes this page.
"""
# Of each pipeline; one that several have stands with the first.
_KINDS = (*segmentation.OPTIONS, *sweep.OPTIONS, *labelling.OPTIONS, PredictBatchOptions)
_NOTES = {
    "SweepOptions": "In `--pipeline sweep`, instead of `train_overrides`.",
    "ChooseOptions": "In `--pipeline sweep`.",
    "ProposeOptions": "In `--pipeline labelling`.",
    "PredictBatchOptions": "In `--pipeline predict_batch`, which takes no others.",
}


def parameter_page() -> str:
    """Return the page; an option that several steps share stands with the first."""
    parts, seen = [_HEAD], set[str]()
    for kind in dict.fromkeys(_KINDS):
        rows = []
        for name, item in options_of(kind).items():
            if name not in seen and not item.local_because:
                rows.append(_row(item))
                seen.add(name)
        parts.append(_section(kind, rows))
    return "\n".join(parts)


def write_page() -> Path:
    """Write the page; return where."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(parameter_page(), encoding="utf-8")
    return PAGE


def _section(kind: "type[DataclassInstance]", rows: list[str]) -> str:
    title = (kind.__doc__ or "").splitlines()[0]
    package, *module = kind.__module__.split(".")
    step = module[0] if package == "components" and len(module) > 1 else ""
    lines = [f"## {step or kind.__name__.removesuffix('Options').lower()}", "", title]
    if note := _NOTES.get(kind.__name__):
        lines[-1] += f" {note}"
    table = ["", "| parameter | default | what it is |", "|---|---|---|", *rows]
    return "\n".join([*lines, *table, ""])


def _row(item: Option) -> str:
    default = "required" if item.default is MISSING else f"`{json.dumps(item.default)}`"
    text = item.help.replace("<", "&lt;")  # <bucket> is not HTML
    return f"| `{item.name}` | {default} | {text} |"
