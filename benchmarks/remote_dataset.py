"""How fast training reads shards from an object store.

    python -m benchmarks.remote_dataset [--images 256] [--rounds 3] [--latencies 0,5,50]

A real S3 server on loopback; what it sends arrives later by the latency. Each turn is an epoch of
a small network on photographs that are decoded each time, as with a data set that fits neither in
memory nor on the disk. webdataset streams the same shards in their order; mosaicml-streaming and
litdata read formats of their own and no tar files.
"""

import argparse
import contextlib
import os
import resource
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
import webdataset

from benchmarks.label_task import scene
from benchmarks.late_network import late_network
from benchmarks.measuring import Spent, start_clock, table, take_turns
from components.train.augmentation import Augmentation
from components.train.loading.samples import EpochSampler, SampleCache, TorchSamples
from pipelines.local.embedded_store import embedded_store
from segmentor.dataset import Dataset
from segmentor.dataset_store import shard_place
from segmentor.dataset_writer import DatasetWriter
from segmentor.label_map import LabelMap
from segmentor.nn.network import NetworkConfig, build_network
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

LOCAL = "local disk"
SIZE = (128, 224)
BATCH = 8
SHARD_BYTES = 16 * 1024**2
LABELS = LabelMap.of(["background", *(f"class_{n:02d}" for n in range(10))])
NETWORK = {"architecture": "unet", "encoder": "tu-test_resnet",
           "options": {"decoder_channels": [64, 48, 32, 24, 16]}}  # fmt: skip


class Undecoded(SampleCache):
    """Keeps no decoded image."""

    def _make_buffer(self, size: int, limit: int, folder: Path) -> None:
        return None


def write(folder: Path, count: int, destination: str) -> Path:
    folder.mkdir()
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1" if destination else ""}
    with patch.dict(os.environ, in_pod), shard_place(destination) as place:
        where = {"location": place.location, "keep": place.keep}
        with DatasetWriter(folder, LABELS, {}, SHARD_BYTES, **where) as writer:
            for number in range(count):
                image, index, _ = scene(number)
                writer.add(f"frame_{number:06d}", image, index, "drive")
    return folder


def batches(dataset: Dataset, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    cache = Undecoded(dataset, dataset.samples, SIZE, 0, Path())
    sampler = EpochSampler(len(dataset), 0, is_shuffled=True, announce=cache.prefetch)
    sampler.start(epoch)
    loader = torch.utils.data.DataLoader(
        TorchSamples(cache, Augmentation({})), BATCH, sampler=sampler
    )
    for batch in loader:
        yield batch["image"], batch["mask"]


def streamed(urls: list[str]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield webdataset's batches, decoded and resized as ours are."""
    pipes = [f"pipe:curl --silent --fail '{url}'" for url in urls]
    stream = webdataset.WebDataset(pipes, shardshuffle=len(pipes), empty_check=False)
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for item in stream.shuffle(100):
        content = np.frombuffer(item["image.jpg"], np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]
        # Contiguous, as ours: torch trains faster on what it takes for channels last.
        images.append(np.ascontiguousarray(cv2.resize(image, SIZE[::-1]).transpose(2, 0, 1)))
        mask = cv2.imdecode(np.frombuffer(item["mask.png"], np.uint8), cv2.IMREAD_GRAYSCALE)
        masks.append(cv2.resize(mask, SIZE[::-1], interpolation=cv2.INTER_NEAREST))
        if len(images) == BATCH:
            yield torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)).long()
            images, masks = [], []


def epoch_of(network: torch.nn.Module, data: Iterable[tuple[Any, Any]], count: int) -> Spent:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    stop = start_clock()
    for image, mask in data:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(image.float() / 255), mask).backward()
        optimizer.step()
    return stop(count)


def compare(count: int, rounds: int, latencies: list[int]) -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig.from_json(NETWORK), len(LABELS))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        environment = stack.enter_context(embedded_store(folder / "store"))
        os.environ.update(environment)
        local = Dataset(write(folder / "local", count, ""))
        remote = write(folder / "remote", count, "s3://models")
        contenders: dict[str, Callable[[], Spent]] = {
            LOCAL: lambda: epoch_of(network, batches(local, 0), count)
        }
        for latency in latencies:
            address = stack.enter_context(late_network(environment["S3_ENDPOINT"], latency))
            os.environ["S3_ENDPOINT"] = address
            warm = Dataset(remote)
            for sample in warm.read_ahead(warm):
                warm.image_content(sample)
            uris = [
                ObjectUri.parse(f"{warm.shard_list.location}/{n}") for n in warm.shard_list.files
            ]
            client = ObjectStore.from_environment().client
            urls = [client.presigned_get_object(uri.bucket, uri.key) for uri in uris]

            def cold(address: str = address) -> Spent:
                os.environ["S3_ENDPOINT"] = address
                return epoch_of(network, batches(Dataset(remote), 0), count)

            contenders[f"store, {latency} ms, cold"] = cold
            contenders[f"store, {latency} ms, warm"] = partial(
                lambda data: epoch_of(network, batches(data, 0), count), warm
            )
            contenders[f"webdataset, {latency} ms"] = partial(
                lambda links: epoch_of(network, streamed(links), count), urls
            )
        turns = take_turns(contenders, rounds, warm_up=True)
        print(table(turns, (LOCAL,), "image"))
        print(f"\npeak memory {_peak_mib()} MiB")


def _peak_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latencies", default="0,5,50")
    arguments = parser.parse_args()
    latencies = [int(text) for text in arguments.latencies.split(",")]
    compare(arguments.images, arguments.rounds, latencies)


if __name__ == "__main__":
    main()
