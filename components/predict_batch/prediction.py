"""Predict the parts of a plan: read ahead, one image a CPU, masks and lines written as they come.

A process may be killed at any moment: a part counts only when its lines are in the store, which are
written after its masks, and a part that is predicted again has the same masks and lines.
"""

import contextlib
import io
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2

from components.predict_batch.plan import (
    MASKS_FOLDER,
    ListedImage,
    Plan,
    lines_uri,
    read_part,
    waiting_parts,
)
from components.predict_batch.uncertainty import Uncertainty
from segmentor.cpus import available_cpus
from segmentor.digests import canonical_json, digest_bytes
from segmentor.errors import ContractError, ImageError, StoreError
from segmentor.image_io import encode_index
from segmentor.inference import predict_mask
from segmentor.masks import count_classes
from segmentor.model_samples import EXACT_ENGINE, read_samples
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri, is_object_uri
from segmentor.onnx_model import OnnxModel
from segmentor.progress import track
from segmentor.published_model import download_model, require_golden, warm_up

# Requests at once, and how many images are read, or masks written, ahead of their turn.
_TRANSFERS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Predicted:
    """An image on its way: what was read of it, and its line."""

    part: int
    image: ListedImage
    content: bytes = b""
    mask: bytes = b""
    line: dict[str, Any] = field(default_factory=dict)


def open_for_batch(location: str, digest: str = "") -> OnnxModel:
    """Open a model as the predictor does, to run on one thread an image.

    Args:
        location: model.onnx or its folder, as a path or an s3:// URI.
        digest: The only one that is accepted; empty accepts any.

    Raises:
        ContractError: no model, another one, or one that does not reproduce its golden images.
        StoreError: the object store is away, or has nothing there.
    """
    with tempfile.TemporaryDirectory(prefix="segmentor-model-") as folder:
        path = Path(location)
        if is_object_uri(location):
            path = download_model(location, Path(folder))
        model = OnnxModel(path, threads=1, spinning=False, where=location)
        if digest and model.digest != digest:
            raise ContractError(location, f"digest {model.digest}", digest, "the model has changed")
        warm_up(location, model.contract, model.forward)
        require_golden(model, read_samples(model.path.parent))
    return model


def predict_parts(
    store: ObjectStore, output: ObjectUri, plan: Plan, model: OnnxModel, parts: Sequence[int]
) -> None:
    """Predict those of some parts that have no lines yet.

    Raises:
        StoreError: the object store is away, or refuses. What is finished stays finished.
    """
    cv2.setNumThreads(1)  # its threads would only take the CPUs from other images
    cpus = available_cpus()
    transfers = ThreadPoolExecutor(_TRANSFERS)
    workers = ThreadPoolExecutor(cpus)

    def read(item: Predicted) -> Predicted:
        return _read(store, item)

    def predict(item: Predicted) -> Predicted:
        return _predict(model, item)

    def write(item: Predicted) -> Predicted:
        return _write_mask(store, output, item) if plan.order.mask_files == "png" else item

    # Closed in turn on the way out, so that nothing waits for work that nobody needs any more.
    with _ended(transfers), _ended(workers):
        waiting = waiting_parts(store, output, parts)
        images = mapped_ahead(transfers, read, _items(store, output, waiting), _TRANSFERS)
        masks = mapped_ahead(workers, predict, images, 2 * cpus)
        written = mapped_ahead(transfers, write, masks, _TRANSFERS)
        for part, items in _by_part(track(written, "predict", plan.images_of(waiting)), plan):
            _finish_part(store, output, plan, part, items)


def mapped_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield function(item) in the order of the items; at most `ahead` are under way."""
    futures = deque[Future[Result]]()
    for item in items:
        futures.append(pool.submit(function, item))
        if len(futures) >= ahead:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


@contextlib.contextmanager
def _ended(pool: Executor) -> Iterator[None]:
    try:
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _items(store: ObjectStore, output: ObjectUri, parts: Iterable[int]) -> Iterator[Predicted]:
    for part in parts:
        for image in read_part(store, output, part):
            yield Predicted(part, image)


def _by_part(items: Iterable[Predicted], plan: Plan) -> Iterator[tuple[int, list[Predicted]]]:
    """Yield the items of each part once all are there."""
    together: list[Predicted] = []
    for item in items:
        together.append(item)
        if len(together) == plan.images_of([item.part]):
            yield item.part, together
            together = []


def _read(store: ObjectStore, item: Predicted) -> Predicted:
    item.line = {"image": item.image.uri}
    try:
        item.content = store.read(ObjectUri.parse(item.image.uri))
    except StoreError as error:
        if "NoSuchKey" not in error.found:
            raise
        item.line["error"] = "no such object"
    return item


def _predict(model: OnnxModel, item: Predicted) -> Predicted:
    item.line |= {"engine": EXACT_ENGINE, "model_digest": model.digest}
    if "error" in item.line:
        return item
    item.line["image_digest"] = digest_bytes(item.content)
    watched = Uncertainty(model.forward)
    try:
        mask = predict_mask(watched.forward, model.contract, item.content, item.image.uri)
    except ImageError as error:
        item.line["error"] = error.found
        return item
    finally:
        item.content = b""
    label_map = model.contract.label_map
    item.mask = encode_index(mask)
    pixels = count_classes(mask, label_map, item.image.uri)
    item.line |= {
        "size": list(mask.shape),
        "mask": f"{MASKS_FOLDER}/{item.image.name}.mask.png",
        "mask_digest": digest_bytes(item.mask),
        "coverage": {
            name: round(count / mask.size, 6)
            for name, count in zip(label_map.names, pixels, strict=True)
        },
        "uncertainty": round(watched.value(), 6),
    }
    return item


def _write_mask(store: ObjectStore, output: ObjectUri, item: Predicted) -> Predicted:
    if item.mask:
        store.write(output.child(item.line["mask"]), item.mask, "image/png")
        item.mask = b""
    return item


def _finish_part(
    store: ObjectStore, output: ObjectUri, plan: Plan, part: int, items: Sequence[Predicted]
) -> None:
    if plan.order.mask_files == "tar":
        archive = f"{MASKS_FOLDER}/{part:06d}.tar"
        content = _archive(archive, items)
        if content:
            store.write(output.child(archive), content, "application/x-tar")
    lines = "".join(f"{canonical_json(item.line)}\n" for item in items)
    store.write(lines_uri(output, part), lines.encode(), "application/x-ndjson")


def _archive(name: str, items: Sequence[Predicted]) -> bytes:
    """Return a tar of the masks, the same bytes each time; empty if there is no mask."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            if item.mask:
                member = tarfile.TarInfo(f"{item.image.name}.mask.png")
                member.size = len(item.mask)
                archive.addfile(member, io.BytesIO(item.mask))
                item.line |= {"mask": name, "member": member.name}
                item.mask = b""
    return buffer.getvalue() if any("mask" in item.line for item in items) else b""
