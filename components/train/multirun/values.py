"""Overrides that have several values, as Hydra writes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException

from segmentor.errors import ConfigError

_EXPECTED = "values as key=a,b,c or key=range(0,3)"


@dataclass(frozen=True)
class Values:
    """A key, and the overrides that set it; of an interval, those of both ends."""

    key: str
    overrides: tuple[str, ...]
    interval: IntervalSweep | None = None

    @property
    def vary(self) -> bool:
        """Whether there are several."""
        return len(self.overrides) > 1


def read_values(overrides: Sequence[str]) -> list[Values]:
    """Read overrides, of which some have several values.

    Raises:
        ConfigError: one that cannot be read, or several of one key, or none that varies.
    """
    found: list[Values] = []
    for text in overrides:
        values = _values(text)
        if values.key in [other.key for other in found]:
            raise ConfigError(
                values.key, "several overrides of it", "one, which may have several values"
            )
        found.append(values)
    if not any(values.vary for values in found):
        raise ConfigError(
            "--multirun", "no override with several values", "one such as model=tiny,fpn"
        )
    return found


def _values(text: str) -> Values:
    if re.search(r"=(glob|shuffle)\(", text):
        # Presets are few enough to name; what is drawn by chance differs when the command is given
        # again, which should go on with the same combinations.
        raise ConfigError(text, "glob or shuffle", _EXPECTED)
    try:
        parsed = OverridesParser.create().parse_override(text)
        key = parsed.get_key_element()
        if not parsed.is_sweep_override():
            return Values(key, (text,))
        value = parsed.value()
        if isinstance(value, IntervalSweep):
            return Values(key, (f"{key}={value.start}", f"{key}={value.end}"), value)
        return Values(key, tuple(f"{key}={item}" for item in parsed.sweep_string_iterator()))
    except HydraException as error:
        raise ConfigError(text, f"({' '.join(str(error).split())})", _EXPECTED) from error
