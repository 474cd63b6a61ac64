"""Measures SMP's architectures, encoder families and our presets; writes docs/architectures.md.

python -m benchmarks.architectures [--measured FILE]   measures all, writes the page
python -m benchmarks.architectures --one fpn resnet18 '{}' --policy native   one, a line of JSON
python -m benchmarks.architectures --measured FILE --no-more   the rest is "not measured"

With --measured, what is in the file is not measured again, and what is measured is added to it: an
interrupted run goes on.

Each runs in a process of its own with a time limit: some exports never end.
"""

import argparse
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.train.configuration.compose import preset_values, presets
from segmentor.nn.network_names import architectures

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "architectures.md"
SIZE = (224, 224)
THREADS = 2
TIME_LIMIT_S = 300
MAX_DIFFERENCE = 1e-4
# Sizes of the parity check; the first is the training size, two are odd.
SIZES = (SIZE, (97, 131), (192, 320), (255, 257))
ENCODERS = {"segformer": "mit_b0", "dpt": "tu-vit_tiny_patch16_224"}
ENCODER = "resnet18"
# The smallest useful member of twelve families; resnet18 is in the table of architectures.
FAMILIES = {
    "EfficientNet": "efficientnet-b0",
    "EfficientNet-Lite": "tu-tf_efficientnet_lite0",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV4": "tu-mobilenetv4_conv_small",
    "RegNet": "tu-regnety_002",
    "ConvNeXt": "tu-convnext_atto",
    "MiT (SegFormer)": "mit_b0",
    "Swin": "tu-swin_tiny_patch4_window7_224",
    "FastViT": "tu-fastvit_t8",
    "EfficientViT": "tu-efficientvit_b0",
    "RepViT": "tu-repvit_m0_9",
    "StarNet": "tu-starnet_s1",
}
PRESETS = ("unet_lite0", "unet_convnext_dinov3", "dpt_dinov3")
NOT_MEASURED = "not measured"
POLICIES = ("resize", "native")
# Batches that settle the statistics of batch normalisation: without them a network of random
# weights blows up the last digits on its way.
SETTLING = 8

INTRODUCTION = f"""# Architectures

Written by `python -m benchmarks.architectures`; run it again after a change of torch or SMP.

{SIZE[0]} x {SIZE[1]}, one output channel, random weights. *Trains*: builds, takes an \
optimiser step, saves and loads. *resize*, *native*: exports under this size policy, and ONNX \
Runtime gives the same probability (difference at most {MAX_DIFFERENCE:g}) at {len(SIZES)} \
sizes, in batches of 1 and 2. *ms*: one image, best of 15, {THREADS} threads, ONNX Runtime.
"""
COLUMNS = "trains | resize | native | parameters | GMAC | ms |\n" + "|---" * 8 + "|\n"


@dataclass(frozen=True)
class Network:
    """A row: what it is called in its first column, and what is built."""

    name: str
    architecture: str
    encoder: str
    options: dict[str, Any]

    @property
    def key(self) -> str:
        """What its measurements are kept under."""
        return json.dumps([self.architecture, self.encoder, self.options], sort_keys=True)


def networks() -> dict[str, tuple[str, list[Network]]]:
    """The tables of the page: heading, header of the first column and rows."""
    by_architecture = [
        Network(name, name, ENCODERS.get(name, ENCODER), {}) for name in architectures()
    ]
    families = [Network(name, "unet", encoder, {}) for name, encoder in FAMILIES.items()]
    values = dict(zip(presets("model"), preset_values("model"), strict=True))
    by_preset = [
        Network(f"`{name}`", item["architecture"], item["encoder"], item["options"])
        for name, item in ((name, values[name]) for name in PRESETS)
    ]
    return {
        "Decoders": ("architecture", by_architecture),
        "Encoder families, with unet": ("family", families),
        "Presets": ("preset", by_preset),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", nargs=3, metavar=("ARCHITECTURE", "ENCODER", "OPTIONS"), help="measure, print JSON"
    )
    parser.add_argument("--policy", choices=POLICIES, default="resize")
    parser.add_argument("--measured", type=Path, help="lines that --one printed; added to")
    parser.add_argument("--no-more", action="store_true", help="write the page of what is there")
    arguments = parser.parse_args()
    if arguments.one:
        architecture, encoder, options = arguments.one
        print(json.dumps(measure(architecture, encoder, json.loads(options), arguments.policy)))
        return 0
    measured = arguments.measured
    lines = measured.read_text().splitlines() if measured and measured.is_file() else []
    known = {(line["key"], line["policy"]): line for line in map(json.loads, lines)}
    page = INTRODUCTION
    for heading, (first, rows) in networks().items():
        page += f"\n## {heading}\n\n| {first} | encoder | {COLUMNS}"
        for network, policy in itertools.product(rows, POLICIES):
            if (network.key, policy) not in known:
                if arguments.no_more:
                    known[network.key, policy] = {"export": NOT_MEASURED}
                    continue
                found = known[network.key, policy] = in_process(network, policy)
                if measured:
                    with measured.open("a") as file:
                        line = {"key": network.key, "policy": policy, **found}
                        file.write(json.dumps(line) + "\n")
        for network in rows:
            page += row(network, *(known[network.key, policy] for policy in POLICIES)) + "\n"
    PAGE.write_text(page + notes(), encoding="utf-8")
    return 0


