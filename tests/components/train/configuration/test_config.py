"""The configuration: every preset is valid, and what is wrong is named with the right key."""

import json

import pytest
import yaml

from components.train.__main__ import main
from components.train.configuration.compose import compose_config, presets, split_overrides, to_yaml
from components.train.configuration.config import to_train_config
from components.train.configuration.transform_names import TRANSFORMS_FILE
from components.train.installed_names import network_names, transform_arguments
from components.train.losses import LOSSES, SegmentationLoss
from segmentor.errors import ConfigError
from segmentor.nn.network_names import NAMES_FILE, architectures


@pytest.mark.parametrize(
    "group_preset",
    [f"{group}={name}" for group in ("model", "processing", "training") for name in presets(group)],
)
def test_every_shipped_preset_is_valid(group_preset):
    # Presets whose weights nobody may hand on ask for a file.
    given = ["model.encoder_weights=none"] if group_preset.endswith("_dinov3") else []
    to_train_config(compose_config([group_preset, *given]))


def test_the_presets_that_the_docs_name_are_there():
    assert presets("model") == [
        "deeplabv3plus", "dpt_dinov3", "fpn", "segformer", "tiny", "unet_convnext_dinov3",
        "unet_lite0", "unet_resnet34",
    ]  # fmt: skip
    assert presets("processing") == ["generic", "road", "small_objects"]
    assert presets("training") == ["cpu_fast", "default", "gpu", "overfit_batch"]


def test_an_override_reaches_its_value():
    config = to_train_config(
        compose_config(["training.epochs=7", "processing.size=[64,96]", "training.loss={dice: 2}"])
    )
    assert config.training.epochs == 7
    assert config.processing.size == (64, 96)
    assert config.training.loss == {"dice": 2.0}


def test_a_transform_can_be_added_and_removed():
    composed = compose_config(
        ["~processing.augmentation.Affine", "+processing.augmentation.GaussNoise={p: 0.2}"]
    )
    names = list(composed["processing"]["augmentation"])
    assert names == ["HorizontalFlip", "RandomBrightnessContrast", "GaussNoise"]


def test_transforms_and_options_in_braces_take_the_place_of_the_presets():
    """Hydra alone merges them: whoever turned augmentation off would train on mirrored text."""
    composed = compose_config(["processing.augmentation={}", "model.options={}"])
    assert composed["processing"]["augmentation"] == {}
    assert composed["model"]["options"] == {}
    one = {"HorizontalFlip": {"p": 0.1}}
    composed = compose_config(["processing.augmentation={HorizontalFlip: {p: 0.1}}"])
    assert composed["processing"]["augmentation"] == one
    composed = compose_config(["processing.augmentation={}", "+processing.augmentation.Blur={}"])
    assert composed["processing"]["augmentation"] == {"Blur": {}}


def test_adding_what_the_preset_has_already_changes_it():
    composed = compose_config(["+model.options.decoder_channels=[8,8,8,8,8]"])
    assert composed["model"]["options"] == {"decoder_channels": [8] * 5}


@pytest.mark.parametrize("architecture", architectures())
def test_every_architecture_can_be_chosen_by_its_name_alone(architecture):
    """The options of the preset are those of its own architecture."""
    config = to_train_config(compose_config([f"model.architecture={architecture}"]))
    kept = {"decoder_channels": [64, 48, 32, 24, 16]} if architecture == "unet" else {}
    assert config.model.options == kept


