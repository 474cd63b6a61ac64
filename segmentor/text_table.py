"""A table of plain text, for terminals and logs."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[+-]?[\d,.]+%?|n/a|")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; columns of numbers are aligned to the right."""
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    widths = [max(map(len, [name, *cells])) for name, cells in zip(header, columns, strict=True)]
    align = [str.rjust if all(map(_NUMBER.fullmatch, cells)) else str.ljust for cells in columns]
    lines = [header, ["-" * width for width in widths], *rows]
    return [
        " | ".join(
            pad(cell, width) for pad, cell, width in zip(align, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
