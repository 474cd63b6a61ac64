"""Reads what each checkpoint measured on val, copies the best, and reports them all."""

import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.cli import output_file, output_folder
from segmentor.contract import ModelContract
from segmentor.errors import ConfigError, ContractError
from segmentor.report import Report

logger = logging.getLogger(__name__)

CONTRACT = "contract.json"
# Where the launcher puts an artifact, unless it has a path of its own.
# Source: kubeflow/pipelines, component.LocalPathForURI; kfp.dsl.Artifact.path.
_FOLDERS = {"minio": "/minio", "s3": "/s3", "gs": "/gcs"}


@dataclass(frozen=True)
class Candidate:
    """One checkpoint and what training measured; `index` is its place in the sweep, from 0."""

    index: int
    path: Path
    measured: dict[str, Any]
    network: str


def listed_checkpoints(executor_input: str) -> list[Path]:
    """Return the paths of the input list `checkpoints`; no placeholder of KFP names them.

    Raises:
        ConfigError: the text is no ExecutorInput, or lists no checkpoints.
    """
    try:
        listed = json.loads(executor_input)["inputs"]["artifacts"]["checkpoints"]["artifacts"]
        return [_local_path(artifact) for artifact in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "--executor-input", f"no list of checkpoints ({error!r})", "'{{$}}'", "or --checkpoints"
        ) from error


def choose(
    checkpoints: Sequence[Path], metric: str, target: Path, report: Path
) -> dict[str, dict[str, str | int | float]]:
    """Copy the checkpoint with the greatest metric; the first one of equals.

    Args:
        checkpoints: Folders that train wrote.
        metric: Its name among what training measured.
        target: Where the copy goes.
        report: Where the page goes.

    Raises:
        ConfigError: no checkpoint.
        ContractError: a checkpoint is not readable, or has no such metric.
    """
    if not checkpoints:
        raise ConfigError("--checkpoints", "none", "at least one")
    candidates = [_read(index, path, metric) for index, path in enumerate(checkpoints)]
    best = max(candidates, key=lambda item: (item.measured[metric], -item.index))
    with output_folder(target) as folder:
        shutil.copytree(best.path, folder, dirs_exist_ok=True)
    with output_file(report) as page:
        page.write_text(_report(candidates, best, metric), encoding="utf-8")
    logger.info("chosen index=%d %s=%.4f", best.index, metric, best.measured[metric])
    return {
        "checkpoint": {"chosen_index": best.index, metric: float(best.measured[metric])},
    }


def _read(index: int, path: Path, metric: str) -> Candidate:
    where = str(path / CONTRACT)
    try:
        text = (path / CONTRACT).read_text(encoding="utf-8")
        config = (path / "config.yaml").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ContractError(str(path), "no checkpoint", "a folder that train wrote") from None
    measured = ModelContract.from_text(text, where).provenance
    value = measured.get(metric)
    if not isinstance(value, int | float) or not math.isfinite(value):
        known = [name for name, item in measured.items() if isinstance(item, float)]
        raise ContractError(where, f"{metric} is {value!r}", "a number", f"it has {known}")
    return Candidate(index, path, measured, _network(config))


def _network(config: str) -> str:
    import yaml

    model = (yaml.safe_load(config) or {}).get("model", {})
    return f"{model.get('architecture', '?')} {model.get('encoder', '?')}"


def _report(candidates: Sequence[Candidate], best: Candidate, metric: str) -> str:
    page = Report("Choice of a checkpoint", f"by {metric}, the greatest wins")
    page.tiles(
        [
            ("checkpoints", len(candidates)),
            ("chosen", f"number {best.index}"),
            (metric, f"{best.measured[metric]:.4f}"),
        ]
    )
    columns = ("val_iou", "val_loss", "best_epoch", "epochs")
    ranked = sorted(candidates, key=lambda item: (-item.measured[metric], item.index))
    page.section("All, best first")
    page.table(
        ["number", "network", *columns],
        [
            (item.index, item.network, *(item.measured.get(name, "") for name in columns))
            for item in ranked
        ],
    )
    return page.html()


def _local_path(artifact: dict[str, str]) -> Path:
    if path := artifact.get("customPath"):
        return Path(path)
    uri = artifact["uri"]
    scheme, separator, rest = uri.partition("://")
    # Without a scheme it is a path already: kfp.local's URIs are.
    return Path(_FOLDERS[scheme], rest) if separator else Path(uri)
