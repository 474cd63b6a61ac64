"""Runs all checks at once, each with a time limit, and makes the table of what they found."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipelines.doctor.checks import CHECKS
from pipelines.doctor.finding import Finding, State
from segmentor.text_table import text_table

# The checks start at once, and torch and kfp are slow to import on a busy machine.
LIMIT_SECONDS = 60.0


def examine(subjects: Sequence[str] = tuple(CHECKS), limit: float = LIMIT_SECONDS) -> list[Finding]:
    """Return what the checks found, in their order.

    Args:
        subjects: The checks to run, each in a process of its own.
        limit: Seconds that a check may take.
    """
    with ThreadPoolExecutor(len(subjects)) as pool:
        checked = pool.map(lambda subject: _check(subject, limit), subjects)
        return [finding for findings in checked for finding in findings]


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the lines of the table."""
    rows = [
        [finding.subject, finding.state, " ".join(finding.found.split()), finding.remedy]
        for finding in findings
    ]
    return text_table(["what", "state", "found", "remedy"], rows)


def _check(subject: str, limit: float) -> list[Finding]:
    command = [sys.executable, "-m", "pipelines.doctor", subject]
    alone = f"see: python -m pipelines.doctor '{subject}'"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        found = f"no answer within {limit:.0f} s"
        return [Finding(subject, State.FAILS, found, alone)]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Finding(subject, State.FAILS, f"the check broke: {last}", alone)]
    return [
        Finding(**{**finding, "state": State(finding["state"])})
        for finding in json.loads(done.stdout)
    ]
