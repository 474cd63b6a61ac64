"""The plan of a bulk prediction: which images there are, in parts that are done one by one.

    <predictions>/parts/000000.images.jsonl       128 images, written before any is predicted
    <predictions>/plan.json                       written after the last of these lists
    <predictions>/masks/...                       a PNG an image, or a tar a part
    <predictions>/parts/000000.predictions.jsonl  their lines, written after their masks
    <predictions>/predictions.jsonl               all lines, written after the last part

A part is what a killed process repeats; whoever starts again skips those that have their lines.
"""

import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Self

from segmentor.digests import canonical_json
from segmentor.errors import ConfigError, DataError
from segmentor.image_io import EXTENSIONS
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.plurals import counted
from segmentor.progress import track

logger = logging.getLogger(__name__)

PART_IMAGES = 128
PLAN_FILE = "plan.json"
PREDICTIONS_FILE = "predictions.jsonl"
MASKS_FOLDER, PARTS_FOLDER = "masks", "parts"
LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class ListedImage:
    """An image of the plan; `name` is that of its mask, below `masks/`, without the suffix."""

    uri: str
    name: str
    state: str = ""

    def line(self) -> str:
        """Return it as a line of a part's list."""
        return canonical_json({"image": self.uri, "name": self.name})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read a line of a part's list."""
        value = json.loads(line)
        return cls(value["image"], value["name"])


@dataclass(frozen=True)
class Order:
    """What is to be predicted, and how.

    Attributes:
        source: The prefix or the list of the images.
        model: Where the model is.
        model_digest: Digest of its model.onnx.
        mask_files: 'png' or 'tar'.
        part_images: How many images a part has; the last one may have fewer.
    """

    source: str
    model: str
    model_digest: str
    mask_files: str
    part_images: int = PART_IMAGES


