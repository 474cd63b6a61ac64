"""What a step would refuse later is refused now: a typing error should not cost hours of a run.

Each check is the step's own, called with the pipeline's parameters.
"""

import argparse
import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from segmentor.errors import ConfigError, DataError, SegmentorError
from segmentor.object_store import ObjectUri, is_object_uri

# Their command lines name the words that an option may be, and read its values.
_STEPS_WITH_WORDS = ("convert_labels", "split", "export")
# Parameters that have another name than the step's flag.
_PARAMETERS = {"name": "model_name", "precision": "export_precision"}


def check_step_options(values: Mapping[str, Any]) -> None:
    """Refuses parameters that a step of the pipeline would refuse.

    Args:
        values: Every parameter of the pipeline. Those that a pipeline does not have are not
            checked.

    Raises:
        ConfigError: a value that its step cannot take.
        LabelMapError: classes that cannot be read.
        DataError: a file that is not there.
        StoreError: a destination that is no object store URI.
    """
    for step in _STEPS_WITH_WORDS:
        _check_words(import_module(f"components.{step}.__main__").build_parser(), values)
    with _named_as_parameters():
        _check_data_options(values)
        _check_training(values)
        _check_deploy_options(values)


def _check_words(parser: argparse.ArgumentParser, values: Mapping[str, Any]) -> None:
    for action in parser._actions:  # argparse has no public list
        name = _PARAMETERS.get(action.dest, action.dest)
        value = values.get(name)
        if action.choices and value is not None and value not in action.choices:
            words = ", ".join(map(str, action.choices))
            raise ConfigError(f"parameter {name}", f"'{value}'", f"one of {words}")
        if callable(action.type) and value is not None:
            try:
                action.type(str(value))
            except argparse.ArgumentTypeError as error:
                raise ConfigError(f"parameter {name}", str(error)) from error


def _check_data_options(values: Mapping[str, Any]) -> None:
    from components.convert_labels.class_mapping import parse_classes
    from components.convert_labels.label_map_file import read_label_map_file
    from components.convert_labels.planning import group_by_pattern
    from components.split.splitting import parse_ratios

    images, label_map = values.get("images"), values.get("label_map")
    if images and not is_object_uri(images) and not Path(images).exists():
        raise DataError(images, "no such file or folder", "the images: a zip or a folder")
    if label_map and not is_object_uri(label_map):
        read_label_map_file(label_map)
    if classes := values.get("classes"):
        parse_classes(classes)
    if pattern := values.get("group_pattern"):
        group_by_pattern(pattern)
    if "ratios" in values:
        parse_ratios(values["ratios"])


def _check_training(values: Mapping[str, Any]) -> None:
    """Composes and validates every training configuration, architecture and encoder included."""
    from components.train.compose import compose_config, split_overrides
    from components.train.config import to_train_config

    texts = values.get("override_sets", [values.get("train_overrides", "")])
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError("parameter override_sets", json.dumps(text), "a list of texts")
        with _in_one_set(text, texts):
            to_train_config(compose_config(split_overrides(text, [])))


def _check_deploy_options(values: Mapping[str, Any]) -> None:
    from components.deploy.gate import Thresholds
    from components.deploy.inference_service import Target
    from components.deploy.publishing import require_version

    if "min_iou" not in values:  # a pipeline that deploys nothing
        return
    limits = ("min_iou", "max_probability_difference", "max_flipped_fraction", "max_iou_drop")
    Thresholds(*(values[name] for name in limits))
    Target(values["model_name"], values["namespace"], values["predictor_service_account"])
    ObjectUri.parse(values["destination"])
    if version := values["version"]:
        require_version(version)
    if values["deploy_deadline"] <= 0:
        raise ConfigError(
            "parameter deploy_deadline", str(values["deploy_deadline"]), "more than 0 seconds"
        )


@contextlib.contextmanager
def _named_as_parameters() -> Iterator[None]:
    """Names what is wrong by its parameter: a step's message has the flag (--group-pattern)."""
    try:
        yield
    except SegmentorError as error:
        if not error.where.startswith("--"):
            raise
        flag = error.where.removeprefix("--").replace("-", "_")
        where = f"parameter {_PARAMETERS.get(flag, flag)}"
        raise type(error)(where, error.found, error.expected, error.remedy) from error


@contextlib.contextmanager
def _in_one_set(text: str, texts: list[str]) -> Iterator[None]:
    """Says in which of several override sets the error is."""
    try:
        yield
    except SegmentorError as error:
        if len(texts) < 2:
            raise
        where = f"{error.where} (in {shlex.quote(text)})"
        raise type(error)(where, error.found, error.expected, error.remedy) from error
