"""Counts in messages: `1 image`, `2 images`."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun; the plural adds an s unless it is given."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
