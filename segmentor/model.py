"""Open a model and predict images: what notebooks, scripts and tools of other people stand on."""

import io
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmentor.errors import DataError
from segmentor.image_io import decode_image, decode_index, encode_png
from segmentor.inference import decode_for, mask_at, mask_of, probability_at
from segmentor.label_map import LabelMap
from segmentor.masks import overlay
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri, is_object_uri
from segmentor.onnx_model import OnnxModel
from segmentor.predictor_client import Predictor
from segmentor.run_record import FILE_NAME as RUN_FILE
from segmentor.run_record import RunRecord
from segmentor.tiling import is_tiled, tiled

# A path, an encoded image, RGB uint8 (H, W, 3), or an image of Pillow's.
ImageLike = str | Path | bytes | NDArray[np.uint8] | Image.Image


class Prediction:
    """What a model says of one image, at the image's own size, upright.

    Attributes:
        mask: uint8 (H, W), class indices.
        label_map: What the indices mean.
    """

    def __init__(
        self,
        mask: NDArray[np.uint8],
        label_map: LabelMap,
        probability: Callable[[], NDArray[np.float32]],
        image: Callable[[], NDArray[np.uint8]],
    ) -> None:
        self.mask = mask
        self.label_map = label_map
        self._probability = probability
        self._image = image

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """float32 (C, H, W), 0..1: of each class, or of the foreground alone if C is 1."""
        return self._probability()

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """The image itself, RGB uint8 (H, W, 3)."""
        return self._image()

    @property
    def confidence(self) -> NDArray[np.float32]:
        """float32 (H, W): the probability of the class that the mask has at each pixel."""
        if len(self.probability) == 1:
            foreground = self.probability[0]
            sure = np.where(self.mask == 1, foreground, 1 - foreground)
            return np.asarray(sure, np.float32)
        chosen = np.take_along_axis(self.probability, self.mask[None].astype(np.int64), axis=0)
        return np.asarray(chosen[0], np.float32)

    def overlay(self, opacity: float = 0.5) -> NDArray[np.uint8]:
        """Blend the mask's colors over the image; returns RGB uint8 (H, W, 3)."""
        return overlay(self.image, self.mask, self.label_map, opacity)


class Model(Protocol):
    """A model that predicts: from a file, or behind an address."""

    @property
    def digest(self) -> str:
        """Digest of model.onnx: `sha256:<hex>`."""

    @property
    def label_map(self) -> LabelMap:
        """The classes."""

    def predict(self, image: ImageLike) -> Prediction:
        """Predict one image.

        Raises:
            ImageError: it cannot be decoded.
        """


class LocalModel:
    """A model.onnx, run by onnxruntime in this process: the same pixels as the predictor's."""

    def __init__(self, path: Path, threads: int | None = None, where: str | None = None) -> None:
        """Load a model.

        Args:
            path: model.onnx, or a folder that holds it.
            threads: Threads of onnxruntime; None takes the CPUs this process may use.
            where: What to call it in errors; None takes the path.

        Raises:
            ContractError: there is no model, or no contract in it.
        """
        self._model = OnnxModel(path, threads, where=where)

    @property
    def digest(self) -> str:
        """Digest of model.onnx: `sha256:<hex>`."""
        return self._model.digest

    @property
    def label_map(self) -> LabelMap:
        """The classes."""
        return self._model.contract.label_map

    def predict(self, image: ImageLike) -> Prediction:
        """Predict one image.

        Raises:
            ImageError: it cannot be decoded.
            DataError: an array that is no RGB uint8 (H, W, 3).
        """
        contract = self._model.contract
        source = _read(image)
        if isinstance(source, bytes):
            content, where = source, str(image) if isinstance(image, str | Path) else "image"
            pixels, size = decode_for(contract, content, where)

            def picture() -> NDArray[np.uint8]:
                return decode_image(content, where, white=contract.input.white)
        else:
            array = pixels = source
            size = (pixels.shape[0], pixels.shape[1])

            def picture() -> NDArray[np.uint8]:
                return array

        forward = self._model.forward
        if is_tiled(contract, size):
            # The probability of all classes may be too much to keep when only the mask is wanted.
            mask = mask_of(forward, contract, pixels, size)
            return Prediction(
                mask, contract.label_map, lambda: tiled(forward, contract)(pixels[None])[0], picture
            )
        probability = forward(pixels[None])[0]  # (C, h, w)
        return Prediction(
            mask_at(probability, contract, size),
            contract.label_map,
            lambda: probability_at(probability, size),
            picture,
        )


class RemoteModel:
    """A model behind the address of a predictor, or of a gateway in front of one."""

    def __init__(self, url: str, name: str = "") -> None:
        """Ask a predictor for its model.

        Args:
            url: Such as http://127.0.0.1:8080.
            name: The model's name; empty asks the server, which must then have only one.

        Raises:
            PredictorError: no answer, or one that is not a predictor's.
        """
        self._predictor = Predictor(url, name)
        facts = self._predictor.facts()
        self._digest, self._label_map = str(facts["digest"]), LabelMap.of(facts["classes"])

    @property
    def digest(self) -> str:
        """Digest of model.onnx: `sha256:<hex>`; the predictor may serve another one later."""
        return self._digest

    @property
    def label_map(self) -> LabelMap:
        """The classes, in the colors of the VOC palette."""
        return self._label_map

    def predict(self, image: ImageLike) -> Prediction:
        """Predict one image.

        Raises:
            DataError: the predictor refuses the image.
            PredictorError: no answer, or one that is not a predictor's.
        """
        source = _read(image)
        content = source if isinstance(source, bytes) else encode_png(source)

        def ask(output: str) -> bytes:
            return self._predictor.predict(content, "application/octet-stream", output).content

        return Prediction(
            decode_index(ask("mask"), "mask"),
            self._label_map,
            lambda: np.asarray(np.load(io.BytesIO(ask("probability"))), np.float32),
            lambda: decode_image(content),
        )


def open_model(location: str | Path, threads: int | None = None) -> Model:
    """Open a model.

    Args:
        location: model.onnx, a folder that holds it, the folder of a run, an s3:// URI, or the
            http:// or https:// address of a predictor, `#NAME` behind it if it serves several.
        threads: Threads of onnxruntime; None takes the CPUs this process may use.

    Raises:
        ContractError: there is no model, or no contract in it.
        StoreError: the object store is away, or has nothing there.
        PredictorError: no answer, or one that is not a predictor's.
    """
    text = str(location)
    if text.startswith(("http://", "https://")):
        url, _, name = text.partition("#")
        return RemoteModel(url, name)
    if not is_object_uri(text):
        return LocalModel(local_model(Path(location)), threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        ObjectStore.from_environment().download(ObjectUri.parse(text), path)
        return LocalModel(path, threads, where=text)


def local_model(path: Path) -> Path:
    """Return the model of a path: of a run's folder the one that it exported."""
    return RunRecord.read(path).artifact("export", "model") if (path / RUN_FILE).is_file() else path


def _read(image: ImageLike) -> bytes | NDArray[np.uint8]:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise DataError(str(image), f"no image ({error.strerror})") from error
    pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DataError("image", f"{pixels.dtype} {pixels.shape}", "RGB uint8 (H, W, 3)")
    return pixels
