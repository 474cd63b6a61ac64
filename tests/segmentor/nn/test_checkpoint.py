import json
from pathlib import Path

import pytest
import torch
from builders import STREET, TINY_NETWORK, write_checkpoint

from segmentor.errors import ContractError
from segmentor.nn.checkpoint import checkpoint_digest, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint", STREET)


def test_what_is_saved_is_loaded_again(folder: Path, tmp_path: Path) -> None:
    first = load_checkpoint(folder)
    save_checkpoint(tmp_path, first)
    second = load_checkpoint(tmp_path)
    assert second.contract == first.contract
    assert second.config == {"model": TINY_NETWORK}
    states = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert checkpoint_digest(tmp_path) == checkpoint_digest(folder)
    assert not first.network.training


def test_the_state_for_resume_does_not_change_the_digest(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, load_checkpoint(folder))
    before = checkpoint_digest(tmp_path)
    (tmp_path / "training_state.pt").write_bytes(b"state")
    assert checkpoint_digest(tmp_path) == before
    contract = json.loads((tmp_path / "contract.json").read_text())
    contract["provenance"]["run_id"] = "another"
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    assert checkpoint_digest(tmp_path) != before


@pytest.mark.parametrize("name", ["weights.safetensors", "contract.json", "config.yaml"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path, load_checkpoint(folder))
    (tmp_path / name).unlink()
    with pytest.raises(ContractError, match=f"no {name}, expected a checkpoint artifact"):
        load_checkpoint(tmp_path)


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, load_checkpoint(folder))
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("- 64", "- 128"))
    with pytest.raises(ContractError, match="weights that do not fit unet"):
        load_checkpoint(tmp_path)


def test_truncated_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, load_checkpoint(folder))
    content = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ContractError, match="weights that do not fit unet"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["model: {architecture: unet}", "[1, 2]", "a: b: c"])
def test_a_malformed_configuration_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    save_checkpoint(tmp_path, load_checkpoint(folder))
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ContractError, match="malformed config.yaml"):
        load_checkpoint(tmp_path)
