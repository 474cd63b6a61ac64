"""JSON bodies: parsed only when what they hold fits into memory as Python objects."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.refusals import BadInput, TooLarge

# An image of 1,000 x 1,000 as nested lists: three numbers and a bracket a pixel. An empty list is
# three bytes of text and 64 of memory, so the limit on the body's bytes does not bound it.
MAX_VALUES = 1 << 22
# A number of a reply takes some 20 bytes as text, and 32 as an object of Python.
MAX_REPLY_VALUES = 1 << 23
_SURELY_FEW_BYTES = 1 << 20
# An object takes as much memory as several numbers.
_WEIGHTS = {",": 1, "[": 1, "{": 4}


def parse_json(body: bytes | memoryview) -> Any:
    """Parses a JSON body.

    Raises:
        BadInput: not JSON.
        TooLarge: more values than `MAX_VALUES`; base64 text counts as one.
    """
    if len(body) > _SURELY_FEW_BYTES:
        codes = np.frombuffer(body, np.uint8)
        values = sum(
            weight * np.count_nonzero(codes == ord(character))
            for character, weight in _WEIGHTS.items()
        )
        check_values(int(values))
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"body: not JSON ({error})") from error


def read_parameters(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns the `parameters` of an object; it need not have any.

    Raises:
        BadInput: they are no object.
    """
    parameters = item.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadInput(f"{where}: expected 'parameters' as an object")
    return parameters


def read_numbers(value: Any, where: str) -> NDArray[np.float64]:
    """Makes an array of nested lists of numbers.

    Raises:
        BadInput: lists of different lengths, or anything but numbers in them.
    """
    try:
        # As objects first: numpy would make every element as wide as the longest text among them.
        items = np.asarray(value, object)
        if not set(map(type, items.ravel().tolist())) <= {int, float}:
            raise BadInput(f"{where}: expected a regular list of numbers")
        return items.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"{where}: expected a regular list of numbers") from error


def check_values(count: int) -> None:
    """Checks how many numbers come one by one rather than as bytes.

    Raises:
        TooLarge: more than `MAX_VALUES`.
    """
    if count > MAX_VALUES:
        raise TooLarge(
            f"{count:,} values in lists, at most {MAX_VALUES:,}; "
            "send the image encoded, or as a binary tensor"
        )


def check_reply_values(count: int) -> None:
    """Checks how many numbers of a reply would go out one by one rather than as bytes.

    Raises:
        TooLarge: more than `MAX_REPLY_VALUES`.
    """
    if count > MAX_REPLY_VALUES:
        raise TooLarge(
            f"an output of {count:,} values as a list, at most {MAX_REPLY_VALUES:,}; "
            "ask for binary data (REST), or send raw contents (gRPC)"
        )
