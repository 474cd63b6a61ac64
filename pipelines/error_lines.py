"""Finds a step's own error in its log: the one line that its front door writes."""

import re
from collections.abc import Sequence

_ERROR = re.compile(r"^(?:python -m \S+: )?error: (?P<message>.+)$")


def error_of(lines: Sequence[str]) -> str:
    """Return the message of the last error line; '' when there is none."""
    matches = (_ERROR.match(line) for line in reversed(lines))
    return next((match["message"] for match in matches if match), "")
