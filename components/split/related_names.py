"""Images that belong together by their names: copies and tiles of one picture, and of one patient.

Augmented copies are flipped, turned and recoloured, so neither their files nor their perceptual
hashes are alike; only their names tell: `x_jpg.rf.<hash>`, `x_aug_3`, `x_flipped`, `x_copy`.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.name_numbers import HASH, name_of
from components.split.sample_table import SampleTable
from segmentor.plurals import counted

# A name that a larger share of all images has does not tell one picture from another.
LARGEST_SHARE = 0.25
FEW_COPIES = 8
# With fewer pictures, what looks like a grid of tiles may be something else.
LEAST_PICTURES = 3
# Rows and columns of tiles are pixels, at least so far apart; drives, slices and frames count by 1.
LEAST_STRIDE = 16
# How many folders or beginnings of names are shown.
_SHOWN = 4

_WORDS = (
    "aug(?:mented|mentation)?|[hv]?flip(?:ped)?|mirror(?:ed)?|rot(?:ate|ated|ation)?|crop(?:ped)?|"
    "bright(?:ness|er|ened)?|dark(?:er|ened)?|contrast|blur(?:red)?|nois[ey]|gamma|hue|saturation|"
    "shear(?:ed)?|zoom(?:ed)?|scaled?|shift(?:ed)?|transposed?|elastic|jitter|"
    "copy(?:[ _-]of)?|dup(?:licate)?|clahe|gr[ae]y(?:scale)?|invert(?:ed)?|orig(?:inal)?"
)
_ROBOFLOW = re.compile(r"(?:_(?:jpe?g|png|bmp|tiff?|webp))?\.rf\.[0-9a-z]{8,}$", re.IGNORECASE)
_BEHIND = re.compile(rf"(?:[ _.-]+(?:{_WORDS})[ _.-]*(?:\d{{1,4}})?)+$", re.IGNORECASE)
_BEFORE = re.compile(
    rf"^(?:(?:{_WORDS})[ _-]*\d{{1,4}}[ _-]+(?=.*[a-z])|(?:{_WORDS})[ _-]+(?=.*\w))+", re.IGNORECASE
)
_NUMBERED_COPY = re.compile(r" ?\(\d{1,3}\)$| - copy(?: \(\d+\))?$", re.IGNORECASE)
_AXIS = r"(?:x|y|r|c|row|col|column)[_-]?\d+"
_TILE = re.compile(
    rf"[ _.-]+(?:(?:tile|patch|chip)s?(?:[ _-]*\d+){{1,2}}|{_AXIS}[ _-]*{_AXIS})$", re.IGNORECASE
)
# Most names match none of the patterns: one search tells.
_ANY = re.compile(rf"\.rf\.|{_WORDS}|\(\d|tile|patch|chip|{_AXIS}|[0-9a-f]{{8}}", re.IGNORECASE)
_GRID = re.compile(r"^(.*\w)[ _-](\d{1,6})[ _x-](\d{1,6})$")
_SITE = re.compile(
    r"(?:^|[/_ -])((?:patient|pat|case|subject|subj|sub|person|volunteer|site|series|scan|study|"
    r"volume|vol|slide|plot|field|farm|camera|cam|drive|seq|sequence|scene|flight|day)[_ -]?\d+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Related:
    """Images of one picture: pairs of positions to keep together, and of how many pictures.

    `too_many` are pairs whose name too many images have: they are only told of.
    """

    pairs: tuple[tuple[int, int], ...] = ()
    pictures: int = 0
    too_many: tuple[tuple[int, int], ...] = ()


NOTHING_RELATED = Related()


def related(table: SampleTable) -> Related:
    """Find the copies and the tiles of each picture."""
    names = [name_of(table, position) for position in range(len(table))]
    known = frozenset(names)
    keys = [_source(name, known) for name in names]
    grids = _grids(keys)
    members: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        members.setdefault(grids.get(key, key), []).append(position)
    pairs: list[tuple[int, int]] = []
    too_many: list[tuple[int, int]] = []
    pictures = 0
    largest = max(FEW_COPIES, LARGEST_SHARE * len(table))
    for positions in members.values():
        if len(positions) > 1:
            chain = list(zip(positions, positions[1:], strict=False))
            if len(positions) > largest:
                too_many += chain
            else:
                pictures += 1
                pairs += chain
    return Related(tuple(pairs), pictures, tuple(too_many))


def _source(name: str, names: Container[str]) -> str:
    """Return the name of the picture that an image was made of: its own, for most.

    Args:
        name: The name of the image.
        names: The names of all images.
    """
    if not _ANY.search(name):
        return name
    folder, slash, plain = name.rpartition("/")
    while True:
        shorter = _TILE.sub("", _ROBOFLOW.sub("", plain))
        for pattern in (_NUMBERED_COPY, _BEHIND, _BEFORE):
            without = pattern.sub("", shorter)
            # The only number of a name counts pictures (`corn_crop_0012`, `photo (12)`).
            counts = re.search(r"\d", shorter) and not re.search(r"\d", without)
            if not counts or f"{folder}{slash}{without}" in names:
                shorter = without
        without_hash = HASH.sub("", shorter).strip("_.- ")
        # A name that is all hash, or has no number beside it, is the picture's own.
        if re.search(r"\d", without_hash):
            shorter = without_hash
        if not re.search(r"\w", shorter):
            return name
        if shorter == plain:
            return f"{folder}{slash}{plain}"
        plain = shorter


def _grids(names: Sequence[str]) -> dict[str, str]:
    """Return the picture of each tile whose name ends in its row and column, in pixels.

    It takes several pictures that are all cut into full grids of one shape. Small numbers are no
    sign of tiles: the frames of several drives are also a full grid (`country_01_000003`).
    """
    cells: dict[str, set[tuple[int, int]]] = {}
    for name in names:
        if match := _GRID.match(name):
            cells.setdefault(match[1], set()).add((int(match[2]), int(match[3])))
    shapes = {
        picture: (len({row for row, _ in found}), len({column for _, column in found}))
        for picture, found in cells.items()
    }
    full = {
        picture: shape
        for picture, shape in shapes.items()
        if min(shape) > 1 and shape[0] * shape[1] == len(cells[picture])
        if all(_are_pixels(axis) for axis in zip(*cells[picture], strict=True))
    }
    usual, count = Counter(full.values()).most_common(1)[0] if full else ((0, 0), 0)
    if count < LEAST_PICTURES or count * 2 < len(cells):
        return {}
    found_names = {}
    for name in names:
        match = _GRID.match(name)
        if match and full.get(match[1]) == usual:
            found_names[name] = match[1]
    return found_names


def _are_pixels(numbers: Sequence[int]) -> bool:
    """Tell offsets of tiles, 0 and then a stride at a time, from numbers that count."""
    offsets = sorted(set(numbers))
    return offsets[0] == 0 and offsets[1] >= LEAST_STRIDE


def torn_of(pairs: Sequence[tuple[int, int]], splits: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Return the pairs whose images are in different splits."""
    return [(left, right) for left, right in pairs if splits[left] != splits[right]]


