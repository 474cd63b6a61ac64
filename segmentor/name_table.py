"""Names numbered in the order they come, in a third of the memory of a dict of strings.

A data set of a million images has a million names: of files, of samples, of groups.
"""

from array import array
from collections.abc import Iterator

# Slots are filled up to this share, at most.
_FULL = (2, 3)
_FIRST_SLOTS = 16
_CODE_BITS = 0xFFFFFFFF


class NameTable:
    """Distinct names, from number 0 on: a number by its name, and a name by its number.

    It is of one process: its hashes differ in the next.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q", [0])
        # Of each name 32 bits of its hash; `_slots` are numbers + 1, found by it.
        self._codes = array("I")
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __contains__(self, name: str) -> bool:
        return self.number_of(name) is not None

    def __getitem__(self, number: int) -> str:
        return self._bytes_of(number).decode("utf-8", "surrogatepass")

    def number_of(self, name: str) -> int | None:
        """Returns the number of a name, None when it is not there."""
        number = self._slots[self._slot(hash(name) & _CODE_BITS, _encoded(name))]
        return number - 1 if number else None

    def add(self, name: str) -> int:
        """Returns the number of a name, which is the next one when it is new."""
        code, content = hash(name) & _CODE_BITS, _encoded(name)
        slot = self._slot(code, content)
        if self._slots[slot]:
            return self._slots[slot] - 1
        self._text += content
        self._ends.append(len(self._text))
        self._codes.append(code)
        self._slots[slot] = len(self)
        if len(self) * _FULL[1] > len(self._slots) * _FULL[0]:
            self._double()
        return len(self) - 1

    def _slot(self, code: int, content: bytes) -> int:
        """Returns the slot of a name, or the empty one that it would take."""
        slots, codes, last = self._slots, self._codes, len(self._slots) - 1
        slot = code & last
        while number := slots[slot]:
            if codes[number - 1] == code and self._bytes_of(number - 1) == content:
                break
            slot = slot + 1 & last
        return slot

    def _double(self) -> None:
        last = 2 * len(self._slots) - 1
        slots = array("I", bytes(4 * (last + 1)))
        for number, code in enumerate(self._codes, 1):
            slot = code & last
            while slots[slot]:
                slot = slot + 1 & last
            slots[slot] = number
        self._slots = slots

    def _bytes_of(self, number: int) -> bytes:
        return bytes(self._text[self._ends[number] : self._ends[number + 1]])


def _encoded(name: str) -> bytes:
    # JSON may escape half a character.
    return name.encode("utf-8", "surrogatepass")
