"""What the label report states besides counts: how labels became classes, and what was decided."""

from dataclasses import dataclass

from components.convert_labels.classes.mapping import ClassMapping, has_unlabelled
from components.convert_labels.options import ConvertLabelsOptions
from components.convert_labels.raw_labels import Export, Notes
from segmentor.label_map import IGNORE_INDEX

_UNLABELLED = "pixels without a label, and the label 'background'"
# Fold the rows of labels that keep their name into one if there are more than this.
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
    options: ConvertLabelsOptions, export: Export, mapping: ClassMapping, grouping: str
) -> ReportFacts:
    """Put into words what was asked for and how it was understood."""
    rules = (*_classes(export, mapping), ("groups", grouping), *_policies(options, export))
    return ReportFacts(options.source, export.format, rules, export.remarks, export.notes)


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


def _policies(options: ConvertLabelsOptions, export: Export) -> list[tuple[str, str]]:
    empty = f"{_EMPTY_IMAGES[options.empty_images]} (--empty-images {options.empty_images})"
    wrong = "left out" if options.skips_bad_samples else "refused"
    wrong += f" (--bad-samples {options.bad_samples})"
    policies = [("images without labels", empty), ("samples that are wrong", wrong)]
    if has_unlabelled(export.classes, export.is_complete):
        policies.append(
            ("pixels without a label", f"{options.unlabelled} (--unlabelled {options.unlabelled})")
        )
    return policies
