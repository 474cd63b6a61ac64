"""Names read from source equal those of the packages, and cost no import of torch."""

import subprocess
import sys
from inspect import signature

import pytest
import segmentation_models_pytorch as smp
import timm

from segmentor.errors import ConfigError
from segmentor.nn.network_names import (
    ARCHITECTURES,
    architecture_options,
    require_known,
    smp_encoders,
    timm_models,
)


def test_the_names_are_those_of_the_installed_packages():
    assert set(ARCHITECTURES) == set(smp.MODEL_ARCHITECTURES_MAPPING)
    assert smp_encoders() == set(smp.encoders.encoders)
    assert timm_models() >= set(timm.list_models())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_options_are_the_arguments_of_the_class(architecture):
    kind = smp.MODEL_ARCHITECTURES_MAPPING[architecture]
    given = {"self", "kwargs", "encoder_name", "encoder_weights", "in_channels", "classes"}
    assert architecture_options(architecture) == set(signature(kind.__init__).parameters) - given


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