def in_process(network: Network, policy: str) -> dict[str, Any]:
    parts = (network.architecture, network.encoder, json.dumps(network.options))
    command = [sys.executable, "-m", "benchmarks.architectures"]
    command += ["--one", *parts, "--policy", policy]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "PYTHONPATH": str(REPOSITORY)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return {"export": f"no end within {TIME_LIMIT_S} s"}
    if done.returncode:
        return {"export": f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(
    architecture: str, encoder: str, options: dict[str, Any], policy: str
) -> dict[str, Any]:
    """Build, train a step, save, export, compare; failures are part of the result."""
    import torch

    from segmentor.contract import InputSpec, ModelContract
    from segmentor.label_map import LabelMap
    from segmentor.nn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from segmentor.nn.network import NetworkConfig, build_network, network_stride

    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = NetworkConfig(architecture, encoder, options)
    network = build_network(config, 1)
    stride = network_stride(network)
    result: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gmac": count_gmac(network),
        "trains": train_a_step(network),
    }
    spec = InputSpec(SIZE, size_policy=policy, stride=stride)  # type: ignore[arg-type]
    contract = ModelContract(LabelMap.of(["background", "road"]), spec)
    settings = {"model": asdict(config)}
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), Checkpoint(network, config, contract, settings))
        result |= export(load_checkpoint(Path(folder)), Path(folder))
    return result


def count_gmac(network: Any) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, *SIZE))
    return counter.get_total_flops() / 2e9


def train_a_step(network: Any) -> str:
    import torch

    network.train()
    optimizer = torch.optim.AdamW(network.parameters())
    try:
        loss = network(torch.rand(2, 3, *SIZE)).sigmoid().mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for _ in range(SETTLING):
                network(torch.rand(4, 3, *SIZE))
    except (RuntimeError, ValueError) as error:
        return f"no: {error}"
    return "yes" if bool(torch.isfinite(loss)) else "no: not finite"


def export(checkpoint: Any, folder: Path) -> dict[str, Any]:
    import numpy as np

    from components.export.onnx_file import write_model
    from segmentor.errors import ContractError
    from segmentor.nn.deployable import as_forward
    from segmentor.onnx_model import OnnxModel

    try:
        write_model(folder / "model.onnx", checkpoint)
        model = OnnxModel(folder / "model.onnx", threads=THREADS)
    except ContractError as error:
        return {"export": f"no: {error.found}"}
    forward = as_forward(checkpoint.deployable())
    generator = np.random.default_rng(0)
    differences = []
    for size in SIZES:
        for batch in (1, 2):
            images = generator.integers(0, 256, (batch, *size, 3), dtype=np.uint8)
            try:
                difference = np.abs(forward(images) - model.forward(images)).max()
            except Exception as error:  # whatever torch or onnxruntime raise is the finding
                reason = str(error).splitlines()[0][:120]
                return {"export": f"no: fails at {size[0]} x {size[1]}, batch {batch} ({reason})"}
            differences.append(float(difference))
    if not max(differences) <= MAX_DIFFERENCE:
        return {"export": f"no: differs by {max(differences):.1e}"}
    images = generator.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        model.forward(images)
        times.append((time.perf_counter() - start) * 1000)
    return {"export": "yes", "difference": max(differences), "ms": min(times)}


NOTES: list[str] = []


def row(network: Network, *by_policy: dict[str, Any]) -> str:
    """A line of a table; what cannot be exported is explained below, once."""
    verdicts = []
    for policy, found in zip(POLICIES, by_policy, strict=True):
        verdict = found["export"]
        verdicts.append(verdict if verdict in ("yes", NOT_MEASURED) else "no")
        note = f"* {network.architecture} with {network.encoder}, {policy}: "
        note += verdict.removeprefix("no: ")
        if verdicts[-1] == "no" and note not in NOTES:
            NOTES.append(note)
    facts = next((found for found in by_policy if "parameters" in found), None)
    figures = ["", "", ""]
    if facts is not None:
        milliseconds = [f"{found['ms']:.0f}" for found in by_policy if "ms" in found]
        figures = [f"{facts['parameters'] / 1e6:.2f} M", f"{facts['gmac']:.2f}"]
        figures += milliseconds[:1] or [""]
    trains = facts["trains"] if facts else by_policy[0]["export"]
    cells = [network.name, network.encoder, trains, *verdicts, *figures]
    return f"| {' | '.join(cells)} |"


def notes() -> str:
    return "\n## Why not\n\n" + "\n".join(NOTES) + "\n" if NOTES else ""


if __name__ == "__main__":
    sys.exit(main())
