"""The checkpoint artifact: weights.safetensors, contract.json, config.yaml.

`training_state.pt` is only for resuming: the train step owns it, and it is not read here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from segmentor.contract import ModelContract
from segmentor.digests import digest_file, digest_json
from segmentor.errors import ContractError
from segmentor.nn.deployable import Deployable
from segmentor.nn.network import NetworkConfig, build_network

WEIGHTS = "weights.safetensors"
CONTRACT = "contract.json"
CONFIG = "config.yaml"


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with its contract and the composed configuration it was trained with."""

    network: nn.Module
    network_config: NetworkConfig
    contract: ModelContract
    config: dict[str, Any]

    def deployable(self) -> Deployable:
        """Return the module that evaluate runs and export writes, in evaluation mode."""
        return Deployable(self.network, self.contract).eval()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint into an existing folder."""
    state = {k: v.detach().cpu().contiguous() for k, v in checkpoint.network.state_dict().items()}
    # Not save_file: its errors hide the cause, such as a full disk.
    (folder / WEIGHTS).write_bytes(save(state))
    write_contract(folder, checkpoint.contract)
    text = yaml.safe_dump(checkpoint.config, sort_keys=False, allow_unicode=True)
    (folder / CONFIG).write_text(text, encoding="utf-8")


def write_contract(folder: Path, contract: ModelContract) -> None:
    """Write contract.json."""
    text = json.dumps(contract.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / CONTRACT).write_text(text, encoding="utf-8")


def checkpoint_digest(folder: Path) -> str:
    """Return the digest of a checkpoint: its weights, contract and configuration.

    The state for resuming is left out, because it does not change what the model does.

    Raises:
        ContractError: a file is missing.
    """
    _check_complete(folder)
    return digest_json({name: digest_file(folder / name) for name in (WEIGHTS, CONTRACT, CONFIG)})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint artifact; the network is on the CPU, in evaluation mode.

    Raises:
        ContractError: a file is missing, or the weights do not fit the network.
    """
    where = str(folder)
    _check_complete(folder)
    contract = ModelContract.from_text((folder / CONTRACT).read_text(encoding="utf-8"), where)
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        network_config = NetworkConfig.from_json(config["model"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ContractError(where, f"a malformed {CONFIG} ({reason})", "model settings") from error
    network = build_network(network_config, contract.channels)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ContractError(
            where, f"weights that do not fit {network_config.architecture} ({reason})"
        ) from error
    return Checkpoint(network.eval(), network_config, contract, config)


def _check_complete(folder: Path) -> None:
    for name in (WEIGHTS, CONTRACT, CONFIG):
        if not (folder / name).is_file():
            raise ContractError(
                str(folder), f"no {name}", "a checkpoint artifact", "run train first"
            )
