"""The summary of a run: its state, what failed, what it was asked for."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.cli import output_file
from segmentor.errors import ConfigError
from segmentor.report import Report

logger = logging.getLogger(__name__)

# KFP's own word, and the word of its older backends (ML Metadata).
SUCCEEDED = ("SUCCEEDED", "COMPLETE")


def summarise(
    status: str, run_name: str, run_id: str, parameters: Mapping[str, str], target: Path
) -> dict[str, str]:
    """Writes the summary page; returns its metadata.

    Args:
        status: KFP's PipelineTaskFinalStatus as JSON; its keys differ between backends.
        run_name: Of the run; may be empty.
        run_id: Of the run; may be empty.
        parameters: What the run was asked for.
        target: The page.

    Raises:
        ConfigError: `status` is no JSON object.
    """
    final = _read_status(status)
    state = str(final.get("state", "unknown"))
    message = str((final.get("error") or {}).get("message") or "")
    has_succeeded = state in SUCCEEDED
    page = Report(run_name or "Run", run_id)
    page.notice(
        "Every step is done." if has_succeeded else f"The run ended as {state}. {message}".strip(),
        "good" if has_succeeded else "bad",
    )
    if not has_succeeded:
        page.paragraph("The failed step and its log are marked in the graph of the run.")
    page.section("What it was asked for")
    page.key_values(item for item in parameters.items() if item[1])
    with output_file(target) as partial:
        partial.write_text(page.html(), encoding="utf-8")
    logger.info("run_ended state=%s run=%s", state, run_name)
    return {"state": state, "message": message}


def _read_status(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError("--status", f"'{text[:80]}'", "a JSON object")
    return value
