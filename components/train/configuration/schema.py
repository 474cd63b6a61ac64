"""Reads mappings into frozen dataclasses: unknown keys and wrong types are refused by name."""

import types
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from segmentor.errors import ConfigError

T = TypeVar("T")


def read(kind: type[T], value: Any, where: str) -> T:
    """Build a dataclass from a mapping, field by field."""
    if not isinstance(value, Mapping):
        raise ConfigError(where or "configuration", f"{value!r}", "a group of settings")
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in names:
            raise unknown_key(_join(where, str(key)), [_join(where, name) for name in names])
    missing = [name for name in names if name not in value]
    if missing:
        raise ConfigError(_join(where, missing[0]), "nothing", "a value", "add it to the preset")
    return kind(**{name: _value(hints[name], value[name], _join(where, name)) for name in names})


# Other tools' words for a setting, by its last part.
_ALIASES = {
    "amp": "training.precision",
    "mixed_precision": "training.precision",
    "fp16": "training.precision",
    "backbone": "model.encoder",
    "pretrained": "model.encoder_weights",
    "checkpoint": "model.weights",
    "criterion": "training.loss",
    "gpu": "training.device",
    "gpus": "training.device",
    "accelerator": "training.device",
    "transforms": "processing.augmentation",
}
# Settings that there cannot be, and why.
_FIXED = {
    "in_channels": "images are RGB: three channels",
    "channels": "images are RGB: three channels",
    "classes": "the classes are those of the data set",
    "num_classes": "the classes are those of the data set",
    "activation": "the activation follows from the classes",
}


def unknown_key(key: str, known: list[str], hint: str = "") -> ConfigError:
    """Return the error for a key that is not in the schema, with the nearest one that is."""
    leaf, group = key.rpartition(".")[2], key.rpartition(".")[0]
    while not (inside := [name for name in known if name.rpartition(".")[0] == group]) and group:
        group = group.rpartition(".")[0]  # no such group: what the one above it holds
    best = (
        [name for name in known if name.rpartition(".")[2] == leaf]
        or [name for name in known if _initials(name) == leaf]
        or [name for name in known if name == _ALIASES.get(leaf)]
        or _near_leaf(leaf, inside, 0.8)
        or _shared_word(leaf, inside)
        or _near_leaf(leaf, inside, 0.6)
        or _shared_word(leaf, known)
        or _near_leaf(leaf, known, 0.75)
        or [""]
    )[0]
    names = ", ".join(name.rpartition(".")[2] for name in inside or known)
    where = f" in {group}" if group else ""
    remedy = _FIXED.get(leaf) or (f"did you mean {best}?" if best else hint)
    return ConfigError(key, "an unknown key", f"one of {names}{where}", remedy)


def _initials(key: str) -> str:
    """Return the initials: `lr` for `training.learning_rate`; "" for a single word."""
    words = key.rpartition(".")[2].split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def _shared_word(leaf: str, known: list[str]) -> list[str]:
    """Return the keys that begin with the word (`arch`) or contain it (`image_size`)."""
    names = {name.rpartition(".")[2]: name for name in known}
    beginning = [full for name, full in names.items() if len(leaf) > 2 and name.startswith(leaf)]
    return beginning or [names[word] for word in leaf.split("_")[::-1] if word in names]


def _near_leaf(leaf: str, known: list[str], cutoff: float) -> list[str]:
    """Return the keys whose last part is nearest; the groups before it would make any two alike."""
    leaves = {name.rpartition(".")[2]: name for name in known}
    return [leaves[near] for near in get_close_matches(leaf, leaves, 1, cutoff)]


def _value(hint: Any, value: Any, where: str) -> Any:
    """Check one value against its annotation; whole numbers are accepted for floats."""
    if hasattr(hint, "__dataclass_fields__"):
        return read(hint, value, where)
    for option in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        ok, result = _match(option, value)
        if ok:
            return result
    raise ConfigError(where, f"{value!r} ({type(value).__name__})", _describe(hint))


def _match(hint: Any, value: Any) -> tuple[bool, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments and not isinstance(value, bool), value
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            return False, None
        items = [_match(option, item) for option, item in zip(arguments, value, strict=True)]
        return all(ok for ok, _ in items), tuple(item for _, item in items)
    if origin is list:
        if not isinstance(value, list | tuple):
            return False, None
        items = [_match(arguments[0], item) for item in value]
        return all(ok for ok, _ in items), [item for _, item in items]
    if origin is dict:
        if not isinstance(value, Mapping):
            return False, None
        pairs = {str(key): _match(arguments[1], item) for key, item in value.items()}
        return all(ok for ok, _ in pairs.values()), {key: item for key, (_, item) in pairs.items()}
    if hint is Any:
        return True, value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return True, float(value)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool)), value


def _describe(hint: Any) -> str:
    """Say in words what an annotation allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments)
    if origin is Literal:
        return " or ".join(str(value) for value in arguments)
    if origin is tuple:
        return f"a list of {len(arguments)} values ({_describe(arguments[0])})"
    if origin is list:
        return f"a list ({_describe(arguments[0])})"
    if origin is dict:
        return "a mapping"
    return {int: "a whole number", float: "a number", str: "a text"}.get(hint, str(hint))


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
