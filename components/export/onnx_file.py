"""Writes model.onnx: the deployable module as one graph, with its contract in the metadata."""

import logging
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx
import onnxruntime
import torch
from torch.export import Dim

from segmentor import __version__
from segmentor.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelContract, SizePolicy
from segmentor.digests import canonical_json
from segmentor.errors import ContractError
from segmentor.nn.checkpoint import Checkpoint, checkpoint_digest, load_checkpoint
from segmentor.nn.deployable import Deployable
from segmentor.nn.exportability import require_exportable

OPSET = 20
# Sizes that the tracer sees; odd and unlike each other, so that it cannot take one for a constant.
TRACED = (2, 65, 97, 3)

logger = logging.getLogger(__name__)

# These log what the exporter folds and renames, which nobody acts on.
NOISY_LOGGERS = ("onnx_ir", "onnxscript", "torch.onnx")


def load_for_export(folder: Path, size_policy: str = "trained") -> Checkpoint:
    """Load a checkpoint; its contract gets the policy asked for and the provenance of a model.

    Args:
        folder: The checkpoint artifact.
        size_policy: `resize`, `native`, or `trained` for the checkpoint's own.

    Raises:
        ContractError: no checkpoint artifact.
        ConfigError: a network that cannot be exported under this policy.
    """
    checkpoint = load_checkpoint(folder)
    contract = checkpoint.contract
    spec = contract.input
    if size_policy != "trained":
        spec = replace(spec, size_policy=cast(SizePolicy, size_policy))
    require_exportable(checkpoint.network, checkpoint.network_config, spec.size_policy)
    provenance = {
        **contract.provenance,
        "checkpoint_digest": checkpoint_digest(folder),
        "opset": OPSET,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "segmentor": __version__,
        "model_precision": "float32",
    }
    return replace(checkpoint, contract=replace(contract, input=spec, provenance=provenance))


def write_model(path: Path, checkpoint: Checkpoint) -> None:
    """Export with dynamic batch, height and width, and write the contract into the file.

    Equal checkpoints give equal bytes.

    Raises:
        ContractError: the exporter cannot translate the network.
    """
    start = time.monotonic()
    model = to_onnx(checkpoint.deployable(), checkpoint)
    strip_traces(model)
    write_contract(model, checkpoint.contract)
    onnx.save_model(model, str(path))
    logger.info("exported elapsed_s=%.1f bytes=%d", time.monotonic() - start, path.stat().st_size)


def to_onnx(module: Deployable, checkpoint: Checkpoint) -> onnx.ModelProto:
    """Run torch's exporter (the one that captures the graph by torch.export)."""
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    images = torch.zeros(TRACED, dtype=torch.uint8)
    # Keyed by the argument of Deployable.forward, which has the input's name.
    dynamic = {INPUT_NAME: {0: Dim("n"), 1: Dim("h"), 2: Dim("w")}}
    try:
        with warnings.catch_warnings():
            # The warnings concern the exporter's internals; parity is checked below.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (images,),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever a network's code raises
        config = checkpoint.network_config
        raise ContractError(
            f"export of {config.architecture} with {config.encoder}",
            f"a network that torch cannot export ({_reason(error)})",
            "one that it can",
            "docs/architectures.md lists those that export",
        ) from error
    assert program is not None  # without a file to write, torch returns the program
    return program.model_proto


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes on each node: source lines with paths of this machine."""
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
    graph.doc_string = ""


def write_contract(model: onnx.ModelProto, contract: ModelContract) -> None:
    """Put the contract into the file's metadata, in place of what was there."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical_json(contract.to_json())})


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost error: outer ones only say that exporting failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