def test_an_option_that_was_asked_for_stays_with_another_architecture():
    given = ["model.architecture=unetplusplus", "model.options.decoder_channels=[8,8,8,8,8]"]
    assert compose_config(given)["model"]["options"] == {"decoder_channels": [8] * 5}
    given = ["model=fpn", "model.architecture=pan", "model.options={decoder_channels: 8}"]
    assert compose_config(given)["model"]["options"] == {"decoder_channels": 8}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "did you mean training.epochs?"),
        ("epochs=3", "did you mean training.epochs?"),
        ("+training.epoch=3", "did you mean training.epochs?"),
        ("training.lr=1", "did you mean training.learning_rate?"),
        ("training.learning-rate=1", "did you mean training.learning_rate?"),
        ("training.epochs=3,", "'3,', expected one value; write training.epochs=3"),
        ("+training.epochs=3", "a '+' before a known key, expected training.epochs=3"),
        ("+processing.augmentation.Normalise={}", "the network normalises by itself"),
        ("+processing.augmentation.OneOff={}", "name the transforms one by one"),
        ("training.learningrate=1", "did you mean training.learning_rate?"),
        ("model=tinny", "did you mean model=tiny?"),
        ("modle=tiny", "did you mean model"),
        ("optimizer.learning_rate=1", "one of model, processing, training, seed; did"),
        ("optimizer.learningrate=1", "did you mean training.learning_rate?"),
        ("training.optimizer.momentum=1", "did you mean training.momentum?"),
        ("model.architecture=unnet", "did you mean unet?"),
        ("model.encoder=resnet35", "did you mean resnet50, resnet34"),
        ("training.epochs=many", "a whole number"),
        ("training.epochs=2.5", "a whole number"),
        ("training.epochs=true", "a whole number"),
        ("training.epochs=0", "at least 1"),
        ("training.learning_rate=-1", "above 0"),
        ("training.learning_rate=nan", "above 0"),
        ("training.learning_rate=inf", "above 0"),
        ("training.weight_decay=inf", "at least 0"),
        ("training.momentum=5", "below 1"),
        ("training.optimizer=adm", "adam or adamw or sgd"),
        ("processing.size=[64]", "auto or a list of 2 values"),
        ("processing.size=big", "auto or a list of 2 values"),
        ("processing.mean=[0,0,zero]", "a list of 3 values"),
        ("training.loss={dice: much}", "auto or a mapping"),
        ("training.loss={dise: 1}", "did you mean training.loss.dice?"),
        ("training.loss={foo: 1}", "one of dice, bce, focal, jaccard"),
        ("training.loss={}", "no terms"),
        ("training.loss={dice: 0}", "a weight above 0"),
        ("+processing.augmentation.GausNoise={p: 1}", "did you mean GaussNoise"),
        ("+processing.augmentation.GaussNoise={prop: 1}", "std_range"),
        ("+processing.augmentation.VerticalFlip={prob: 1}", "no argument of VerticalFlip"),
        ("+processing.augmentation.VerticalFlip=0.5", "arguments, such as {p: 0.5}"),
        ("processing.std=[0,0.2,0.2]", "values above 0"),
        ("processing.mean=[inf,0,0]", "at most 1"),
        ("processing.mean=[123.7,116.3,103.5]", "divide values meant for pixels of 0..255 by 255"),
        ("processing.size=[60,96]", "set processing.size=[64,96]"),
        ("training.loss={dice: inf}", "a weight above 0"),
        ("training.class_weights=[1,-1]", "positive weights, one a class"),
        ("training.epochs", "no '='"),
        ("training.loss={dice: 1", "training.loss={dice: 1"),
        ("training.mirror=null", "a text"),
        ("training.loss.dice=1", "write training.loss='{dice: 1}'"),
        ("training=1", "no preset '1', expected one of cpu_fast"),
        ("model=null", "no preset 'null', expected one of deeplabv3plus"),
        ("training@x=1", "expected Hydra overrides"),
        ("seed=-1", "at least 0"),
        ("+model.options.decoder_chanels=[8]", "did you mean decoder_channels?"),
        ("hydra.run.dir=elsewhere", "say where outputs go by flags"),
        ("model.encoder_weights=imagenett", "did you mean imagenet?"),
        ("training.epochs = 3", "spaces beside '='"),
        ("training.amp=true", "did you mean training.precision?"),
        ("+training.amp=true", "did you mean training.precision?"),
        ("training.zzz=1", "one of epochs, batch_size"),
        ("model.arch=unet", "did you mean model.architecture?"),
        ("processing.image_size=[224,288]", "did you mean processing.size?"),
        ("model.backbone=resnet18", "did you mean model.encoder?"),
        ("model.in_channels=4", "images are RGB: three channels"),
        ("+model.num_classes=4", "the classes are those of the data set"),
        ("processing.size=224,288", "write processing.size=[224,288]"),
        ("training.class_weights=1,2", "write training.class_weights=[1,2]"),
        ("training.loss=dice", "write training.loss='{dice: 1}'"),
        ("~processing.augmentation.Flip", "did you mean ~processing.augmentation.HorizontalFlip?"),
        ("~processing.augmentation.Zzz", "one of HorizontalFlip, RandomBrightnessContrast, Affine"),
        ("model.encoder_weights.x=1", "an unknown key"),
        ("processing.augmentation.HorizontalFlip={prob: 1}", "add it with +processing"),
    ],
)
def test_wrong_overrides_are_refused_in_one_line(override, message):
    with pytest.raises(ConfigError) as caught:
        to_train_config(compose_config([override]))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["training.zzz=1", "training.amp=true", "model.arch=x"])
