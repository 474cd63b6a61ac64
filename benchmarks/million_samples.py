"""What a list of a million samples costs: written, split, opened, read. There are no pixels.

python -m benchmarks.million_samples [--samples 1000000]
"""

import argparse
import resource
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from benchmarks.measuring import start_clock
from components.split.__main__ import main as split
from segmentor.dataset import Dataset, Sample
from segmentor.dataset_writer import SampleListWriter
from segmentor.label_map import LabelMap
from segmentor.near_duplicates import write_look_alikes
from segmentor.shards import ShardList

LABELS = LabelMap.of(["background", *(f"class_{n:02d}" for n in range(10))])
BATCH = 8
SAMPLES_OF_A_SHARD, GROUP = 500, 100


def write_list(folder: Path, count: int) -> None:
    folder.mkdir()
    shards = ShardList("s3://models/.datasets/shards")
    for number in range(-(-count // SAMPLES_OF_A_SHARD)):
        name = sha256(str(number).encode()).hexdigest()
        shards.files[f"shard-{name}.tar"] = 256 * 1024**2
    with SampleListWriter(folder, LABELS, {"source": "simulated"}, shards) as writer:
        for number in range(count):
            writer.add(simulated(number))
    write_look_alikes(folder, [])


def simulated(number: int) -> Sample:
    """Return a sample as convert_labels would: what cannot be compressed is a digest's."""
    image, mask = (sha256(f"{kind}{number}".encode()).hexdigest() for kind in "im")
    size, png = 300_000 + int(image[:5], 16) % 400_000, 4_000 + int(mask[:4], 16) % 26_000
    offset, group = number % SAMPLES_OF_A_SHARD * 520_000 + 512, f"drive_{number // GROUP:05d}"
    pixels = [int(image[start : start + 5], 16) % 400_000 for start in (5, 10, 15)]
    return Sample(
        id=f"{group}/frame_{number:07d}",
        group=group,
        subset="",
        height=720,
        width=1280,
        class_pixels=(*pixels, *[0] * 8),
        extension="jpg",
        image_digest=f"sha256:{image}",
        mask_digest=f"sha256:{mask}",
        shard=number // SAMPLES_OF_A_SHARD,
        image_offset=offset,
        image_bytes=size,
        mask_offset=offset + size + 1024,
        mask_bytes=png,
        perceptual_hash=sha256(f"p{number}".encode()).hexdigest()[:16],
    )


def split_list(folder: Path) -> None:
    outputs = [part for n in ("train", "val", "test") for part in (f"--{n}", str(folder / n))]
    report = ["--split-report", str(folder / "report.html")]
    if split(["--dataset", str(folder / "dataset"), *outputs, *report]):
        raise RuntimeError("split failed")


def first_batch(dataset: Dataset) -> list[Sample]:
    """Do what training's sampler does before the first batch can be fetched."""
    order = np.random.default_rng((0, 1)).permutation(len(dataset))
    return [dataset.samples[position] for position in order[:BATCH].tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    count = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work: dict[str, Callable[[], object]] = {
            "imports alone": lambda: None,
            "write the list": lambda: write_list(folder / "dataset", count),
            "split": lambda: split_list(folder),
            "open train, first batch of the sampler": lambda: first_batch(
                Dataset(folder / "train")
            ),
            "read train once (statistics)": lambda: sum(
                s.height for s in Dataset(folder / "train")
            ),
        }
        print("| | seconds | CPU seconds | peak MiB |\n|---|---|---|---|")
        for what, do in work.items():
            stop = start_clock()
            do()
            spent = stop(count)
            peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            print(f"| {what} | {spent.wall_s:.1f} | {spent.cpu_s:.1f} | {peak} |", flush=True)
        for part in ("dataset", "train", "val", "test"):
            size = sum(path.stat().st_size for path in (folder / part).iterdir())
            print(f"| artifact {part} | {size / 1e6:.1f} MB | | |")


if __name__ == "__main__":
    main()
