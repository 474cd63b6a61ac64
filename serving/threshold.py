"""A client's own threshold of a binary model: what `?threshold=` says, `parameters` may say too."""

from typing import Any

from serving.refusals import BadInput

THRESHOLD = "threshold"


def read_threshold(value: Any) -> float | None:
    """Reads the parameter `threshold` of a request; None says nothing of it.

    Text is taken as well: the parameters of KServe's own gRPC message know no fractions.

    Raises:
        BadInput: no number. Whether it suits the model is checked where it is used.
    """
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except ValueError as error:
        found = str(value)[:40]
        raise BadInput(f"threshold: found '{found}', expected a number in (0, 1)") from error


def one_threshold(query: float | None, parameter: float | None) -> float | None:
    """Returns the threshold that is given: in the query or in the body.

    Raises:
        BadInput: in both.
    """
    if query is not None and parameter is not None:
        raise BadInput("threshold: in the query and in 'parameters', expected one of them")
    return parameter if query is None else query
