"""The options of split."""

from dataclasses import dataclass

from components.options import Rule, check_values, option
from segmentor.errors import ConfigError

# Thirds may be written 0.333.
ROUNDED = 0.002


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How a data set is divided into train, val and test."""

    ratios: str = option(
        "0.7,0.2,0.1",
        "Shares of train, val and test, separated by commas ('0.7,0.2,0.1' or '7,2,1').",
    )
    seed: int = option(
        0,
        "Seed of the split: a whole number, 0 or greater.",
        rule=Rule(lambda value: value >= 0, "a whole number, 0 or greater"),
    )
    honour_subsets: bool = option(
        False,
        "Keep the train, val and test subsets of the export instead of splitting anew; a missing "
        "one is taken out of train by its ratio.",
    )
    near_duplicates: str = option(
        "together",
        "Images that look the same: 'together' keeps them in one split, 'report' only lists those "
        "in different splits.",
        choices=("together", "report"),
    )

    def __post_init__(self) -> None:
        check_values(self)
        parse_ratios(self.ratios)

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares of train, val and test; their sum is 1."""
        return parse_ratios(self.ratios)

    @property
    def joins_near_duplicates(self) -> bool:
        """Return True if images that look the same must stay in one split."""
        return self.near_duplicates == "together"


def parse_ratios(text: str) -> tuple[float, float, float]:
    """Return the shares of train, val and test that `0.7,0.2,0.1` or `7,2,1` gives; sum 1.

    Raises:
        ConfigError: not three numbers above 0, or fractions whose sum is not 1.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    where = "--ratios"
    if len(values) != 3 or not all(0 < value < float("inf") for value in values):
        expected = "three shares above 0 for train,val,test: 0.7,0.2,0.1"
        raise ConfigError(where, f"'{text}'", expected, "later steps need all three")
    total = sum(values)
    if total == float("inf"):
        raise ConfigError(where, f"'{text}'", "shares whose sum is finite", "7,2,1")
    if abs(total - 1) > ROUNDED and not all(value.is_integer() for value in values):
        found = f"'{text}', whose sum is {total:.4g}"
        raise ConfigError(where, found, "a sum of 1", "whole numbers are shares: 7,2,1")
    return values[0] / total, values[1] / total, values[2] / total
