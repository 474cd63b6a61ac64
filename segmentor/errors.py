"""The error tree: every failure a user can cause or fix is a SegmentorError with facts attached.

    SegmentorError
      DataError          the input data is wrong
        LabelMapError      names, colours or indices of classes are inconsistent
        MaskError          a mask holds a value that the label map does not have
        ImageError         an image cannot be decoded
          ImageSizeError   it has more pixels than allowed
        SplitError         the data set cannot be split as asked
      ConfigError        an option or configuration value is wrong
      ContractError      a checkpoint, model or artifact is not what it should be
      DeployError        the gate refused, or the cluster did
      StoreError         the object store is away, or refuses
      TrainingError      training cannot go on (NaN, out of memory, nothing to learn)
      PredictorError     the predictor is away, or refuses
      CvatError          the CVAT server is away, or refuses

A message reads *where: found X, expected Y; do Z*. Command lines print it on one line and exit 3.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from segmentor.plurals import counted

# Causes that one message names.
FIRST_PROBLEMS = 10
# Places named for a cause besides the first.
_PLACES = 3
_NUMBERS = re.compile(r"\d[\d,.]*")


def did_you_mean(near: Sequence[str]) -> str:
    """Return a remedy that suggests a similar name; "" if there is none."""
    return f"did you mean {', '.join(near)}?" if near else ""


class SegmentorError(Exception):
    """A failure with a known cause: where it is, what was found, what was expected, what to do."""

    def __init__(self, where: str, found: str, expected: str = "", remedy: str = "") -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.remedy = remedy
        message = f"{where}: {found}"
        if expected:
            message += f", expected {expected}"
        if remedy:
            message += f"; {remedy}"
        super().__init__(message)

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, str, str]]:
        # The default pickles `args` (the message), which a worker process could not raise again.
        return type(self), (self.where, self.found, self.expected, self.remedy)


@dataclass(frozen=True)
class Problem:
    """One of many errors that are reported together: its place, the full sentence, the cause."""

    place: str
    text: str
    cause: str = ""

    @classmethod
    def of(cls, place: str, error: SegmentorError, advice: str = "") -> Self:
        """Make a problem of the error of one sample; its text begins with the sample's place."""
        text = str(error) + (f"; {advice}" if advice else "")
        cause = text[len(error.where) :]
        if place not in error.where:
            # Keep the name alone: the place includes it.
            text = place + (cause if place.startswith(error.where) else f": {text}")
        return cls(place, text, cause)


def by_cause(problems: Sequence[Problem]) -> list[str]:
    """Return a line for each cause, the most frequent first; numbers and places do not count."""
    causes: dict[str, list[Problem]] = {}
    for problem in problems:
        cause = problem.cause or problem.text
        for name in (problem.place, problem.place.rpartition("/")[2]):
            if len(name) > 1:  # "a" is also a word
                cause = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", cause)
        causes.setdefault(_NUMBERS.sub("0", cause), []).append(problem)
    return [_line(alike) for alike in sorted(causes.values(), key=len, reverse=True)]


def _line(alike: Sequence[Problem]) -> str:
    first, *others = alike
    if not others:
        return first.text
    places = ", ".join(problem.place for problem in others[:_PLACES])
    more = ", ..." if len(others) > _PLACES else ""
    return f"{first.text} ({len(alike):,} times: also {places}{more})"


class DataError(SegmentorError):
    """The input data is wrong."""

    @classmethod
    def collected(cls, where: str, problems: Sequence[Problem], remedy: str = "") -> Self:
        """Return one error for many bad samples: their count, and each cause once."""
        causes = by_cause(problems)
        shown = "; ".join(causes[:FIRST_PROBLEMS])
        more = len(causes) - FIRST_PROBLEMS
        tail = f"; and {counted(more, 'more kind')}" if more > 0 else ""
        count = counted(len(problems), "problem")
        return cls(where, f"{count}: {shown}{tail}", remedy=remedy)


class LabelMapError(DataError):
    """Class names, colours or indices are inconsistent."""


class MaskError(DataError):
    """A mask holds a value that the label map does not have, or has the wrong size."""


class ImageError(DataError):
    """An image cannot be decoded, or is larger than allowed."""


class ImageSizeError(ImageError):
    """An image has more pixels than allowed."""


class SplitError(DataError):
    """The data set cannot be split as asked."""


class ConfigError(SegmentorError):
    """An option or configuration value is wrong."""


class ContractError(SegmentorError):
    """A checkpoint, a model or an artifact is not what it should be."""


class DeployError(SegmentorError):
    """The gate refused the model, or the cluster refused the manifest."""


class StoreError(SegmentorError):
    """The object store is away, or refuses."""


class TrainingError(SegmentorError):
    """Training cannot go on."""


class PredictorError(SegmentorError):
    """The predictor is away, or refuses."""


class CvatError(SegmentorError):
    """The CVAT server is away, or refuses."""
