"""JSON bodies: parsed only if their values fit into memory as Python objects."""

import base64
import binascii
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.refusals import BadInput, TooLarge

THRESHOLD = "threshold"
# Enough for an image of 1,000 x 1,000 as nested lists: three numbers and a bracket a pixel. An
# empty list is three bytes of text and 64 of memory, so the limit on bytes does not bound memory.
MAX_VALUES = 1 << 22
# A number takes about 20 bytes as text, and 32 as a Python object.
MAX_REPLY_VALUES = 1 << 23
_SURELY_FEW_BYTES = 1 << 20
# An object takes as much memory as several numbers.
_WEIGHTS = {",": 1, "[": 1, "{": 4}


def parse_json(body: bytes | memoryview) -> Any:
    """Parse a JSON body.

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
    """Return the optional `parameters` of an object.

    Raises:
        BadInput: they are not an object.
    """
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadInput(f"{where}: expected 'parameters' as an object")
    return parameters


def read_numbers(value: Any, where: str) -> NDArray[np.float64]:
    """Convert nested lists of numbers to an array.

    Raises:
        BadInput: the lists are ragged, or hold something else.
    """
    try:
        # As objects first: NumPy would make every element as wide as the longest text.
        items = np.asarray(value, object)
        if not set(map(type, items.ravel().tolist())) <= {int, float}:
            raise BadInput(f"{where}: expected a regular list of numbers")
        return items.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"{where}: expected a regular list of numbers") from error


def check_values(count: int) -> None:
    """Check how many numbers of a request are list elements rather than bytes.

    Raises:
        TooLarge: more than `MAX_VALUES`.
    """
    if count > MAX_VALUES:
        raise TooLarge(
            f"{count:,} values in lists, at most {MAX_VALUES:,}; "
            "send the image encoded, or as a binary tensor"
        )


def check_reply_values(count: int) -> None:
    """Check how many numbers of a reply would be list elements rather than bytes.

    Raises:
        TooLarge: more than `MAX_REPLY_VALUES`.
    """
    if count > MAX_REPLY_VALUES:
        raise TooLarge(
            f"an output of {count:,} values as a list, at most {MAX_REPLY_VALUES:,}; "
            "ask for binary data (REST), or send raw contents (gRPC)"
        )


def to_pixels(array: NDArray[np.float64], where: str) -> NDArray[np.uint8]:
    """Convert numbers to uint8.

    Raises:
        BadInput: a value outside 0..255, or a fraction.
    """
    if not ((array >= 0) & (array <= 255) & (array % 1 == 0)).all():
        raise BadInput(f"{where}: values outside 0..255, or fractions")
    return array.astype(np.uint8)


def decode_base64(text: str, where: str) -> bytes:
    """Decode base64.

    Raises:
        BadInput: not base64, or with line breaks or a `data:` prefix.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        reason = str(error)
        if text.startswith("data:"):
            reason = "found a 'data:' prefix; send only what follows 'base64,'"
        elif any(character in text for character in "\r\n"):
            reason = "found line breaks; send it as one line (base64 -w0)"
        elif any(character in text for character in "-_"):
            reason = "found '-' or '_'; use the standard alphabet with '+' and '/'"
        raise BadInput(f"{where}: not base64 ({reason})") from error


def read_threshold(value: Any) -> float | None:
    """Read the parameter `threshold`; None means that the request has none.

    Text is accepted too, because the parameters of KServe's gRPC message have no floats.

    Raises:
        BadInput: not a number in (0, 1).
    """
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        threshold = float(value)
        if not 0 < threshold < 1:  # refuses NaN too
            raise ValueError
    except ValueError as error:
        found = str(value)[:40]
        raise BadInput(f"threshold: found '{found}', expected a number in (0, 1)") from error
    return threshold
