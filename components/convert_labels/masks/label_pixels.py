"""Colour masks and index masks of an export to masks of our label map, by table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.classes.mapping import ClassMapping
from components.convert_labels.masks.palettes import (
    Palette,
    is_reordered,
    seen_as_binary,
    used_palette,
)
from components.convert_labels.raw_labels import (
    BLACK,
    UNLABELLED,
    ColourLabel,
    Export,
    Finding,
    IndexLabel,
)
from segmentor.errors import LabelMapError, MaskError
from segmentor.image_io import (
    ImageHeader,
    alpha_of,
    decode_image,
    decode_values,
    palette_of,
    read_header,
)
from segmentor.label_map import IGNORE_INDEX, Colour, LabelClass
from segmentor.plurals import counted

_LARGEST = np.iinfo(np.uint16).max
RENUMBER = "number the classes 0 to 254 (255 is 'no ground truth')"
_WEBP_LOSSY = b"VP8 "


class ClassListError(MaskError):
    """An index mask has more than two classes, and no class list says which they are."""

    def __init__(self, where: str, found: str, highest: int) -> None:
        remedy = "add a classes.txt, the name of each index, one a line"
        remedy = remedy if highest <= IGNORE_INDEX else RENUMBER
        super().__init__(where, found, "0 and 1, or 0 and 255", remedy)
        self.highest = highest


@dataclass(frozen=True)
class PixelTables:
    """What each colour, and each index, of the export's masks becomes.

    colours: (colour, target) pairs; indices: (index, target) pairs.
    """

    colours: tuple[tuple[Colour, int], ...]
    indices: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ReadMask:
    """A mask, uint8 (H, W); the palette entries it uses; what is odd about its pixels."""

    pixels: NDArray[np.uint8]
    palette: Palette = ()
    findings: tuple[Finding, ...] = ()


def make_tables(export: Export, mapping: ClassMapping) -> PixelTables:
    """Make the tables of an export's classes.

    Raises:
        LabelMapError: two labels share a colour and are to become different classes.
    """
    targets = {**mapping.targets, UNLABELLED: mapping.unlabelled}
    classes = export.classes
    if not export.is_by_colour:
        values = export.index_values or tuple(range(len(classes)))
        return PixelTables(
            (), tuple((v, targets[label.name]) for v, label in zip(values, classes, strict=True))
        )
    owners: dict[Colour, LabelClass] = {}
    for label in classes:
        other = owners.setdefault(label.colour, label)
        if targets[other.name] != targets[label.name]:
            raise LabelMapError(
                "label map of the export",
                f"'{other.name}' and '{label.name}' have the same colour {label.colour}",
                "one colour a label",
                "export as CVAT for images 1.1, or merge the two with --classes (or --label-map)",
            )
    colours = {colour: targets[label.name] for colour, label in owners.items()}
    if UNLABELLED not in [label.name for label in classes]:
        colours.setdefault(BLACK, mapping.unlabelled)
    return PixelTables(tuple(colours.items()), ())


def read_colours(label: ColourLabel, tables: PixelTables) -> ReadMask:
    """Read a colour mask.

    Raises:
        ImageError: it cannot be decoded.
        MaskError: it is lossy, or has a colour that no label has; the first pixel is named.
    """
    content, name = label.file.read(), label.file.name
    header = _lossless_header(content, name)
    rgb = _rgb(content, header, name)
    _refuse_shape_in_alpha(np.asarray(rgb.any(axis=2)), alpha_of(content, name), name)
    # Four bytes a pixel make one number: red + 256 green + 65536 blue + alpha.
    codes = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view(np.uint32)[:, :, 0] & 0xFFFFFF
    positions, values = _colour_table(tables)
    found = positions[codes]
    if not found.all():
        y, x = (int(v) for v in np.argwhere(found == 0)[0])
        colour = tuple(int(v) for v in rgb[y, x])
        unknown = int(np.count_nonzero(found == 0))
        listed = ", ".join(str(c) for c, _ in tables.colours[:8])
        raise MaskError(
            name,
            f"colour {colour} at (y={y}, x={x}), {counted(unknown, 'pixel')} of no label's colour",
            f"one of {listed}{', ...' if len(tables.colours) > 8 else ''}",
            "add its label to the label map of the export",
        )
    pixels = cv2.LUT(found, values) if found.itemsize == 1 else values[found]
    return ReadMask(np.asarray(pixels, np.uint8))


@lru_cache(maxsize=1)
def _colour_table(tables: PixelTables) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8]]:
    """Return the position of each 24-bit colour, 0 for unknown ones, and the value of each."""
    # As large as all colours, but only touched pages take memory.
    positions = np.zeros(1 << 24, np.min_scalar_type(len(tables.colours)))
    values = np.zeros(max(256, len(tables.colours) + 1), np.uint8)
    for position, ((red, green, blue), target) in enumerate(tables.colours, 1):
        positions[red | green << 8 | blue << 16] = position
        values[position] = target
    return positions, values


def read_indices(label: IndexLabel, tables: PixelTables) -> ReadMask:
    """Read an index mask, or a binary one of 0 and 1 or 255.

    Raises:
        ImageError: it cannot be decoded.
        MaskError: it is lossy, or has an index that no label has; the first pixel is named.
        ClassListError: the same, where there is no class list.
    """
    content, name = label.file.read(), label.file.name
    header = _lossless_header(content, name)
    raw = _raw_values(content, header, name)
    palette: Palette = ()
    if header.mode == "P" and (colours := palette_of(content, name)) is not None:
        palette = used_palette(np.asarray(raw, np.uint8), colours)
    seen = seen_as_binary(raw, palette) if label.is_binary else raw
    ignored = 0 if label.is_binary else IGNORE_INDEX
    drawn: NDArray[np.bool_] = np.not_equal(seen, 0) & np.not_equal(seen, ignored)
    _refuse_shape_in_alpha(drawn, alpha_of(content, name), name)
    findings = _palette_order(palette, name)
    if seen is not raw:
        palette, findings = (), ()  # its colours were read, so its order does not matter
    indices = _as_bytes(seen, label, tables, name)
    values, known = _index_values(label, tables)
    stray = ~known[indices]
    if stray.any():
        y, x = (int(v) for v in np.argwhere(stray)[0])
        raise _unlisted(label, tables, name, y, x, int(indices[y, x]), int(indices[stray].max()))
    if label.is_binary and (indices == 1).any() and (indices == IGNORE_INDEX).any():
        raise MaskError(
            name,
            "both 1 and 255",
            "0 and 1, or 0 and 255",
            "a classes.txt, one name a line, makes 255 'no ground truth'",
        )
    if not label.is_binary:
        findings += _only_ignored(indices, tables, name)
    return ReadMask(np.asarray(values[indices]), palette, findings)


def _lossless_header(content: bytes, name: str) -> ImageHeader:
    """Return the header; refuse formats that change the values of pixels."""
    header = read_header(content, name)
    if header.format == "JPEG" or (header.format == "WEBP" and _WEBP_LOSSY in content[:64]):
        raise MaskError(
            name,
            f"a {header.format}, which is lossy: its pixels lost the exact values of the classes",
            "PNG",
            "save the masks as PNG in the tool that made them; converting this file is too late",
        )
    return header


def _raw_values(content: bytes, header: ImageHeader, name: str) -> NDArray[np.generic]:
    """Return the one channel (H, W) of a mask, or that of three equal ones."""
    if header.mode in ("1", "L", "P", "F") or header.mode.startswith("I"):
        return decode_values(content, name)
    rgb = _rgb(content, header, name)
    indices = np.ascontiguousarray(rgb[:, :, 0])
    differs = (rgb != indices[:, :, None]).any(axis=2)
    if differs.any():
        y, x = (int(v) for v in np.argwhere(differs)[0])
        raise MaskError(
            name,
            f"colour {tuple(int(v) for v in rgb[y, x])} at (y={y}, x={x})",
            "an index mask of one channel",
            "give a labelmap.txt (name:r,g,b::) or label_colors.txt (r g b name) for colour masks",
        )
    return indices


def _refuse_shape_in_alpha(
    drawn: NDArray[np.bool_], alpha: NDArray[np.uint8] | None, name: str
) -> None:
    """Refuse a mask that shows something else than its values: its objects are what is opaque."""
    if alpha is None or alpha.min() == alpha.max():
        return
    if drawn.all() or not drawn.any() or drawn[alpha == 0].any():
        found = "an alpha channel that hides some of its pixels"
        remedy = "paint it on black and save it without transparency"
        raise MaskError(name, found, "a mask without transparency", remedy)


def _rgb(content: bytes, header: ImageHeader, name: str) -> NDArray[np.uint8]:
    """Decode a mask of colours to uint8 (H, W, 3); 16 bits a channel only if nothing is lost."""
    deep = header.format == "PNG" and content[24:25] == b"\x10"
    if (deep or header.format == "TIFF") and header.mode in ("RGB", "RGBA", "LA"):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.dtype == np.uint16:
            if (pixels % 257 == 0).all():
                pixels = pixels // 257
            elif pixels.max() > IGNORE_INDEX:
                raise MaskError(name, "16 bits a channel", "8 bits", "save it with 8 bits")
            channels = cv2.split(pixels.astype(np.uint8))
            # Grey with alpha has two channels; otherwise blue is first.
            order = channels[2::-1] if len(channels) >= 3 else [channels[0]] * 3
            return np.asarray(cv2.merge(order), np.uint8)
    return decode_image(content, name)


def _as_bytes(
    raw: NDArray[np.generic], label: IndexLabel, tables: PixelTables, name: str
) -> NDArray[np.uint8]:
    """Return values of 8, 16 or 32 bits, or floats, as uint8: exactly, or not at all."""
    if raw.dtype == np.uint8:
        return np.asarray(raw, np.uint8)
    values = np.asarray(raw, np.float64)
    if label.is_binary and set(np.unique(values)) <= {0.0, float(_LARGEST)}:
        return np.where(values > 0, np.uint8(IGNORE_INDEX), np.uint8(0))
    wrong = ~((values >= 0) & (values <= IGNORE_INDEX) & (values == np.floor(values)))
    if not wrong.any():
        return values.astype(np.uint8)
    y, x = (int(v) for v in np.argwhere(wrong)[0])
    value = float(values[y, x])
    bits = f"of {8 * raw.dtype.itemsize} bits"
    if not value.is_integer():
        found = f"value {value:g} at (y={y}, x={x}) in a mask {bits}"
        raise MaskError(name, found, "whole numbers: class indices", "round them where it is made")
    raise _unlisted(label, tables, name, y, x, int(value), int(values.max()), f" in a mask {bits}")


def _unlisted(
    label: IndexLabel,
    tables: PixelTables,
    name: str,
    y: int,
    x: int,
    value: int,
    highest: int,
    kind: str = "",
) -> MaskError:
    found = f"class index {value} at (y={y}, x={x}){kind}"
    if label.is_binary:
        return ClassListError(name, found, highest)
    listed = [index for index, _ in tables.indices]
    whole = listed == list(range(len(listed)))
    expected = f"0..{len(listed) - 1}" if whole else ", ".join(map(str, listed[:8]))
    remedy = "extend the class list" if 0 <= value <= IGNORE_INDEX else RENUMBER
    return MaskError(name, found, f"{expected} or {IGNORE_INDEX}", remedy)


def _palette_order(palette: Palette, name: str) -> tuple[Finding, ...]:
    """Report a palette whose index 0 is not black while another index is."""
    if not is_reordered(palette):
        return ()
    shown = ", ".join(f"{index} is {colour}" for index, colour in palette[:4])
    return (Finding("palette order", f"{name}: {shown}"),)


def _only_ignored(
    indices: NDArray[np.uint8], tables: PixelTables, name: str
) -> tuple[Finding, ...]:
    """Report a mask of 0 and 255 alone: 255 may be meant as the class."""
    listed = dict(tables.indices)
    count = int(np.count_nonzero(indices == IGNORE_INDEX))
    if not count or IGNORE_INDEX in listed or np.count_nonzero(indices) != count:
        return ()
    pixels = counted(count, "pixel")
    return (Finding("255 alone", f"{name}: {pixels} of 255, which is 'no ground truth'"),)


def _index_values(
    label: IndexLabel, tables: PixelTables
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    targets: Mapping[int, int] = dict(tables.indices)
    values = np.full(256, IGNORE_INDEX, np.uint8)
    known = np.zeros(256, np.bool_)
    for index, target in targets.items():
        values[index], known[index] = target, True
    if not known[IGNORE_INDEX]:
        known[IGNORE_INDEX] = True
        if label.is_binary:
            values[IGNORE_INDEX] = targets[1]
    return values, known
