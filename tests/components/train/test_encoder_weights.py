"""Where an encoder's weights may come from, and what is said when they do not fit."""

import json
import time
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from components.train.encoder_weights import load_encoder_weights
from components.train.preparation import weights_digest
from segmentor.errors import ConfigError
from segmentor.nn.network import NetworkConfig, build_network
from segmentor.object_store import ObjectUri

TINY = "tu-test_resnet"


def network(encoder: str = TINY, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network(NetworkConfig("unet", encoder), 1)


def assert_same_encoder(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, a), b in zip(
        one.encoder.state_dict().items(), other.encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


def test_none_changes_nothing():
    one = network()
    load_encoder_weights(one, TINY, "none")
    assert_same_encoder(one, network())


@pytest.mark.parametrize(
    ("is_whole", "prefix", "nest"),
    [
        (False, "", "state_dict"),
        (True, "", "state_dict"),
        (True, "model.", "state_dict"),  # SMP's own Lightning example
        (True, "module.", "state_dict"),  # DistributedDataParallel
        (True, "module.model.", "state_dict"),
        (False, "", "model"),
        (True, "", "safetensors"),
        (False, "", "safetensors"),
    ],
)
def test_a_local_file_of_an_encoder_or_a_whole_network(tmp_path, is_whole, prefix, nest):
    source, target = network(seed=1), network()
    module = source if is_whole else source.encoder
    path = tmp_path / "weights"
    state = {f"{prefix}{name}": value.contiguous() for name, value in module.state_dict().items()}
    if nest == "safetensors":
        save_file(state, path)
    else:
        torch.save({nest: state, "epoch": 3}, path)
    load_encoder_weights(target, TINY, str(path))
    assert_same_encoder(target, source)


def test_timms_own_names_fit_too(tmp_path):
    source, target = network(seed=1), network()
    head = {"fc.weight": torch.zeros(10, 96)}  # a classifier's head is left over
    state = {k: v.contiguous() for k, v in source.encoder.model.state_dict().items()}
    save_file({**state, **head}, tmp_path / "timm.safetensors")
    load_encoder_weights(target, TINY, str(tmp_path / "timm.safetensors"))
    assert_same_encoder(target, source)


def test_a_file_in_the_object_store(tmp_path, store):
    store.ensure_bucket("weights")
    source, target = network(seed=1), network()
    save_file({k: v.contiguous() for k, v in source.encoder.state_dict().items()}, tmp_path / "w")
    # safetensors without its suffix: it is recognised by its content
    store.upload_file(tmp_path / "w", ObjectUri("weights", "tiny"))
    load_encoder_weights(target, TINY, "s3://weights/tiny")
    assert_same_encoder(target, source)


@pytest.mark.parametrize("uri", ["s3://folders/enc", "s3://folders/enc/", "s3://folders"])
def test_a_folder_in_the_object_store_is_refused(store, uri, tmp_path):
    store.ensure_bucket("folders")
    (tmp_path / "w").write_bytes(b"w")
    store.upload_file(tmp_path / "w", ObjectUri("folders", "enc/w.safetensors"))
    with pytest.raises(ConfigError, match="a folder, expected the URI of one file"):
        weights_digest(uri)


def test_the_package_of_efficientnet_lite0():
    encoder = "tu-tf_efficientnet_lite0"
    target = network(encoder)
    before = next(iter(target.encoder.state_dict().values())).clone()
    load_encoder_weights(target, encoder, "efficientnet-lite0")
    assert not torch.equal(before, next(iter(target.encoder.state_dict().values())))
    with pytest.raises(ConfigError, match="set model.encoder=tu-tf_efficientnet_lite0"):
        load_encoder_weights(network(), TINY, "efficientnet-lite0")


def test_the_hubs_cache_serves_imagenet_without_a_network(tmp_path, monkeypatch):
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    source = network("resnet18", seed=1)
    snapshot = tmp_path / "models--smp-hub--resnet18.imagenet" / "snapshots" / settings["revision"]
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({}))
    state = {k: v.contiguous() for k, v in source.encoder.state_dict().items()}
    save_file(state, snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    target = network("resnet18")
    load_encoder_weights(target, "resnet18", "imagenet")
    assert_same_encoder(target, source)


def test_a_damaged_file_in_the_hubs_cache(tmp_path, monkeypatch):
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    snapshot = tmp_path / "models--smp-hub--resnet18.imagenet" / "snapshots" / settings["revision"]
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({}))
    (snapshot / "model.safetensors").write_bytes(b"cut off")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="resnet18 in the hub's cache' cannot be read"):
        load_encoder_weights(network("resnet18"), "resnet18", "imagenet")


def test_timms_own_weights_of_a_family_whose_stages_have_other_names_there(tmp_path):
    """ConvNeXt's extractor calls stages.0 stages_0; Swin, MobileViT and others do the same."""
    name = "convnext_atto"
    source, target = timm.create_model(name), network(f"tu-{name}")
    path = tmp_path / "w.safetensors"
    save_file({key: value.contiguous() for key, value in source.state_dict().items()}, path)
    load_encoder_weights(target, f"tu-{name}", str(path))
    weights = target.encoder.state_dict()["model.stages_1.blocks.0.mlp.fc1.weight"]
    assert torch.equal(weights, source.state_dict()["stages.1.blocks.0.mlp.fc1.weight"])


@pytest.mark.parametrize("encoder", ["resnet18", TINY])
def test_imagenet_without_hub_and_cache_fails_soon_and_says_what_to_do(
    encoder, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    # Nobody listens there.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ConfigError, match="a local file or an s3:// URI"):
        load_encoder_weights(network(encoder), encoder, "imagenet")
    assert time.monotonic() - start < 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no weights at all", "cannot be read"),
        (b"", "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "cannot be read"),
        (b"<html><body>407 Proxy Authentication Required</body></html>", "cannot be read"),
        (b"PK\x03\x04 cut off", "cannot be read"),
        (bytes(8) + b"{ no header", "cannot be read"),
        (None, "no such file"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, message):
    path: Path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_encoder_weights(network(), TINY, str(path))


def test_weights_of_another_encoder_are_refused(tmp_path):
    save_file({k: v.contiguous() for k, v in network("resnet18").encoder.state_dict().items()},
              tmp_path / "w.safetensors")  # fmt: skip
    with pytest.raises(ConfigError, match="weights of this encoder"):
        load_encoder_weights(network(), TINY, str(tmp_path / "w.safetensors"))


def test_a_tensor_of_another_shape_is_told_with_both_shapes(tmp_path):
    state = {k: v.contiguous() for k, v in network().encoder.state_dict().items()}
    name = next(key for key, value in state.items() if value.ndim == 4)
    state[name] = state[name][:, :1].contiguous()
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=rf"{name} of shape \(\d+, 1, 3, 3\), expected \(\d+, 3,"):
        load_encoder_weights(network(), TINY, str(tmp_path / "w.safetensors"))
