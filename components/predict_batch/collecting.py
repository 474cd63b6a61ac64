"""Put the lines of all parts together, and prove that each image has one line and one mask."""

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.predict_batch.plan import (
    MASKS_FOLDER,
    PREDICTIONS_FILE,
    ListedImage,
    Plan,
    lines_uri,
    read_part,
)
from components.predict_batch.prediction import mapped_ahead
from segmentor.errors import FIRST_PROBLEMS, DataError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.plurals import counted
from segmentor.progress import track

_TRANSFERS = 8


@dataclass
class Totals:
    """What a finished prediction has: counts, sums over its masks, and the first bad images."""

    images: int = 0
    masks: int = 0
    uncertainty: float = 0.0
    coverage: dict[str, float] = field(default_factory=dict)
    first_bad: list[str] = field(default_factory=list)

    @property
    def bad_images(self) -> int:
        """How many images have no mask."""
        return self.images - self.masks

    def add(self, line: dict[str, Any]) -> None:
        """Count the line of an image."""
        self.images += 1
        if "error" in line:
            if len(self.first_bad) < FIRST_PROBLEMS:
                self.first_bad.append(f"{line['image']}: {line['error']}")
            return
        self.masks += 1
        self.uncertainty += line["uncertainty"]
        for name, share in line["coverage"].items():
            self.coverage[name] = self.coverage.get(name, 0.0) + share

    def means(self) -> dict[str, float]:
        """Return the means over the masks: the uncertainty, and the coverage of each class."""
        count = max(1, self.masks)
        coverage = {f"coverage_{name}": value / count for name, value in self.coverage.items()}
        return {"uncertainty": self.uncertainty / count, **coverage}


def collect(store: ObjectStore, output: ObjectUri, plan: Plan) -> Totals:
    """Write predictions.jsonl from the lines of all parts; memory does not grow with them.

    Raises:
        DataError: an image without its line, or other masks than the lines say.
        StoreError: the object store is away, or refuses.
    """
    totals, expected = Totals(), _Names()

    def read(part: int) -> tuple[list[ListedImage], list[bytes]]:
        lines = store.read(lines_uri(output, part)).splitlines(keepends=True)
        return read_part(store, output, part), lines

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_TRANSFERS) as pool:
        path = Path(folder, PREDICTIONS_FILE)
        with path.open("wb") as file:
            parts = mapped_ahead(pool, read, range(plan.parts), _TRANSFERS)
            for part, (images, lines) in enumerate(track(parts, "collect", plan.parts)):
                values = [json.loads(line) for line in lines]
                if [value["image"] for value in values] != [image.uri for image in images]:
                    raise DataError(
                        str(lines_uri(output, part)),
                        "other images than in its list",
                        "one line an image",
                    )
                for value in values:
                    totals.add(value)
                for name in {value["mask"] for value in values if "mask" in value}:
                    expected.add(output.child(name).key)
                file.writelines(lines)
        if totals.images != plan.images:
            raise DataError(
                str(output), counted(totals.images, "line"), f"{plan.images}, one an image"
            )
        _require_masks(store, output, expected)
        store.upload_file(path, output.child(PREDICTIONS_FILE), "application/x-ndjson")
    return totals


def _require_masks(store: ObjectStore, output: ObjectUri, expected: "_Names") -> None:
    found = _Names()
    folder = output.child(MASKS_FOLDER)
    for uri in store.list_keys(folder):
        found.add(uri.key)
    if vars(found) != vars(expected):
        raise DataError(
            str(folder),
            counted(found.count, "object"),
            f"the {expected.count} that the lines name",
            "give another place: something else writes here",
        )


class _Names:
    """Names that are counted, and their digests added up: two sets compared in constant memory."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0

    def add(self, name: str) -> None:
        self.count += 1
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        self.sum = (self.sum + int.from_bytes(digest, "big")) % (1 << 128)
