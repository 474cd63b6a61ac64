"""A step's options, each said once: flags, KFP inputs, pipeline parameters and checks follow.

A step has a frozen dataclass in its options.py. A field `min_iou: float = option(0.5, "...")` is
`--min-iou` on the command line, `min_iou` among the component's inputs and the pipeline's
parameters, and a row of docs/parameters.md. `__post_init__` refuses values that the step cannot
use. Standard library only, so that `--help` answers at once.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from segmentor.booleans import read_boolean
from segmentor.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind = TypeVar("Kind", bound="DataclassInstance")
_METADATA = "option"


@dataclass(frozen=True)
class Rule:
    """What a value must be beyond its type; `expected` says it in the error."""

    accepts: Callable[[Any], bool]
    expected: str


FRACTION = Rule(lambda value: 0 <= value <= 1, "a value in 0..1")


@dataclass(frozen=True)
class Option:
    """One option as its field declares it; `default` is MISSING where it must be given.

    `is_flag`: the step's command takes it; KFP alone reads the others. `local_because`: why the
    command takes it and no pipeline does; empty for a pipeline parameter.
    """

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]
    rule: Rule | None
    is_flag: bool
    local_because: str

    @property
    def flag(self) -> str:
        """As the command line has it."""
        return flag_of(self.name)


def option(
    default: Any = MISSING,
    help: str = "",
    *,
    choices: tuple[str, ...] = (),
    rule: Rule | None = None,
    is_flag: bool = True,
    local_because: str = "",
) -> Any:
    """Declare a field of a dataclass of options; see `Option`."""
    said = {
        "help": help,
        "choices": choices,
        "rule": rule,
        "is_flag": is_flag,
        "local_because": local_because,
    }
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata={_METADATA: said})
    return dataclasses.field(default=default, metadata={_METADATA: said})


def same_as(kind: "type[DataclassInstance]", name: str) -> Any:
    """Declare an option that another dataclass has too: one name, one meaning, one default."""
    other = options_of(kind)[name]
    said = {key: value for key, value in vars(other).items() if key not in ("name", "type")}
    return option(said.pop("default"), said.pop("help"), **said)


def cache_salt(is_flag: bool = False) -> Any:
    """Declare the input that makes KFP run a step again although nothing else has changed."""
    said = "Any new value runs the steps again although their inputs are the same."
    return option("", said, is_flag=is_flag)


def destination() -> Any:
    """Declare where models are published; pods keep data sets and trainings beside them."""
    said = "Where models are published: s3://<bucket> or s3://<bucket>/<prefix>."
    return option("s3://models", said)


def flag_of(name: str) -> str:
    """Return the flag of an option: '--min-iou'."""
    return f"--{name.replace('_', '-')}"


def options_of(kind: "type[DataclassInstance]") -> dict[str, Option]:
    """Return the options that a dataclass declares, by name."""
    return {
        field.name: Option(field.name, field.type, _default(field), **field.metadata[_METADATA])
        for field in dataclasses.fields(kind)
    }


def pipeline_options(*kinds: "type[DataclassInstance]") -> dict[str, Option]:
    """Return the options of several steps that a pipeline passes, by name."""
    found: dict[str, Option] = {}
    for kind in kinds:
        for name, item in options_of(kind).items():
            if item.local_because:
                continue
            # Which commands take it is each step's own affair.
            if replace(found.setdefault(name, item), is_flag=item.is_flag) != item:
                raise TypeError(f"{kind.__name__}.{name} differs from another step's; use same_as")
    return found


def check_values(options: "DataclassInstance") -> None:
    """Refuse values outside an option's choices or against its rule.

    Raises:
        ConfigError: names the flag, the value and what is expected.
    """
    for item in options_of(type(options)).values():
        value = getattr(options, item.name)
        if item.choices and value not in item.choices:
            raise ConfigError(item.flag, f"'{value}'", f"one of {', '.join(item.choices)}")
        if item.rule and not item.rule.accepts(value):
            raise ConfigError(item.flag, repr(value), item.rule.expected)


def add_flags(parser: argparse._ActionsContainer, *kinds: "type[DataclassInstance]") -> None:
    """Add the flags of the options. KFP passes every one: an empty text means 'not given'."""
    for item in _flags(*kinds):
        help_text = item.help.replace("%", "%%")
        if item.type is bool:
            parser.add_argument(
                item.flag,
                type=read_boolean,
                nargs="?",
                const=True,
                default=item.default,
                metavar="true|false",
                help=help_text,
            )
        else:
            is_required = item.default is MISSING
            parser.add_argument(
                item.flag,
                type=_reader(item),
                choices=item.choices or None,
                required=is_required,
                default=None if is_required else item.default,
                help=help_text,
            )


def read_options(kind: type[Kind], arguments: argparse.Namespace) -> Kind:
    """Return the options that parsed arguments give.

    Raises:
        SegmentorError: the step cannot use a value.
    """
    return make_options(kind, vars(arguments))


def make_options(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Return the options that `values` holds by name; its other names are ignored.

    Raises:
        SegmentorError: the step cannot use a value.
    """
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})


def _reader(item: Option) -> Callable[[str], Any]:
    """Return what reads the text of a flag: JSON for lists and objects, as KFP writes them."""
    kind: Callable[..., Any] = get_origin(item.type) or item.type
    if kind not in (list, dict):
        return kind

    def read_json(text: str) -> Any:
        value = json.loads(text) if text else kind()
        if not isinstance(value, list if kind is list else dict):
            raise ValueError
        return value

    # argparse names the type in its message.
    read_json.__name__ = "JSON list" if kind is list else "JSON object"
    return read_json


def _flags(*kinds: "type[DataclassInstance]") -> Iterator[Option]:
    merged: dict[str, Option] = {}
    for kind in kinds:
        merged = options_of(kind) | merged
    return (item for item in merged.values() if item.is_flag)


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
