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
FAILED = ("FAILED", "CANCELED", "CANCELLED", "ERROR", "SYSTEM_ERROR")
# How KFP passes what was not given.
NOTHING = ("", "[]")


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
    page = Report(run_name or "Run", f"Run {run_id}" if run_id else "")
    if state in SUCCEEDED:
        page.notice("Every step is done.", "good")
    elif state in FAILED:
        page.notice(f"The run ended as {state}. {message}".strip(), "bad")
        page.paragraph("The failed step and its log are marked in the graph of the run.")
    else:
        # The backend asks its record of the group, which may lag behind the group's last step.
        page.notice(f"Kubeflow had not recorded yet how the run ended (state {state}).")
        page.paragraph("The graph of the run shows it.")
    page.section("What it was asked for")
    page.key_values(item for item in parameters.items() if item[1] not in NOTHING)
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
