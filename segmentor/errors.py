"""The error tree: every failure a user can cause or mend is a SegmentorError with facts attached.

    SegmentorError
      DataError          the input data is wrong
        LabelMapError      names, colours or indices of classes do not add up
        MaskError          a mask holds something the label map does not know
        ImageError         an image cannot be decoded
          ImageSizeError   it has more pixels than allowed
        SplitError         the data set cannot be split as asked
      ConfigError        an option or configuration value is wrong
      ContractError      a checkpoint, model or artifact is not what it should be
      DeployError        the gate refused, or the cluster did
      StoreError         the object store is away, or refuses
      TrainingError      training cannot go on (NaN, out of memory, nothing to learn)
      PredictorError     the predictor is away, or refuses

A message reads *where: found X, expected Y; do Z*. Command lines print it on one line and exit 3.
"""

from collections.abc import Sequence
from typing import Self

FIRST_PROBLEMS = 10


def did_you_mean(near: Sequence[str]) -> str:
    """Returns the remedy that names what is near to a wrong name; "" when nothing is."""
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
        # The default pickles `args` (the message): a worker process could not raise it again.
        return type(self), (self.where, self.found, self.expected, self.remedy)


class DataError(SegmentorError):
    """The input data is wrong."""

    @classmethod
    def collected(cls, where: str, problems: Sequence[str], remedy: str = "") -> Self:
        """One error for many bad samples: their count, and the first ten."""
        first = "; ".join(problems[:FIRST_PROBLEMS])
        more = len(problems) - FIRST_PROBLEMS
        tail = f"; and {more} more" if more > 0 else ""
        noun = "problem" if len(problems) == 1 else "problems"
        return cls(where, f"{len(problems)} {noun}: {first}{tail}", remedy=remedy)


class LabelMapError(DataError):
    """Class names, colours or indices do not add up."""


class MaskError(DataError):
    """A mask holds something that the label map does not know, or has the wrong size."""


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
