"""Hydra's compose, with its errors as ours: the one place that knows Hydra."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from components.train.configuration.schema import unknown_key
from segmentor.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration: the defaults, the chosen groups, then single values.

    Args:
        overrides: As on Hydra's command line, e.g. `model=fpn`, `training.epochs=40`,
            `+processing.augmentation.GaussNoise={p: 0.2}`.

    Raises:
        ConfigError: an override that cannot be read, or names no group, preset or key.
    """
    overrides = _joined(overrides)
    for override in overrides:
        if re.match(r"[+~]*hydra[./]", override):
            raise ConfigError(
                override, "a setting of Hydra's own", "a setting of the training",
                "say where outputs go by flags",
            )  # fmt: skip
    try:
        # An absolute folder, so that nothing depends on the working directory or the caller.
        with initialize_config_dir(str(CONF), version_base="1.3"):
            given = [item for override in overrides for item in _for_hydra(override)]
            composed = compose("config", overrides=given)
            if composed.model.weights != "none" and OmegaConf.is_missing(
                composed.model, "encoder_weights"
            ):
                composed.model.encoder_weights = "none"  # those of the whole network win
            value = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # ValueError: Hydra's own of a group that is given a number or null.
        raise _explained(error, overrides) from error
    assert isinstance(value, dict)
    _leave_out_options(value["model"], overrides)
    return {str(key): item for key, item in value.items()}


_ASSIGNMENT = re.compile(r"[+~]*[\w./@]+=")


def _joined(overrides: Sequence[str]) -> list[str]:
    """Put together what a shell has split: processing.size=[224, 288] without quotes."""
    found: list[str] = []
    for override in overrides:
        is_open = bool(found) and any(
            found[-1].count(left) > found[-1].count(right) for left, right in ("[]", "{}")
        )
        if is_open and not _ASSIGNMENT.match(override):
            found[-1] += f" {override}"
        else:
            found.append(override)
    return found


def _for_hydra(override: str) -> list[str]:
    """Translate `{...}` and `+` for transforms and options, which presets set too.

    Hydra would merge a mapping into the preset's, so that `processing.augmentation={}` would change
    nothing; and it would refuse `+` where the preset happens to have the name.
    """
    key, _, value = override.partition("=")
    if "=" in value and not re.search(r"[\[\]{}'\",]", value):  # log/epoch=9.ckpt: a plain text
        return [f"{key}='{value}'"]
    free = r"(processing\.augmentation|model\.options)"
    if re.match(free + r"=\{", override):
        return [f"~{override.partition('=')[0]}", f"+{override}"]
    return [f"+{override}" if re.match(rf"\+{free}\.", override) else override]


def _leave_out_options(model: Any, overrides: Sequence[str]) -> None:
    """Take a preset's options out, in place, when another architecture is chosen than its own.

    They were meant for that one: what it calls `decoder_channels` others lack, or count otherwise.
    Options that were asked for stay.
    """
    others = [item for item in overrides if not re.match(r"\+*model\.architecture=", item)]
    if len(others) == len(overrides) or not isinstance(model.get("options"), Mapping):
        return
    if compose_config(others)["model"]["architecture"] == str(model["architecture"]).lower():
        return
    asked = [item.lstrip("+").partition("=")[0] for item in overrides]
    if "model.options" not in asked:
        model["options"] = {
            name: value
            for name, value in model["options"].items()
            if any(f"{key}.".startswith(f"model.options.{name}.") for key in asked)
        }


def presets(group: str) -> list[str]:
    """Return the names of the presets of a group, such as `model`."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def preset_values(group: str) -> list[dict[str, Any]]:
    """Return what the presets of a group say, as it stands in their files."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((CONF / group).glob("*.yaml"))]
    return [yaml.safe_load(text) for text in texts]


