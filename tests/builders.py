"""Small real things that tests need: drawn scenes, data set artifacts, checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmentor.contract import InputSpec, ModelContract
from segmentor.dataset import Dataset
from segmentor.dataset_store import commit, shard_place
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import encode_jpeg, encode_png
from segmentor.label_map import LabelMap

ROAD = LabelMap.of(["background", "road"])
STREET = LabelMap.of(["sky", "road", "grass"])

# A network that fits a drawn scene in seconds: 0.7 M parameters.
TINY_NETWORK = {
    "architecture": "unet",
    "encoder": "tu-test_resnet",
    "options": {"decoder_channels": [64, 48, 32, 24, 16]},
}


def draw_scene(
    seed: int, size: tuple[int, int] = (64, 96), road: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a grey road on green under a blue sky.

    Returns RGB uint8 (H, W, 3) and the mask uint8 (H, W) of `STREET`.
    """
    generator = np.random.default_rng(seed)
    height, width = size
    horizon = int(height * generator.uniform(0.3, 0.5))
    mask = np.full(size, 2, np.uint8)
    mask[:horizon] = 0
    if road:
        middle = width * generator.uniform(0.3, 0.7)
        corners = [
            (middle - width * 0.05, horizon),
            (middle + width * 0.05, horizon),
            (width * generator.uniform(0.7, 1.1), height),
            (width * generator.uniform(-0.1, 0.3), height),
        ]
        cv2.fillPoly(mask, [np.array(corners).round().astype(np.int32)], 1)
    colours = np.array([(120, 160, 220), (110, 110, 115), (60, 130, 50)])
    light = generator.uniform(0.6, 1.2)
    noise = generator.normal(0, 8, (height, width, 1))
    image = (colours[mask] * light + noise).clip(0, 255).astype(np.uint8)
    return image, mask


def damaged_jpegs() -> dict[str, bytes]:
    """JPEGs that libjpeg decodes with a warning, by what was done to them."""
    whole = encode_jpeg(draw_scene(5, (200, 300))[0], quality=90)
    middle = len(whole) // 2
    frame = whole.index(b"\xff\xc0") + 5
    return {
        "a cut end, closed": whole[:middle] + b"\xff\xd9",
        "zeros in the middle": whole[:middle] + bytes(2000) + whole[middle + 2000 :],
        "other bytes": whole[:middle]
        + bytes(byte ^ 0x55 for byte in whole[middle : middle + 20])
        + whole[middle + 20 :],
        "a taller frame": whole[:frame] + (600).to_bytes(2, "big") + whole[frame + 2 :],
    }


def scenes(
    count: int, label_map: LabelMap = ROAD, size: tuple[int, int] = (64, 96), first_seed: int = 0
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8], str]]:
    """Yield id, image, mask and group (three images a group) of `ROAD` or `STREET`."""
    for index in range(count):
        image, mask = draw_scene(first_seed + index, size)
        if label_map.is_binary:
            mask = (mask == 1).astype(np.uint8)
        yield f"scene_{first_seed + index:03d}", image, mask, f"drive_{index // 3}"


def write_dataset(
    folder: Path,
    samples: Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8], str]],
    label_map: LabelMap = ROAD,
) -> Dataset:
    """Write a data set artifact of (id, image, mask, group) into a new folder."""
    folder.mkdir(parents=True)
    with DatasetWriter(folder, label_map, {"source": "drawn"}) as writer:
        for sample_id, image, mask, group in samples:
            writer.add(sample_id, encode_png(image), mask, group)
    return Dataset(folder)


def write_as_pod(
    folder: Path,
    samples: Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8], str]],
    destination: str,
    shard_bytes: int = 60_000,
    label_map: LabelMap = ROAD,
) -> Path:
    """Write a data set as convert_labels does in a pod, its shards into the object store.

    Without a destination it is written as on a laptop. Returns the folder.
    """
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1" if destination else "")
        with shard_place(destination) as place:
            where = {"location": place.location, "keep": place.keep}
            with DatasetWriter(folder, label_map, {}, shard_bytes, **where) as writer:
                for sample_id, image, mask, group in samples:
                    writer.add(sample_id, encode_png(image), mask, group)
        if destination:
            commit(folder, destination, "sha256:0123456789abcdef0123")
    return folder


def write_checkpoint(
    folder: Path,
    label_map: LabelMap = ROAD,
    size: tuple[int, int] = (64, 96),
    steps: int = 0,
    network: dict[str, object] = TINY_NETWORK,
    size_policy: str = "resize",
) -> Path:
    """Write a checkpoint with random weights, or fitted to drawn scenes for some steps."""
    import torch

    from segmentor.nn.checkpoint import Checkpoint, save_checkpoint
    from segmentor.nn.network import NetworkConfig, build_network

    torch.manual_seed(0)
    config = NetworkConfig.from_json(network)
    contract = ModelContract(
        label_map,
        InputSpec(size, size_policy=size_policy),
        provenance={"run_id": "test", "train_digest": "sha256:0"},
    )
    checkpoint = Checkpoint(
        build_network(config, label_map.channels), config, contract, {"model": network}
    )
    _fit(checkpoint, label_map, size, steps)
    folder.mkdir(parents=True)
    save_checkpoint(folder, checkpoint)
    return folder


def _fit(checkpoint, label_map: LabelMap, size: tuple[int, int], steps: int) -> None:
    import torch
    from torch.nn import functional

    batch = list(scenes(8, label_map, size, first_seed=1000))
    masks = torch.from_numpy(np.stack([mask for _, _, mask, _ in batch])).long()
    images = torch.from_numpy(np.stack([image for _, image, _, _ in batch]))
    network = checkpoint.network.train()
    deployable = checkpoint.deployable()
    pixels = images.permute(0, 3, 1, 2).float() * deployable.scale + deployable.shift
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(steps):
        logits = network(pixels)
        if label_map.is_binary:
            loss = functional.binary_cross_entropy_with_logits(logits[:, 0], masks.float())
        else:
            loss = functional.cross_entropy(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


def write_model(
    path: Path,
    label_map: LabelMap = ROAD,
    size: tuple[int, int] = (64, 96),
    size_policy: str = "resize",
) -> Path:
    """Write model.onnx of one linear layer that tells the colours of drawn scenes apart.

    It takes seconds, for torch's exporter does: make it once a session.
    """
    import onnx
    import torch

    from segmentor.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME
    from segmentor.digests import canonical_json
    from segmentor.nn.deployable import Deployable

    contract = ModelContract(label_map, InputSpec(size, size_policy=size_policy))
    spec = contract.input
    # Blue over red is sky, green over both is grass, and what is neither is road.
    weight = torch.tensor([(-1.0, 0, 1), (0, 0, 0), (-0.5, 1, -0.5)]) * 255 / 10
    bias = torch.tensor([-2.5, 0, -2.5])
    if label_map.is_binary:
        weight, bias = -weight.sum(0, keepdim=True), torch.tensor([3.0])
    # The layer sees normalised pixels.
    bias = bias + weight @ torch.tensor(spec.mean)
    weight = weight * torch.tensor(spec.std)
    network = torch.nn.Conv2d(3, label_map.channels, 1)
    with torch.no_grad():
        network.weight.copy_(weight.view(-1, 3, 1, 1))
        network.bias.copy_(bias)
    module = Deployable(network, contract).eval()
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis in (0, 1, 2)}
    torch.onnx.export(
        module,
        (torch.zeros(2, 70, 90, 3, dtype=torch.uint8),),
        path,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=(dynamic,),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical_json(contract.to_json())})
    onnx.save(model, path)
    return path
