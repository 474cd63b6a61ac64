"""Names and options are checked, and that costs no import of torch."""

import subprocess
import sys

import pytest

from segmentor.errors import ConfigError
from segmentor.nn.network_names import require_known, require_options


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("activation", "logits"),
        ("aux_params", "only masks are trained"),
        ("in_channels", "three channels"),
        ("classes", "data set"),
        ("encoder_weights", "model.encoder_weights"),
        ("pretrained", "no option of unet"),
        ("decoder_chanels", "did you mean decoder_channels?"),
    ],
)
@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_options_that_are_given_elsewhere_are_refused_with_any_encoder(option, said, encoder):
    with pytest.raises(ConfigError, match=f"model.options.{option}") as caught:
        require_options("unet", encoder, [option])
    assert said in str(caught.value)


def test_timms_own_arguments_pass_with_its_encoders():
    require_options("unet", "tu-resnet18", ["drop_path_rate"])
    with pytest.raises(ConfigError):
        require_options("unet", "resnet18", ["drop_path_rate"])


@pytest.mark.parametrize(
    ("spelt", "meant"),
    [("DeepLabV3+", "deeplabv3plus"), ("U-Net++", "unetplusplus"), ("unetpp", "unetplusplus"),
     ("deeplab_v3_plus", "deeplabv3plus"), ("u-net", "unet"), ("unnet", "unet")],
)  # fmt: skip
def test_another_spelling_of_an_architecture_is_understood(spelt, meant):
    with pytest.raises(ConfigError) as caught:
        require_known(spelt, "resnet18")
    assert caught.value.remedy == f"did you mean {meant}?"


@pytest.mark.parametrize(
    "encoder",
    ["resnet18", "tu-resnet18", "tu-resnet18.a1_in1k", "tu-tf_efficientnet_b0_ns", "mit_b0"],
)
def test_right_names_pass(encoder):
    require_known("Unet", encoder)


@pytest.mark.parametrize(
    ("encoder", "suggested"),
    [
        ("resnet35", "resnet34"),
        ("convnext_tiny", "tu-convnext_tiny?"),
        ("tu-mit_b0", "mit_b0?"),
        ("timm-mobilenetv3_small_minimal_100", "tu-tf_mobilenetv3_small_minimal_100"),
    ],
)
def test_a_wrong_encoder_is_refused_with_the_nearest(encoder, suggested):
    with pytest.raises(ConfigError) as caught:
        require_known("unet", encoder)
    assert suggested in caught.value.remedy


@pytest.mark.parametrize("encoder", ["tiny", "my_backbone", "vitb"])
def test_a_name_unlike_any_other_gets_no_suggestion(encoder):
    with pytest.raises(ConfigError) as caught:
        require_known("unet", encoder)
    assert caught.value.remedy == ""


def test_torch_is_not_imported_for_it():
    code = (
        "import sys; from segmentor.nn.network_names import require_known; "
        "require_known('unet', 'tu-resnet18'); "
        "sys.exit(bool({'torch', 'timm', 'segmentation_models_pytorch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
