"""Several trainings from one command: every combination of the values given."""

import itertools
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.multirun.one_training import LOG, Result, claim, log_result, train_one
from components.train.multirun.values import read_values
from segmentor.dataset import Dataset
from segmentor.errors import ConfigError

logger = logging.getLogger(__name__)


def combinations(overrides: Sequence[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return every combination of the values given, the last varying fastest.

    Args:
        overrides: Such as `model=tiny,fpn`, `training.learning_rate=choice(0.001,0.003)`,
            `seed=range(0,3)`; those of one value are part of each combination.

    Returns:
        All overrides of each combination, and those of them that vary.

    Raises:
        ConfigError: an override that cannot be read, or none that varies; or a combination that
            makes no valid configuration. Nothing has been trained by then.
    """
    values = read_values(overrides)
    for item in values:
        if item.interval is not None:
            raise ConfigError(
                item.key, "an interval", "values such as 0.001,0.003",
                "give --trials with the number of trainings that search it",
            )  # fmt: skip
    found = []
    for chosen in itertools.product(*(item.overrides for item in values)):
        to_train_config(compose_config(chosen))
        varied = (text for text, item in zip(chosen, values, strict=True) if item.vary)
        found.append((list(chosen), tuple(varied)))
    return found


def train_all(train: Path, val: Path, output: Path, overrides: Sequence[str]) -> list[Result]:
    """Train every combination; one that fails is a result too, and the others go on.

    The same command again goes on where it was ended: what is finished is not trained again.

    Raises:
        ConfigError: see `combinations`; or the folder holds another multirun.
    """
    chosen = combinations(overrides)
    digests = {"train": Dataset(train).digest, "val": Dataset(val).digest}
    folders = [output / f"{index:02d}" for index in range(len(chosen))]
    for folder, (items, _) in zip(folders, chosen, strict=True):
        claim(folder, {"overrides": items, **digests})
    results: list[Result] = []
    for folder, (items, varied) in zip(folders, chosen, strict=True):
        logger.info(
            "combination %d/%d %s log=%s",
            len(results) + 1, len(chosen), " ".join(varied), folder / LOG,
        )  # fmt: skip
        result = train_one(folder, items, varied, (train, val))
        assert result is not None
        results.append(result)
        log_result(result)
    return results


def default_output() -> Path:
    """Return outputs/multirun/<DATE>/<TIME>, as single runs have outputs/<DATE>/<TIME>."""
    return Path("outputs", "multirun", time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S"))
