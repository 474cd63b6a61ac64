"""What the label report states besides counts: how labels became classes, and what was decided."""

from dataclasses import dataclass

from components.convert_labels.class_mapping import ClassMapping, has_unlabelled
from components.convert_labels.exports import Export, Notes
from components.convert_labels.request import Request
from segmentor.label_map import IGNORE_INDEX

_UNLABELLED = "pixels without a label, and the label 'background'"
# More rows that say that a label is the class of its name are one.
_FOLDED = 12
_EMPTY_IMAGES = {
    "negative": "kept, without any class",
    "skip": "left out",
    "fail": "refused",
}


@dataclass(frozen=True)
class ReportFacts:
    """The facts of one conversion; `rules` are pairs of a name and what was decided."""

    source: str
    format: str
    rules: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    notes: Notes
    unused_classes: tuple[str, ...] = ()


def make_facts(
    request: Request,
    export: Export,
    mapping: ClassMapping,
    grouping: str,
    unused: tuple[str, ...] = (),
) -> ReportFacts:
    """Puts into words what was asked for and how it was understood."""
    rules = (*_classes(export, mapping), ("groups", grouping), *_policies(request, export))
    return ReportFacts(request.source, export.format, rules, export.remarks, export.notes, unused)


def _classes(export: Export, mapping: ClassMapping) -> list[tuple[str, str]]:
    facts, unchanged = [], []
    for index, name in [*enumerate(mapping.label_map.names), (IGNORE_INDEX, "ignore")]:
        sources = [source for source, target in mapping.targets.items() if target == index]
        if mapping.unlabelled == index and has_unlabelled(export.classes, export.is_complete):
            sources.append(_UNLABELLED)
        if sources:
            facts.append((f"{name} ({index})", ", ".join(sources)))
        if sources == [name]:
            unchanged.append(facts[-1])
    if len(unchanged) <= _FOLDED:
        return facts
    folded = ("labels that keep their name", ", ".join(key for key, _ in unchanged))
    return [fact for fact in facts if fact not in unchanged] + [folded]


def _policies(request: Request, export: Export) -> list[tuple[str, str]]:
    empty = f"{_EMPTY_IMAGES[request.empty_images]} (empty_images={request.empty_images})"
    wrong = (
        "left out (bad_samples=skip)" if request.skip_bad_samples else "refused (bad_samples=fail)"
    )
    policies = [("images without labels", empty), ("samples that are wrong", wrong)]
    if has_unlabelled(export.classes, export.is_complete):
        policies.append(
            ("pixels without a label", f"{request.unlabelled} (unlabelled={request.unlabelled})")
        )
    return policies