def _explained(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Find the override that Hydra refused, and say what is right instead."""
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir())
    for override in overrides:
        if re.match(r"[+~]*[\w./]+(\s+=|=\s)", override):
            return ConfigError(override, "spaces beside '='", "key=value")
        key, separator, value = override.partition("=")
        if value.endswith(","):
            return ConfigError(key, f"'{value}'", "one value", f"write {key}={value.rstrip(', ')}")
        if not separator and not key.startswith("~"):
            return ConfigError(override, "no '='", "an override such as training.epochs=40")
        if key in groups and value not in presets(key):
            near = get_close_matches(value, presets(key), 1, 0.5)
            return ConfigError(
                key,
                f"no preset '{value}'",
                f"one of {', '.join(presets(key))}",
                f"did you mean {key}={near[0]}?" if near else "",
            )
    if isinstance(error, MissingMandatoryValue) and error.full_key:
        return ConfigError(
            error.full_key, "nothing", "a value, because the preset has no default",
            f"give {error.full_key}=...",
        )  # fmt: skip
    known = list(_keys(compose_config([]), "")) if overrides else []
    for override in overrides:
        key, _, value = override.partition("=")
        if key.startswith("training.loss."):
            remedy = f"write training.loss='{{{key.removeprefix('training.loss.')}: {value}}}'"
            return ConfigError(key, "a single loss", "all losses and their weights", remedy)
        if key.startswith("+") and (plain := key.lstrip("+")) in known:
            return ConfigError(key, "a '+' before a known key", f"{plain}={value}")
        if re.fullmatch(r"[\w.-]+", key) and key not in known and key not in groups:
            added = re.match(r"(processing\.augmentation\.\w+)\.(\w+)", key)
            if added and added[1] not in known:
                return ConfigError(
                    key, "an argument of a transform that is not there", "",
                    f"add the transform with +{added[1]}='{{{added[2]}: {value}}}'",
                )  # fmt: skip
            is_option = key.startswith(("model.options.", "processing.augmentation."))
            hint = f"a new argument is added with +{override}" if is_option else ""
            return unknown_key(key, known, hint)
        if key.startswith("~") and key[1:] not in known:
            return _nothing_to_leave_out(key[1:], known)
        if re.fullmatch(r"[\w.]+=[^\[{'\"]*,.*", override) and "Ambiguous" in str(error):
            remedy = f"write {key}=[{value}]; several values to try are for --multirun"
            return ConfigError(key, f"'{value}'", "one value, or a list in brackets", remedy)
    reason = " ".join(str(error).split())[:300] or repr(error)
    refused = re.match(r"Could not override '([\w.]+)'", reason)
    if refused and refused[1] in known:
        return ConfigError(
            refused[1],
            "an argument that the preset does not name",
            "",
            f"add it with +{refused[1]}.NAME=VALUE",
        )
    return ConfigError("overrides", f"{' '.join(overrides)} ({reason})", "Hydra overrides")


def _nothing_to_leave_out(key: str, known: Sequence[str]) -> ConfigError:
    group = key.rpartition(".")[0]
    names = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    leaf = key.rpartition(".")[2]
    near = [name for name in names if leaf.lower() in name.lower()]
    near = near or get_close_matches(leaf, names, 1, 0.5)
    return ConfigError(
        f"~{key}",
        "nothing of that name to leave out",
        f"one of {', '.join(names) or 'the settings'}{f' in {group}' if group else ''}",
        f"did you mean ~{group}.{near[0]}?" if near else "",
    )


def _keys(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = f"{where}.{key}" if where else str(key)
            yield name
            yield from _keys(item, name)


def flat_items(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name, as an override would write it."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from flat_items(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def split_overrides(text: str, more: Sequence[str]) -> list[str]:
    """Split the one text that the pipeline passes, as a shell would; add single overrides.

    Raises:
        ConfigError: a quote is not closed.
    """
    try:
        return [*shlex.split(text), *more]
    except ValueError as error:
        raise ConfigError("--train-overrides", f"{text!r} ({error})", "closed quotes") from error


def to_yaml(value: Mapping[str, Any]) -> str:
    """Return the configuration as YAML that can be read back."""
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
