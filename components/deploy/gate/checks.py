"""The gate: a model is published only when each of these checks passes."""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.deploy.gate.candidate import Candidate
from components.deploy.options import DeployOptions
from segmentor.errors import DeployError, LabelMapError
from segmentor.label_map import LabelMap

logger = logging.getLogger(__name__)

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]+")


@dataclass(frozen=True)
class Check:
    """One question of the gate: what was found, what is required, and the answer."""

    name: str
    found: str
    required: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name} {self.found} (required {self.required})"


def check_candidate(candidate: Candidate, limits: DeployOptions) -> list[Check]:
    """Return all checks: first that the figures belong to this model, then the figures."""
    evaluation, parity = candidate.evaluation, candidate.parity
    contract = candidate.contract
    classes = list(contract.label_map.names)
    checkpoint = contract.provenance.get("checkpoint_digest")
    scores = evaluation.get("dataset")
    iou = scores.get("iou") if isinstance(scores, dict) else None
    # A multiclass prediction is the class with the highest probability, without a threshold.
    threshold = contract.threshold if contract.is_binary else "none"
    evaluated_at = evaluation.get("threshold") if contract.is_binary else "none"
    return [
        _same("parity of this model", parity.get("model_digest"), candidate.digest),
        _same("evaluation of its checkpoint", evaluation.get("checkpoint_digest"), checkpoint),
        _same("evaluated classes", _names(evaluation.get("label_map")), classes),
        _same("evaluated threshold", evaluated_at, threshold),
        _bounded("test samples", evaluation.get("samples"), at_least=1),
        _bounded("iou", iou, at_least=limits.min_iou),
        *_parity(candidate, limits),
        *_not_measured(evaluation.get("not_measured")),
    ]


def log_checks(checks: Sequence[Check]) -> None:
    """Log the gate's table: KFP keeps nothing but the log of a task that fails."""
    rows = [
        (
            "passed" if check.passed else "REFUSED",
            check.name,
            shorten_digests(check.found),
            f"required {shorten_digests(check.required)}",
        )
        for check in checks
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        logger.info("gate %s", "  ".join(map(str.ljust, row, widths)).rstrip())


def shorten_digests(text: str) -> str:
    """Cut digests to their first 12 digits, which name a version too."""
    return _DIGEST.sub(r"\1", text)


def require_passed(checks: Sequence[Check]) -> None:
    """Log every check.

    Raises:
        DeployError: one or more failed; the message lists them all.
    """
    log_checks(checks)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise DeployError(
            "gate",
            f"{len(failed)} of {len(checks)} checks failed: {'; '.join(map(str, failed))}",
            remedy="nothing was published; improve the model, or change the limits",
        )


def _parity(candidate: Candidate, limits: DeployOptions) -> list[Check]:
    """Check that the exported file computes what was evaluated.

    An INT8 model cannot meet the limits of equality. They apply to the float32 model that it was
    made from, which shows that the export is right; the INT8 model is judged by its own IoU on the
    test set.
    """
    parity = candidate.parity
    is_int8 = candidate.contract.provenance.get("model_precision") == "int8"
    of = "float32_" if is_int8 else ""
    most = {
        "max_probability_difference": limits.max_probability_difference,
        "flipped_fraction": limits.max_flipped_fraction,
    }
    checks = [
        _bounded(of + name, parity.get(of + name), at_most=limit) for name, limit in most.items()
    ]
    if is_int8:
        checks += [
            _bounded("int8_iou", parity.get("int8_iou"), at_least=limits.min_iou),
            _bounded("int8_iou_loss", parity.get("int8_iou_loss"), at_most=limits.max_iou_loss),
        ]
    return checks


def _same(name: str, found: Any, required: Any) -> Check:
    passed = found is not None and found == required
    return Check(name, _text(found), _text(required), passed)


def _bounded(
    name: str, found: Any, at_least: float | None = None, at_most: float | None = None
) -> Check:
    required = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    # A bool is an int in Python, and no comparison with NaN is true.
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return Check(name, _text(found), required, passed=False)
    passed = (at_least is None or found >= at_least) and (at_most is None or found <= at_most)
    return Check(name, f"{found:.4g}", required, passed)


def _not_measured(absent: Any) -> list[Check]:
    """Name the classes that the figures say nothing about: a warning for a person to judge."""
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
