"""Where an encoder's weights may come from, and what is said when they do not fit."""

import json
import re
import time
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from components.train.configuration.compose import compose_config
from components.train.configuration.weight_places import weights_digest, with_absolute_weights
from components.train.encoder_weights import load_encoder_weights
from components.train.network_weights import load_network_weights
from segmentor.errors import ConfigError
from segmentor.nn.network import NetworkConfig, build_network
from segmentor.object_uri import ObjectUri

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


@pytest.mark.parametrize("nest", ["model_state_dict", "net", "model_state", "weights"])
def test_the_weights_within_a_torch_file_are_found_under_any_name(tmp_path, nest):
    source, target = network(seed=1), network()
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}
    torch.save({"epoch": 3, "optimizer": optimizer, nest: source.state_dict()}, tmp_path / "w.tar")
    load_encoder_weights(target, TINY, str(tmp_path / "w.tar"))
    assert_same_encoder(target, source)


def test_a_folder_of_save_pretrained(tmp_path):
    source, target = network(seed=1), network()
    source.save_pretrained(tmp_path / "saved")
    load_encoder_weights(target, TINY, str(tmp_path / "saved"))
    assert_same_encoder(target, source)
    assert weights_digest(str(tmp_path / "saved")).startswith("sha256:")
    with pytest.raises(ConfigError, match="a folder without weights"):
        load_encoder_weights(target, TINY, str(tmp_path))


def test_a_pickled_network_is_refused_with_what_to_save_instead(tmp_path):
    torch.save(network(), tmp_path / "whole.pth")
    with pytest.raises(ConfigError, match="pickled objects") as caught:
        load_encoder_weights(network(), TINY, str(tmp_path / "whole.pth"))
    assert "torch.save(network.state_dict(), path)" in caught.value.remedy
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.", "module.model."])
def test_a_whole_network_trained_elsewhere_is_the_start(tmp_path, prefix):
    source, target = network(seed=1), network()
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.ckpt")
    load_network_weights(target, str(tmp_path / "w.ckpt"))
    for (name, a), b in zip(target.state_dict().items(), source.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_of_other_classes_all_but_the_head_is_taken(tmp_path, caplog):
    torch.manual_seed(1)
    source = build_network(NetworkConfig("unet", TINY), 5)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    target = network()
    before = target.segmentation_head[0].weight.clone()
    load_network_weights(target, str(tmp_path / "w.pth"))
    assert torch.equal(target.segmentation_head[0].weight, before)
    for name, value in target.decoder.state_dict().items():
        assert torch.equal(value, source.decoder.state_dict()[name]), name
    assert "the head belongs to other classes and starts from random weights" in caplog.text


def test_another_network_as_the_start_is_refused(tmp_path):
    torch.save(network("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="model.weights: .* tensors do not fit") as caught:
        load_network_weights(network(), str(tmp_path / "w.pth"))
    assert "model.encoder_weights" in caught.value.remedy


def test_a_finished_checkpoint_is_the_start_of_a_training_with_other_classes(
    train, finished, street_data, tmp_path, caplog
):
    outputs = train(
        street_data, tmp_path, "training.epochs=1", f"model.weights={finished.checkpoint}"
    )
    assert outputs.code == 0
    assert "the head belongs to other classes" in caplog.text


def test_relative_files_of_weights_become_absolute_and_must_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"w")
    given = ["seed=1", "model.encoder_weights=w.pth", "model.weights='w.pth'"]
    assert with_absolute_weights(given) == [
        "seed=1",
        f"model.encoder_weights='{tmp_path}/w.pth'",
        f"model.weights='{tmp_path}/w.pth'",
    ]
    same = ["model.encoder_weights=imagenet", "model.weights=s3://a/b", "model.weights=none"]
    assert with_absolute_weights(same) == same
    with pytest.raises(ConfigError, match=f"'v.pth': no such file in {tmp_path}"):
        with_absolute_weights(["model.weights=v.pth"])


def as_meta_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv3's tensors under the names of Meta's own files."""
    found = {}
    for key, value in state.items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", key)
        name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", name)
        name = name.replace("conv_dw", "dwconv").replace("head.norm", "norm")
        if name.startswith("stages"):
            name = name.replace("mlp.fc", "pwconv")
        name = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        found[name.replace("reg_token", "storage_tokens")] = value.contiguous()
    if "storage_tokens" in found:
        found |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}
        found["blocks.0.attn.qkv.bias"] = torch.zeros(1152)
    return found


@pytest.mark.parametrize("names", [dict, as_meta_names], ids=["timm", "Meta"])
@pytest.mark.parametrize("preset", ["unet_convnext_dinov3", "dpt_dinov3"])
def test_a_preset_of_dinov3_takes_the_weights_as_they_are_published(
    preset, names, tmp_path, capsys
):
    path = tmp_path / "model.safetensors"
    model = compose_config([f"model={preset}", f"model.encoder_weights={path}"])["model"]
    torch.manual_seed(1)
    published = timm.create_model(model["encoder"].removeprefix("tu-"), num_classes=0)
    save_file(names({k: v.contiguous() for k, v in published.state_dict().items()}), path)
    target = build_network(NetworkConfig(model["architecture"], model["encoder"]), 1)
    load_encoder_weights(target, model["encoder"], model["encoder_weights"])
    loaded = {
        re.sub(r"^model\.", "", re.sub(r"(stages|stem)_(\d)", r"\1.\2", name)): value
        for name, value in target.encoder.state_dict().items()
    }
    expected = published.state_dict()
    assert loaded
    for name, value in loaded.items():
        assert torch.equal(value, expected[name]), name
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("preset", ["unet_convnext_dinov3", "dpt_dinov3"])
def test_weights_of_another_encoder_are_refused_for_a_preset_of_dinov3(preset, tmp_path):
    model = compose_config([f"model={preset}", "model.encoder_weights=none"])["model"]
    path = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in network().encoder.state_dict().items()}, path)
    target = build_network(NetworkConfig(model["architecture"], model["encoder"]), 1)
    with pytest.raises(ConfigError, match="tensors of the encoder"):
        load_encoder_weights(target, model["encoder"], str(path))


def test_a_preset_of_dinov3_asks_for_its_weights():
    with pytest.raises(ConfigError, match=r"give model\.encoder_weights="):
        compose_config(["model=dpt_dinov3"])
    whole = compose_config(["model=dpt_dinov3", "model.weights=whole.pt"])["model"]
    assert whole["encoder_weights"] == "none"