def test_a_plus_is_only_advised_where_it_helps(key):
    with pytest.raises(ConfigError) as caught:
        to_train_config(compose_config([key]))
    assert "+" not in caught.value.remedy
    with pytest.raises(ConfigError, match=r"\+processing.augmentation.GaussNoise='{p: 1}'"):
        compose_config(["processing.augmentation.GaussNoise.p=1"])
    with pytest.raises(ConfigError, match=r"a new argument is added with \+model.options.zzz=1"):
        compose_config(["model.options.zzz=1"])


def test_a_list_that_the_shell_has_split_is_put_together():
    given = ["processing.size=[224,", "288]", "seed=3", "+processing.augmentation.Blur={p:", "0.1}"]
    composed = compose_config(given)
    assert composed["processing"]["size"] == [224, 288]
    assert composed["processing"]["augmentation"]["Blur"] == {"p": 0.1}
    assert composed["seed"] == 3


def test_a_value_may_hold_an_equals_sign():
    composed = compose_config(["model.encoder_weights=log/epoch=9-step=10.ckpt"])
    assert composed["model"]["encoder_weights"] == "log/epoch=9-step=10.ckpt"


def test_the_lists_of_names_are_those_of_the_installed_packages():
    """Else run `python -m components.train.installed_names`."""
    assert json.loads(TRANSFORMS_FILE.read_text()) == transform_arguments()
    assert json.loads(NAMES_FILE.read_text()) == json.loads(json.dumps(network_names()))


def test_the_losses_of_the_configuration_are_those_that_can_be_built():
    for is_binary, excluded in ((True, "cross_entropy"), (False, "bce")):
        terms = {name: 1.0 for name in LOSSES if name != excluded}
        assert set(SegmentationLoss(terms, is_binary).terms) == set(terms)


def test_one_text_is_split_as_a_shell_would():
    assert split_overrides("model=fpn training.loss='{dice: 1}'", ["seed=2"]) == [
        "model=fpn", "training.loss={dice: 1}", "seed=2",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="closed quotes"):
        split_overrides("training.loss='{dice", [])


def test_the_printed_configuration_reads_back():
    composed = compose_config(["model=fpn", "processing=small_objects", "training=gpu"])
    assert yaml.safe_load(to_yaml(composed)) == composed


def test_a_misspelt_flag_beside_cfg_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--cfg", "job", "--overridez=x"])
    assert caught.value.code == 2
    assert "--overridez" in capsys.readouterr().err
    assert main(["--cfg", "job", "--train", "anything", "--logs=anything", "seed=7"]) == 0
    assert "seed: 7" in capsys.readouterr().out
