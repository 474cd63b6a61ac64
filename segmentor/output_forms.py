"""The forms of output, one entry each, for every protocol of the predictor and for its client.

docs/extending.md has the recipe for another one.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import OUTPUT_NAME
from segmentor.image_io import encode_index, encode_png
from segmentor.label_map import LabelMap
from segmentor.masks import overlay
from segmentor.run_length import ClassRuns

MASK = "mask"
JSON = "json"
# What a form may need beside the mask; each costs memory, so it is made only on request.
Need = Literal["probability", "canvas"]


_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Prediction:
    """The results for one image, all at its own size, upright.

    `mask`: uint8 (H, W), class indices. `probability`: float32 (C, H, W), if a form needs it.
    `canvas`: RGB uint8 (H, W, 3), the image itself, if a form needs it.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.float32] | None = None
    canvas: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class TensorForm:
    """A form as a V2 tensor, in REST and gRPC.

    Attributes:
        datatype: V2's name of the type.
        shape: The shape in the metadata, given the number of the network's channels.
        array: The array of one image; those of a request are stacked.
    """

    datatype: Literal["UINT8", "FP32"]
    shape: Callable[[int], list[int]]
    array: Callable[[Prediction], NDArray[Any]]


@dataclass(frozen=True)
class OutputForm:
    """One form of output.

    Attributes:
        media_type: Type of a reply in this form; `Accept` chooses by it.
        beginning: The first bytes of every such reply; the client checks them.
        encode: Bytes of that type for one prediction.
        needs: What `encode` and the tensor read beside the mask.
        tensor: The form in V2 and gRPC; None if it has none.
        file_suffix: Suffix of the file that `segmentor predict` writes; None if it writes none.
    """

    media_type: str
    beginning: bytes
    encode: Callable[[Prediction, LabelMap], bytes]
    needs: frozenset[Need] = frozenset()
    tensor: TensorForm | None = None
    file_suffix: str | None = None


def describe(prediction: Prediction, label_map: LabelMap) -> dict[str, Any]:
    """Return size and classes as JSON: pixels, coverage and COCO run-length encoding of each."""
    height, width = prediction.mask.shape
    runs = ClassRuns(prediction.mask)
    pixels = runs.pixels(len(label_map))
    return {
        "size": [height, width],
        "classes": [
            {
                "index": index,
                "name": label.name,
                "colour": list(label.colour),
                "pixels": pixels[index],
                "coverage": round(pixels[index] / prediction.mask.size, 6),
                "rle": {"size": [height, width], "counts": runs.counts(index)},
            }
            for index, label in enumerate(label_map.classes)
        ],
    }


def _probability(prediction: Prediction) -> NDArray[np.float32]:
    assert prediction.probability is not None  # `needs` asks for it
    return prediction.probability


def _encode_classes(prediction: Prediction, label_map: LabelMap) -> bytes:
    import orjson  # the predictor has it; its clients read this table without

    return orjson.dumps(describe(prediction, label_map))


def _encode_overlay(prediction: Prediction, label_map: LabelMap) -> bytes:
    assert prediction.canvas is not None  # `needs` asks for it
    return encode_png(overlay(prediction.canvas, prediction.mask, label_map))


def _encode_probability(prediction: Prediction, label_map: LabelMap) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _probability(prediction))
    return buffer.getvalue()


OUTPUT_FORMS: dict[str, OutputForm] = {
    MASK: OutputForm(
        "image/png",
        _PNG,
        lambda prediction, _: encode_index(prediction.mask),
        tensor=TensorForm("UINT8", lambda channels: [-1, -1, -1], lambda p: p.mask),
        file_suffix=".mask.png",
    ),
    "overlay": OutputForm(
        "image/png", _PNG, _encode_overlay, frozenset({"canvas"}), file_suffix=".overlay.png"
    ),
    JSON: OutputForm(
        "application/json",
        b"{",
        _encode_classes,
    ),
    OUTPUT_NAME: OutputForm(
        "application/x-npy",
        b"\x93NUMPY",
        _encode_probability,
        frozenset({"probability"}),
        TensorForm("FP32", lambda channels: [-1, channels, -1, -1], _probability),
    ),
}


def needs(names: Iterable[str]) -> frozenset[Need]:
    """Return what the named forms need beside the mask."""
    return frozenset[Need]().union(*(OUTPUT_FORMS[name].needs for name in names))


def tensor_forms() -> Mapping[str, TensorForm]:
    """Return the forms that V2 and gRPC have, by name."""
    return {name: form.tensor for name, form in OUTPUT_FORMS.items() if form.tensor is not None}
