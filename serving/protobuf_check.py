"""Counts what a protobuf message holds before it is parsed: two bytes may become a hundred.

An empty submessage is two bytes on the wire and an object in memory, and a packed number is one
byte for eight, so the limit on a message's bytes does not bound its memory.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from typing import Any

import numpy as np

from serving.json_body import check_values
from serving.refusals import BadInput, TooLarge

# A request has one input, sixteen images at most, and what parameters a client likes to send.
MAX_FIELDS = 1_000
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


def check_message(body: bytes, descriptor: Any) -> None:
    """Checks fields and packed numbers of a message, those of its submessages too.

    Args:
        body: The message as it came.
        descriptor: Of the message, by protobuf; fields that it does not have count as well.

    Raises:
        BadInput: not a protobuf message.
        TooLarge: more fields, or more numbers, than a request may have.
    """
    _Walk(memoryview(body)).check(descriptor, 0, len(body))


class _Walk:
    def __init__(self, body: memoryview) -> None:
        self.body = body
        self.fields = 0
        self.numbers = 0

    def check(self, descriptor: Any, start: int, end: int) -> None:
        position = start
        while position < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise TooLarge(f"a message of more than {MAX_FIELDS} fields")
            key, position = self._varint(position, end)
            kind = key & 7
            if kind == _VARINT:
                _, position = self._varint(position, end)
            elif kind in _FIXED:
                position += _FIXED[kind]
            elif kind == _LENGTH:
                length, position = self._varint(position, end)
                if position + length > end:
                    raise _malformed()
                if descriptor is not None:
                    field = descriptor.fields_by_number.get(key >> 3)
                    self._check_value(field, position, position + length)
                position += length
            else:
                raise _malformed()
        if position != end:
            raise _malformed()

    def _check_value(self, field: Any, start: int, end: int) -> None:
        if field is None:
            return
        if field.message_type is not None:
            self.check(field.message_type, start, end)
        elif field.cpp_type != field.CPPTYPE_STRING:  # numbers, packed
            width = _WIDTHS.get(field.type)
            codes = np.frombuffer(self.body[start:end], np.uint8)
            # Of varints the last byte alone has its high bit clear.
            count = len(codes) // width if width else int(np.count_nonzero(codes < 128))
            self.numbers += count
            check_values(self.numbers)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                break
            byte = self.body[position]
            value |= (byte & 127) << shift
            position += 1
            if byte < 128:
                return value, position
        raise _malformed()


# Bytes of one packed number of the types that have a fixed width, by FieldDescriptor's TYPE_*.
_WIDTHS = {1: 8, 2: 4, 6: 8, 7: 4, 15: 4, 16: 8}


def _malformed() -> BadInput:
    return BadInput("not a ModelInferRequest: malformed protobuf")
