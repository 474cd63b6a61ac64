import pytest

from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML
from pipelines.local.command import parameters_for
from pipelines.parameters import checked_parameters
from segmentor.errors import SegmentorError

EXPORT = "s3://datasets/task.zip"


def checked(overrides, assignments, pipeline=SEGMENTATION_YAML):
    return checked_parameters(pipeline, parameters_for(EXPORT, overrides, assignments, pipeline))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("ratios=0.7,0.3", "parameter ratios: '0.7,0.3', expected three shares"),
        ("seed=-1", "parameter seed: -1, expected a whole number, 0 or greater"),
        ("unlabelled=black", "parameter unlabelled: 'black', expected one of background, ignore"),
        ("near_duplicates=no", "parameter near_duplicates: 'no', expected one of together"),
        ("export_precision=fp16", "parameter export_precision: 'fp16', expected one of float32"),
        ("size_policy=crop", "parameter size_policy: 'crop', expected one of trained, resize"),
        ("classes=road=", "parameter classes: 'road='"),
        ("group_pattern=(", "parameter group_pattern: '('"),
        ("label_map=none.yaml", "none.yaml: unreadable"),
        ("images=none.zip", "none.zip: no such file or folder"),
        ("min_iou=1.5", "parameter min_iou: 1.5, expected a value in 0..1"),
        ("model_name=Road Model", "parameter model_name: 'Road Model'"),
        ("destination=/models", "/models: no object store URI"),
        ("deploy_deadline=0", "parameter deploy_deadline: 0, expected more than 0 seconds"),
        ("version=a b", "parameter version: 'a b'"),
        ("train_overrides='model=tiny", "closed quotes"),
    ],
)
def test_what_a_later_step_would_refuse_is_refused_at_once(parameter: str, message: str) -> None:
    with pytest.raises(SegmentorError) as caught:
        checked([], [parameter])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "did you mean training.epochs"),
        ("training.epochs=0", "training.epochs: 0, expected at least 1"),
        ("training.epochs=many", "training.epochs"),
        ("model=unet_resnet43", "model: no preset 'unet_resnet43'"),
        ("model.architecture=unett", "model.architecture: 'unett'"),
        ("model.encoder=resnet43", "model.encoder: 'resnet43'"),
        ("epochs", "no '='"),
    ],
)
def test_every_override_is_checked_as_training_does(override: str, message: str) -> None:
    with pytest.raises(SegmentorError) as caught:
        checked([override], [])
    assert message in str(caught.value)


def test_a_sweep_says_in_which_of_its_sets_the_error_is() -> None:
    with pytest.raises(SegmentorError, match=r"model\.encoder \(in 'seed=1 model\.encoder=x'\)"):
        checked(["model=tiny", "seed=1 model.encoder=x"], [], SWEEP_YAML)


def test_the_defaults_of_the_pipelines_pass() -> None:
    for pipeline in (SEGMENTATION_YAML, SWEEP_YAML):
        assert parameters_for(EXPORT, [], [], pipeline) == {"source": EXPORT}
        assert checked([], [], pipeline)["source"] == EXPORT