@dataclass(frozen=True)
class Plan:
    """An order and the images that were found; the same in every process that works on it.

    Attributes:
        order: What is to be predicted.
        images: How many images there are.
        images_digest: Digest of all URIs and what the store said of them.
    """

    order: Order
    images: int
    images_digest: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read a plan that another process has written."""
        images, digest = value.pop("images"), value.pop("images_digest")
        return cls(Order(**value), images, digest)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value of the plan."""
        found = {"images": self.images, "images_digest": self.images_digest}
        return {**asdict(self.order), **found}

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return math.ceil(self.images / self.order.part_images)

    def images_of(self, parts: Iterable[int]) -> int:
        """Return how many images some parts have together."""
        size = self.order.part_images
        return sum(min(size, self.images - part * size) for part in parts)

    def parts_of(self, index: int, workers: int) -> range:
        """Return the parts of one of several workers: a range of keys."""
        return range(index * self.parts // workers, (index + 1) * self.parts // workers)


def list_uri(output: ObjectUri, part: int) -> ObjectUri:
    """Return where the list of a part's images is."""
    return output.child(f"{PARTS_FOLDER}/{part:06d}.images.jsonl")


def lines_uri(output: ObjectUri, part: int) -> ObjectUri:
    """Return where the lines of a finished part are."""
    return output.child(f"{PARTS_FOLDER}/{part:06d}.{PREDICTIONS_FILE}")


def waiting_parts(store: ObjectStore, output: ObjectUri, parts: Iterable[int]) -> list[int]:
    """Return those of some parts that have no lines yet."""
    finished = {uri.key for uri in finished_parts(store, output)}
    return [part for part in parts if lines_uri(output, part).key not in finished]


def finished_parts(store: ObjectStore, output: ObjectUri) -> Iterator[ObjectUri]:
    """Yield where the lines of each finished part are."""
    for uri in store.list_keys(output.child(PARTS_FOLDER)):
        if uri.key.endswith(f".{PREDICTIONS_FILE}"):
            yield uri


def read_part(store: ObjectStore, output: ObjectUri, part: int) -> list[ListedImage]:
    """Return the images of a part."""
    text = store.read(list_uri(output, part)).decode()
    return [ListedImage.from_line(line) for line in text.splitlines()]


def read_plan(store: ObjectStore, output: ObjectUri) -> Plan | None:
    """Return the plan of an earlier process, or None."""
    if not store.exists(output.child(PLAN_FILE)):
        return None
    return Plan.from_json(json.loads(store.read(output.child(PLAN_FILE))))


def make_plan(store: ObjectStore, output: ObjectUri, order: Order) -> Plan:
    """List the images and write the plan; an interrupted prediction goes on by its own plan.

    Raises:
        ConfigError: there is something else at `output`.
        DataError: no image, or a wrong line in the list of images.
        StoreError: the object store is away, or refuses.
    """
    _refuse_overlap(order.source, output)
    earlier = read_plan(store, output)
    if earlier is None:
        _refuse_other_objects(store, output)
        plan = _plan(store, order, output)
        store.write(output.child(PLAN_FILE), canonical_json(plan.to_json()).encode())
        return plan
    before = earlier.order
    # The model may lie elsewhere by now, and the parts keep their size.
    if replace(order, model=before.model, part_images=before.part_images) != before:
        found = f"predictions of {before.source} by the model {before.model_digest}"
        raise _other(output, f"{found} ({before.mask_files})")
    if not store.exists(output.child(PREDICTIONS_FILE)):
        logger.info("going on images=%d parts=%d", earlier.images, earlier.parts)
        return earlier
    if _plan(store, before, None) != earlier:
        images = counted(earlier.images, "image")
        raise _other(output, f"predictions of what {order.source} was before, {images}")
    return earlier


def _plan(store: ObjectStore, order: Order, output: ObjectUri | None) -> Plan:
    """List the images; with an output, write the lists of the parts."""
    digest, count = hashlib.sha256(), 0
    for part, images in enumerate(_parts(_images(store, order.source), order.part_images)):
        for image in images:
            digest.update(f"{image.line()} {image.state}\n".encode())
        count += len(images)
        if output is not None:
            text = "".join(f"{image.line()}\n" for image in images)
            store.write(list_uri(output, part), text.encode())
    if not count:
        raise DataError(order.source, "no image", f"objects that end in {', '.join(EXTENSIONS)}")
    return Plan(order, count, f"sha256:{digest.hexdigest()}")


def _parts(images: Iterable[ListedImage], size: int) -> Iterator[list[ListedImage]]:
    iterator = iter(track(images, "list images"))
    while part := list(islice(iterator, size)):
        yield part


def _images(store: ObjectStore, source: str) -> Iterator[ListedImage]:
    uri = ObjectUri.parse(source)
    if uri.key.endswith(LIST_SUFFIX):
        yield from _listed(store, uri)
        return
    if _is_image(uri) and store.exists(uri):
        yield ListedImage(str(uri), PurePosixPath(uri.key).name)
        return
    prefix = uri.key.rstrip("/") + "/" if uri.key else ""
    for found in store.list_objects(uri):
        if _is_image(found.uri):
            yield ListedImage(str(found.uri), found.uri.key[len(prefix) :], found.etag)


def _is_image(uri: ObjectUri) -> bool:
    return PurePosixPath(uri.key).suffix.lower() in EXTENSIONS


def _listed(store: ObjectStore, uri: ObjectUri) -> Iterator[ListedImage]:
    """Yield the images of a list; one that stands twice would have two masks of one name."""
    seen = set[bytes]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        store.download(uri, path)
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if not text:
                    continue
                key = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if key in seen:
                    raise DataError(f"{uri}, line {number}", f"{text} a second time", "each once")
                seen.add(key)
                image = ObjectUri.parse(text)
                yield ListedImage(str(image), f"{image.bucket}/{image.key}")


def _refuse_overlap(source: str, output: ObjectUri) -> None:
    """Refuse masks among the images: they would be images the next time."""
    uri = ObjectUri.parse(source)
    inside = f"{output.key.rstrip('/')}/".startswith(f"{uri.key.rstrip('/')}/" if uri.key else "")
    if uri.bucket == output.bucket and inside:
        raise ConfigError(str(output), f"inside {source}", "a place outside the images")


def _refuse_other_objects(store: ObjectStore, output: ObjectUri) -> None:
    """Refuse a prefix that holds anything but the lists of a plan that was never finished."""
    parts = output.child(PARTS_FOLDER).key
    for found in store.list_keys(output):
        if not (found.key.startswith(f"{parts}/") and found.key.endswith(".images.jsonl")):
            raise _other(output, f"other objects ({found.key})")


def _other(output: ObjectUri, found: str) -> ConfigError:
    remedy = "give another place: predictions are never overwritten"
    return ConfigError(str(output), found, "an empty prefix, or this prediction", remedy)
