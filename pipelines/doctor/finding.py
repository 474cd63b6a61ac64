"""One row of the table that `segmentor doctor` prints."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How something is: only what is set up and does not work is a failure."""

    WORKS = "works"
    OFF = "off"
    FAILS = "fails"


@dataclass(frozen=True)
class Finding:
    """What was examined, how it is, and what to do about it."""

    subject: str
    state: State
    found: str
    remedy: str = ""
