"""Measures every SMP architecture and writes docs/architectures.md.

python benchmarks/architectures.py [--measured FILE]   measures all, writes the page
python benchmarks/architectures.py --one fpn --policy native   measures one, prints a line of JSON
python benchmarks/architectures.py --measured FILE --no-more   the rest is "not measured"

With --measured, what is in the file is not measured again, and what is measured is added to it: an
interrupted run goes on.

Each runs in a process of its own with a time limit: some exports never end.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
NOT_MEASURED = "not measured"
POLICIES = ("resize", "native")
# Batches that settle the statistics of batch normalisation: without them a network of random
# weights blows up the last digits on its way.
SETTLING = 8

INTRODUCTION = f"""# Architectures

Written by `python benchmarks/architectures.py`; run it again after a change of torch or SMP.

Encoder {ENCODER} ({", ".join(f"{name}: {encoder}" for name, encoder in ENCODERS.items())}), \
{SIZE[0]} x {SIZE[1]}, one output channel. *Trains*: builds, takes an optimiser step, saves and \
loads. *resize*, *native*: exports under this size policy, and ONNX Runtime gives the same \
probability (difference at most {MAX_DIFFERENCE:g}) at {len(SIZES)} sizes, in batches of 1 and 2. \
*ms*: one image, best of 15, {THREADS} threads, ONNX Runtime.

| architecture | encoder | trains | resize | native | parameters | GMAC | ms |
|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", metavar="NAME", help="measure one architecture, print JSON")
    parser.add_argument("--policy", choices=POLICIES, default="resize")
    parser.add_argument("--measured", type=Path, help="lines that --one printed; added to")
    parser.add_argument("--no-more", action="store_true", help="write the page of what is there")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.policy)))
        return 0
    import segmentation_models_pytorch as smp

    measured = arguments.measured
    lines = measured.read_text().splitlines() if measured and measured.is_file() else []
    known = {(line["name"], line["policy"]): line for line in map(json.loads, lines)}
    rows = []
    for name in sorted(smp.MODEL_ARCHITECTURES_MAPPING):
        for policy in POLICIES:
            if (name, policy) not in known:
                missing = {"export": NOT_MEASURED}
                known[name, policy] = missing if arguments.no_more else in_process(name, policy)
                if measured and not arguments.no_more:
                    line = {"name": name, "policy": policy, **known[name, policy]}
                    with measured.open("a") as file:
                        file.write(json.dumps(line) + "\n")
        results = [known[name, policy] for policy in POLICIES]
        rows.append(row(name, *results))
        print(rows[-1], file=sys.stderr, flush=True)
    PAGE.write_text(INTRODUCTION + "\n".join(rows) + "\n" + notes(), encoding="utf-8")
    return 0


def in_process(name: str, policy: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--policy", policy]
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


def measure(name: str, policy: str) -> dict[str, Any]:
    """Builds, trains a step, saves, exports, compares; failures are part of the result."""
    import torch

    from segmentor.contract import InputSpec, ModelContract
    from segmentor.label_map import LabelMap
    from segmentor.nn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from segmentor.nn.network import NetworkConfig, build_network, network_stride

    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = NetworkConfig(name, ENCODERS.get(name, ENCODER))
    network = build_network(config, 1)
    stride = network_stride(network)
    result: dict[str, Any] = {
        "name": name,
        "policy": policy,
        "encoder": config.encoder,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gmac": count_gmac(network),
        "trains": train_a_step(network),
    }
    spec = InputSpec(SIZE, size_policy=policy, stride=stride)  # type: ignore[arg-type]
    contract = ModelContract(LabelMap.of(["background", "road"]), spec)
    settings = {"model": {"architecture": name, "encoder": config.encoder}}
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


def row(name: str, resize: dict[str, Any], native: dict[str, Any]) -> str:
    facts = resize if "parameters" in resize else native
    if "parameters" not in facts:
        verdict = resize["export"] if resize["export"] == NOT_MEASURED else "no"
        if verdict == "no":
            NOTES.append(f"* {name}: {resize['export']}")
        cells = f"{verdict} | {verdict} | {verdict}"
        return f"| {name} | {ENCODERS.get(name, ENCODER)} | {cells} | | | |"
    verdicts = []
    for policy, found in (("resize", resize), ("native", native)):
        verdicts.append(found["export"] if found["export"] in ("yes", NOT_MEASURED) else "no")
        if verdicts[-1] == "no":
            NOTES.append(f"* {name}, {policy}: {found['export'].removeprefix('no: ')}")
    milliseconds = f"{resize['ms']:.0f}" if "ms" in resize else ""
    return (
        f"| {name} | {facts['encoder']} | {facts['trains']} | {verdicts[0]} | {verdicts[1]} "
        f"| {facts['parameters'] / 1e6:.2f} M | {facts['gmac']:.2f} | {milliseconds} |"
    )


def notes() -> str:
    return "\n## Why not\n\n" + "\n".join(NOTES) + "\n" if NOTES else ""


if __name__ == "__main__":
    sys.exit(main())
