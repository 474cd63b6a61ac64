"""The parameters of a compiled pipeline: read from its YAML, and checked before anything starts."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from segmentor.errors import ConfigError

Value = str | int | float | bool | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter as the pipelines UI shows it; `type` is KFP's own name ('NUMBER_INTEGER')."""

    name: str
    type: str
    default: Value | None
    description: str

    @property
    def is_required(self) -> bool:
        """True when a run must give it."""
        return self.default is None


@lru_cache
def load_pipeline(path: Path) -> dict[str, Any]:
    """Returns the pipeline specification, the first document of a compiled YAML file.

    Raises:
        ConfigError: no such file, or not a compiled pipeline.
    """
    try:
        specification = next(yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
        specification["root"]["dag"]
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file", "a compiled pipeline") from None
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, UnicodeDecodeError):
        raise ConfigError(str(path), "another kind of file", "a compiled pipeline") from None
    return specification


def pipeline_parameters(path: Path) -> dict[str, Parameter]:
    """Returns the parameters of a compiled pipeline by name."""
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
    """Reads `name=value` texts, as a command line gives them.

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


def checked_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Value]:
    """Returns a value for every parameter of a pipeline: given ones, else defaults.

    Args:
        path: The compiled pipeline.
        given: Values by name; texts are read as the parameter's type says.

    Raises:
        ConfigError: an unknown name, a value of another type, or a required one left out.
    """
    known = pipeline_parameters(path)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"they are {', '.join(sorted(known))}"
            raise ConfigError(f"parameter {name}", "unknown", "one of the pipeline's", hint)
    missing = [item.name for item in known.values() if item.is_required and item.name not in given]
    if missing:
        raise ConfigError(f"parameter {missing[0]}", "not given", "a value; it has no default")
    return {
        name: _typed(parameter, given[name]) if name in given else parameter.default
        for name, parameter in known.items()
    }


def _default(definition: Mapping[str, Any]) -> Value | None:
    default = definition.get("defaultValue")
    # The compiler writes whole numbers as 0.0.
    is_integer = definition["parameterType"] == "NUMBER_INTEGER"
    return int(default) if is_integer and default is not None else default


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.strip().lower()]


_READERS: dict[str, tuple[Callable[[str], Value], type | tuple[type, ...], str]] = {
    "STRING": (str, str, "a text"),
    "NUMBER_INTEGER": (int, int, "a whole number"),
    "NUMBER_DOUBLE": (float, (int, float), "a number"),
    "BOOLEAN": (_boolean, bool, "true or false"),
    "LIST": (json.loads, list, "a JSON list"),
    "STRUCT": (json.loads, dict, "a JSON object"),
}


def _typed(parameter: Parameter, value: Any) -> Value:
    read, types, expected = _READERS[parameter.type]
    where = f"parameter {parameter.name}"
    try:
        result = read(value) if isinstance(value, str) else value
    except (ValueError, KeyError):
        raise ConfigError(where, f"'{value}'", expected) from None
    # JSON has one kind of number: a rerun sends 600.0.
    if types is int and isinstance(result, float) and result.is_integer():
        result = int(result)
    # bool is an int to Python, and a different type to KFP.
    if not isinstance(result, types) or isinstance(result, bool) != (types is bool):
        raise ConfigError(where, repr(value), expected)
    return result