def torn_sites(table: SampleTable, splits: NDArray[np.int8]) -> str:
    """Point out folders or names that look like patients or sites and are in several splits.

    Returns a sentence with the pattern to use; "" where there is nothing of the kind, or where
    images are grouped already.
    """
    if table.group_count < len(table):
        return ""
    names = [name_of(table, position) for position in range(len(table))]
    for what, pattern, key_of in _ways(names):
        if not key_of(names[0]):
            continue
        keys = [key_of(name) for name in names]
        counts = Counter(keys)
        if "" in counts or not 2 <= len(counts) <= len(names) / 2:
            continue
        held: dict[str, set[int]] = {}
        for key, split in zip(keys, splits.tolist(), strict=True):
            held.setdefault(key, set()).add(split)
        torn = [key for key, found in held.items() if len(found) > 1]
        if not torn:
            continue
        shown = ", ".join(sorted(counts)[:_SHOWN]) + (", ..." if len(counts) > _SHOWN else "")
        across = counted(len(torn), "of them is", "of them are")
        return (
            f"{what.format(len(counts))} ({shown}), and {across} in several "
            "splits. If each is a patient, a site, a film or one large picture, the figures will "
            f"be better than on new data: use --group-pattern '{pattern}'."
        )
    return ""


def _ways(names: Sequence[str]) -> Iterator[tuple[str, str, Callable[[str], str]]]:
    """Yield ways to tell groups from names: what to say, the pattern, and a name's group."""
    yield "Images lie in {:,} folders", "^([^/]+)/", _before_slash
    yield "Images lie in {:,} folders", "^(.*)/", lambda name: name.rpartition("/")[0]
    first = _SITE.search(names[0]) if names else None
    if first:
        word = re.sub(r"[_ -]?\d+$", "", first[1])
        site = re.compile(rf"({re.escape(word)}[_ -]?\d+)")
        yield "Names have {:,} parts like", site.pattern, lambda name: _first(site, name)
    pattern = r"^(.*\d.*?)[_ .-]+[A-Za-z]*\d+$"
    beginning = re.compile(pattern)
    yield "Names have {:,} beginnings", pattern, lambda name: _first(beginning, name)


def _before_slash(name: str) -> str:
    return name.split("/", 1)[0] if "/" in name else ""


def _first(pattern: re.Pattern[str], name: str) -> str:
    match = pattern.search(name)
    return match[1] if match else ""
