"""The parameters of a compiled pipeline: read from its YAML, and checked before anything starts."""

import difflib
import json
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipelines.early_checks import check_options
from segmentor.booleans import read_boolean
from segmentor.errors import ConfigError

Value = str | int | float | bool | list[Any] | dict[str, Any]
# Their values are paths, or URIs of an object store.
PATH_PARAMETERS = ("source", "images", "label_map")


@dataclass(frozen=True)
class Parameter:
    """A pipeline parameter; `type` is KFP's name ('NUMBER_INTEGER')."""

    name: str
    type: str
    default: Value | None
    description: str

    @property
    def is_required(self) -> bool:
        """Return True when a run must give it."""
        return self.default is None


@lru_cache
def load_pipeline(path: Path) -> dict[str, Any]:
    """Return the pipeline specification, the first document of a compiled YAML file.

    Raises:
        ConfigError: no such file, or not a compiled pipeline.
    """
    try:
        specification: dict[str, Any] = next(
            yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        )
        specification["root"]["dag"]
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file", "a compiled pipeline") from None
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, UnicodeDecodeError):
        raise ConfigError(str(path), "another kind of file", "a compiled pipeline") from None
    return specification


def pipeline_parameters(path: Path) -> dict[str, Parameter]:
    """Return the parameters of a compiled pipeline by name."""
    definitions = load_pipeline(path)["root"].get("inputDefinitions", {}).get("parameters", {})
    return {
        name: Parameter(
            name,
            definition["parameterType"],
            _default(definition),
            definition.get("description", ""),
        )
        for name, definition in definitions.items()
    }


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Read `name=value` texts, as a command line gives them.

    Raises:
        ConfigError: a text without '=', or a name twice.
    """
    values = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name:
            raise ConfigError("--param", f"'{assignment}'", "name=value")
        if name.strip() in values:
            raise ConfigError(f"parameter {name.strip()}", "given twice", "one value")
        values[name.strip()] = value
    return values


def checked_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every parameter of a pipeline, checked as its steps will check it.

    What is not given has its default.

    Args:
        path: The compiled pipeline.
        given: Values by name; texts are read as the parameter's type says.

    Raises:
        ConfigError: an unknown name, a value of another type, or required ones left out.
        SegmentorError: a value that a step cannot use, or a file that is not there.
    """
    known = pipeline_parameters(path)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"they are {', '.join(sorted(known))}"
            raise ConfigError(f"parameter {name}", "unknown", "one of the pipeline's", hint)
    missing = [item.name for item in known.values() if item.is_required and item.name not in given]
    if missing:
        where = f"parameter{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        given_by = (
            "--export ..." if name == "source" else f"--param {name}=..." for name in missing
        )
        raise ConfigError(where, "required, but not given", "", f"add {' '.join(given_by)}")
    values = {
        name: _typed(parameter, given[name]) if name in given else parameter.default
        for name, parameter in known.items()
    }
    check_options(values)
    return values


def _default(definition: Mapping[str, Any]) -> Value | None:
    default = definition.get("defaultValue")
    # The compiler writes whole numbers as 0.0.
    is_integer = definition["parameterType"] == "NUMBER_INTEGER"
    return int(default) if is_integer and default is not None else default


_READERS: dict[str, tuple[Callable[[str], Value], type | tuple[type, ...], str]] = {
    "STRING": (str, str, "a text"),
    "NUMBER_INTEGER": (int, int, "a whole number"),
    "NUMBER_DOUBLE": (float, (int, float), "a number"),
    "BOOLEAN": (read_boolean, bool, "true or false"),
    "LIST": (json.loads, list, "a JSON list"),
    "STRUCT": (json.loads, dict, "a JSON object"),
}


def _typed(parameter: Parameter, value: Any) -> Any:
    read, types, expected = _READERS[parameter.type]
    where = f"parameter {parameter.name}"
    try:
        result = read(value) if isinstance(value, str) else value
    except (ValueError, ArgumentTypeError):
        raise ConfigError(where, f"'{value}'", expected) from None
    # JSON does not distinguish integers: a rerun sends 600.0.
    if types is int and isinstance(result, float) and result.is_integer():
        result = int(result)
    # bool is a subclass of int in Python, but another type in KFP.
    if not isinstance(result, types) or isinstance(result, bool) != (types is bool):
        raise ConfigError(where, repr(value), expected)
    return result
