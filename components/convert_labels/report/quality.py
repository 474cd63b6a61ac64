"""What the label report says: counted while samples pass by, in memory that does not grow much."""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from components.convert_labels.conversion import Converted
from components.convert_labels.raw_labels import Finding
from segmentor.dataset import Dataset, Sample
from segmentor.errors import Problem
from segmentor.label_map import BACKGROUND, Colour, LabelMap

# Findings of a kind that the report lists; all are counted, and all are in findings.jsonl.
LISTED = 40
LOOKS = {"duplicate image": "the same image file as", "near duplicate": "looks the same as"}


@dataclass
class LabelQuality:
    """Counts over the samples, the findings, and what was left out.

    `problems` are the samples that are wrong, `skipped` those that a policy left out for it, and
    `skipped_empty` the ids of images that were left out because they have no labels; `ungrouped`
    those that the group pattern does not match, which are one problem together.
    """

    label_map: LabelMap
    samples: int = 0
    pixels: int = 0
    class_pixels: list[int] = field(default_factory=list)
    class_images: list[int] = field(default_factory=list)
    empty_ids: list[str] = field(default_factory=list)
    empty_images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter, repr=False)
    subsets: Counter[str] = field(default_factory=Counter)
    finding_counts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[Problem] = field(default_factory=list)
    skipped_empty: list[str] = field(default_factory=list)
    ungrouped: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unlisted_indices: Counter[int] = field(default_factory=Counter)
    near_duplicates: list[tuple[int, int]] = field(default_factory=list)
    hashes: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)
    images: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)
    shapes: int = 0
    boxes: int = 0
    palette: dict[int, tuple[Colour, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.class_pixels = [0] * len(self.label_map)
        self.class_images = [0] * len(self.label_map)

    @property
    def ignored_pixels(self) -> int:
        """Pixels without ground truth."""
        return self.pixels - sum(self.class_pixels)

    def add(self, sample: Sample, converted: Converted) -> list[Finding]:
        """Count a sample that was written; returns all that is odd about it."""
        self.samples += 1
        self.pixels += sample.height * sample.width
        for index, count in enumerate(sample.class_pixels):
            self.class_pixels[index] += count
            self.class_images[index] += count > 0
        self.sizes[sample.size] += 1
        self.groups[sample.group] += 1
        self.subsets[sample.subset] += 1
        self.hashes.append(int(converted.perceptual_hash, 16))
        self.images.frombytes(bytes.fromhex(sample.image_digest.removeprefix("sha256:")[:16]))
        self.shapes += converted.shapes
        self.boxes += converted.boxes
        findings = [*converted.findings, *self._own_findings(sample, converted)]
        self._count(findings)
        return findings

    def add_look_alikes(
        self, dataset: Dataset, pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[str, Finding]]:
        """Count equal images, and pairs of positions that look the same; yield the findings.

        Each comes with its sample's id.
        """
        equal = self._equal_images()
        for kind, found in (("duplicate image", equal), ("near duplicate", pairs)):
            for left, right in found:
                one, other = dataset.sample_at(left), dataset.sample_at(right)
                is_same = one.image_digest == other.image_digest
                if is_same != (kind == "duplicate image"):
                    continue
                text = f"{other.id}: {LOOKS[kind]} {one.id}"
                if kind == "near duplicate" and len(self.near_duplicates) < LISTED:
                    self.near_duplicates.append((left, right))
                self._count([Finding(kind, text)])
                yield other.id, Finding(kind, text)

    def largest_groups(self, count: int) -> list[tuple[str, int]]:
        """Return so many groups and their samples, the largest first."""
        return self.groups.most_common(count)

    def _equal_images(self) -> list[tuple[int, int]]:
        """Return pairs of positions with the same image file: each with the next one."""
        images = np.array(self.images, np.uint64)
        order = np.argsort(images, kind="stable")
        same = images[order[1:]] == images[order[:-1]]
        return list(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))

    def _count(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self.finding_counts[finding.kind] += 1
            listed = self.findings.setdefault(finding.kind, [])
            if len(listed) < LISTED:
                listed.append(finding.text)

    def _own_findings(self, sample: Sample, converted: Converted) -> list[Finding]:
        findings = []
        background = self.label_map.names[0] == BACKGROUND
        if not any(sample.class_pixels[1:] if background else sample.class_pixels):
            self.empty_images += 1
            if len(self.empty_ids) < LISTED:
                self.empty_ids.append(sample.id)
            if converted.job.label is None:
                findings.append(Finding("no mask file", f"{sample.id}: no mask of its name"))
            else:
                findings.append(Finding("empty mask", f"{sample.id}: no pixel of any class"))
        for index, colour in converted.palette:
            first, other = self.palette.setdefault(index, (colour, sample.id))
            if first != colour:
                text = f"{sample.id}: index {index} is {colour} here and {first} in {other}"
                findings.append(Finding("palettes differ", text))
                break
        return findings


def write_findings(path: Path, sample_id: str, findings: Sequence[Finding]) -> None:
    """Append a sample's findings to a JSON-lines file."""
    if findings:
        with path.open("a", encoding="utf-8") as file:
            for finding in findings:
                line = {"id": sample_id, "kind": finding.kind, "text": finding.text}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def metrics(quality: LabelQuality) -> dict[str, float]:
    """Return the figures of `label_metrics`: flat and finite."""
    return {
        "samples": quality.samples,
        "groups": len(quality.groups),
        "classes": len(quality.label_map),
        "pixels": quality.pixels,
        "ignored_fraction": quality.ignored_pixels / max(1, quality.pixels),
        "empty_masks": quality.empty_images,
        "skipped_images": len(quality.skipped) + len(quality.skipped_empty),
        "findings": sum(quality.finding_counts.values()),
        **{
            f"pixel_fraction_{label.name}": count / max(1, quality.pixels)
            for label, count in zip(quality.label_map.classes, quality.class_pixels, strict=True)
        },
        **{
            f"images_{label.name}": count
            for label, count in zip(quality.label_map.classes, quality.class_images, strict=True)
        },
    }
