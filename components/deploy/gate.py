"""The gate: a model is published only when each of these checks passes."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.deploy.candidate import Candidate
from segmentor.errors import ConfigError, DeployError, LabelMapError
from segmentor.export_choices import MAX_IOU_LOSS
from segmentor.label_map import LabelMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thresholds:
    """What the measured figures must reach: IoU at least, differences at most.

    `max_iou_drop`: how much worse than the served version the model may surely be. `max_iou_loss`:
    how much of the checkpoint's IoU an INT8 model may have lost.
    """

    min_iou: float
    max_probability_difference: float
    max_flipped_fraction: float
    max_iou_drop: float = 0.0
    max_iou_loss: float = MAX_IOU_LOSS

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(flag, str(value), "a value in 0..1")


@dataclass(frozen=True)
class Check:
    """One question of the gate: what was found, what is required, and the answer."""

    name: str
    found: str
    required: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name} {self.found} (required {self.required})"


def check_candidate(candidate: Candidate, thresholds: Thresholds) -> list[Check]:
    """Returns every check: first that the figures are of this model, then the figures."""
    evaluation, parity = candidate.evaluation, candidate.parity
    contract = candidate.contract
    classes = list(contract.label_map.names)
    checkpoint = contract.provenance.get("checkpoint_digest")
    scores = evaluation.get("dataset")
    iou = scores.get("iou") if isinstance(scores, dict) else None
    # A multiclass prediction is the class of highest probability: it has no threshold.
    threshold = contract.threshold if contract.is_binary else "none"
    evaluated_at = evaluation.get("threshold") if contract.is_binary else "none"
    return [
        _same("parity of this model", parity.get("model_digest"), candidate.digest),
        _same("evaluation of its checkpoint", evaluation.get("checkpoint_digest"), checkpoint),
        _same("evaluated classes", _names(evaluation.get("label_map")), classes),
        _same("evaluated threshold", evaluated_at, threshold),
        _bounded("test samples", evaluation.get("samples"), at_least=1),
        _bounded("iou", iou, at_least=thresholds.min_iou),
        *_parity(candidate, thresholds),
        *_not_measured(evaluation.get("not_measured")),
    ]


def require_passed(checks: Sequence[Check]) -> None:
    """Logs every check.

    Raises:
        DeployError: one or more failed; the message lists them all.
    """
    for check in checks:
        logger.info(
            "gate check=%r found=%s required=%r passed=%s",
            check.name,
            check.found,
            check.required,
            check.passed,
        )
    failed = [check for check in checks if not check.passed]
    if failed:
        raise DeployError(
            "gate",
            f"{len(failed)} of {len(checks)} checks failed: {'; '.join(map(str, failed))}",
            remedy="nothing was published; improve the model, or change the thresholds",
        )


def _parity(candidate: Candidate, thresholds: Thresholds) -> list[Check]:
    """Asks whether the file computes what was evaluated, and where INT8 made another of it.

    No INT8 model is within the limits of equality: those are for the float32 model it was made of,
    which shows that export was right, and the INT8 one is judged by its own IoU on the test set.
    """
    parity = candidate.parity
    is_int8 = candidate.contract.provenance.get("model_precision") == "int8"
    of = "float32_" if is_int8 else ""
    limits = {
        "max_probability_difference": thresholds.max_probability_difference,
        "flipped_fraction": thresholds.max_flipped_fraction,
    }
    checks = [
        _bounded(of + name, parity.get(of + name), at_most=limit) for name, limit in limits.items()
    ]
    if is_int8:
        checks += [
            _bounded("int8_iou", parity.get("int8_iou"), at_least=thresholds.min_iou),
            _bounded("int8_iou_loss", parity.get("int8_iou_loss"), at_most=thresholds.max_iou_loss),
        ]
    return checks


def _same(name: str, found: Any, required: Any) -> Check:
    passed = found is not None and found == required
    return Check(name, _text(found), _text(required), passed)


def _bounded(
    name: str, found: Any, at_least: float | None = None, at_most: float | None = None
) -> Check:
    required = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    # Booleans are ints in Python, and NaN passes any comparison that is written the other way.
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return Check(name, _text(found), required, passed=False)
    passed = (at_least is None or found >= at_least) and (at_most is None or found <= at_most)
    return Check(name, f"{found:.4g}", required, passed)


def _not_measured(absent: Any) -> list[Check]:
    """Names the classes of which the figures say nothing; a warning, for a person to weigh."""
    if not isinstance(absent, list) or not absent:
        return []
    names = _text(absent)
    logger.warning("classes without true pixels in the test set, not measured: %s", names)
    found = f"all but {names}: no true pixels in the test set"
    return [Check("measured classes", found, "every class; a warning alone", passed=True)]


def _names(label_map: Any) -> list[str] | None:
    try:
        return list(LabelMap.from_json(label_map).names)
    except (LabelMapError, KeyError, TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
