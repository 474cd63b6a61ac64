"""From the items of an export to jobs: sample ids, groups, images found, policies applied."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from components.convert_labels.conversion import Job
from components.convert_labels.raw_labels import (
    UNLABELLED,
    Export,
    Item,
    ShapesLabel,
)
from components.convert_labels.source.image_finder import ImageFinder
from segmentor.errors import ConfigError, DataError, Problem, SegmentorError


@dataclass(frozen=True)
class Policies:
    """What the user decided: for images without labels, and how samples are grouped."""

    empty_images: str = "negative"
    group_pattern: str = ""


@dataclass(frozen=True)
class Refused:
    """An item that is left out: by policy (no `problem`), or because it is wrong.

    `is_ungrouped`: the group pattern does not match its name.
    """

    id: str
    problem: Problem | None = None
    is_ungrouped: bool = False


class UngroupedError(DataError):
    """The group pattern does not match a name."""


def plan_jobs(
    export: Export, finder: ImageFinder, policies: Policies
) -> tuple[Callable[[], Iterator[Job | Refused]], str]:
    """Return the jobs of an export, as a generator to call, and the grouping rule in words.

    Raises:
        ConfigError: the group pattern is no regular expression.
    """
    group_of, rule = _grouping(export, policies.group_pattern)

    def jobs() -> Iterator[Job | Refused]:
        seen = Seen(len(export.subsets) > 1, len(export.tasks) > 1)
        has_background = not export.is_complete or UNLABELLED in (c.name for c in export.classes)
        for item in export.items():
            sample_id = sample_name(item, export)
            try:
                if item.label is None and policies.empty_images != "skip" and not has_background:
                    raise _no_mask(sample_id)
                yield seen.checked(_job(item, sample_id, group_of, finder, policies))
            except UngroupedError:
                yield Refused(sample_id, is_ungrouped=True)
            except SegmentorError as error:
                yield Refused(sample_id, Problem.of(item.place, error))

    return jobs, rule


class Seen:
    """The samples so far: none has the name of another, nor its image."""

    def __init__(self, has_subsets: bool, has_tasks: bool) -> None:
        self._remedy = (
            "export the tasks one by one" if has_tasks else "leave one out of the annotations"
        )
        self._has_subsets = has_subsets
        # The place of each sample's image, and the first sample of each place.
        self._place_of: dict[str, str] = {}
        self._sample_at: dict[str, str] = {}

    def checked(self, job: Job | Refused) -> Job | Refused:
        """Return the job; a name that differs in the extension alone gets that.

        Raises:
            DataError: the name was there before, or the image is that of another subset's sample.
        """
        if isinstance(job, Refused):
            return job
        name = job.image.name
        place = f"{job.image.offset}:{name}"
        if self._place_of.get(job.id, place) != place:
            full = job.id + PurePosixPath(name).suffix
            job = replace(job, id=full, group=full if job.group == job.id else job.group)
        if job.id in self._place_of:
            raise DataError(
                job.id, "the name twice", "unique image names in a subset", self._remedy
            )
        if self._has_subsets and place in self._sample_at:
            found = f"{name}, which is the image of {self._sample_at[place]}"
            remedy = "put the images of each subset into a folder of its name"
            raise DataError(job.id, found, "an image of its own", remedy)
        self._sample_at.setdefault(place, job.id)
        self._place_of[job.id] = place
        return job


def sample_name(item: Item, export: Export) -> str:
    """Return the sample's id: the image's name, below its subset where there are several."""
    return f"{item.subset}/{item.name}" if len(export.subsets) > 1 else item.name


def is_empty(item: Item) -> bool:
    """Return True when nothing in the item becomes pixels."""
    return item.label is None or (isinstance(item.label, ShapesLabel) and not item.label.records)


def _job(
    item: Item,
    sample_id: str,
    group_of: Callable[[Item], str] | None,
    finder: ImageFinder,
    policies: Policies,
) -> Job | Refused:
    if is_empty(item) and policies.empty_images == "skip":
        with contextlib.suppress(SegmentorError):
            finder.find(item.name, item.image_name, item.subset)  # it is named, there or not
        return Refused(sample_id)
    if is_empty(item) and policies.empty_images == "fail":
        raise DataError(
            sample_id,
            "no labels",
            "at least one",
            "label it, or choose --empty-images negative or skip",
        )
    image = finder.find(item.name, item.image_name, item.subset)
    group = group_of(item) if group_of else sample_id
    return Job(sample_id, group, item.subset, image, item.label)


def _no_mask(sample_id: str) -> DataError:
    # The mask would be "no ground truth" everywhere: training learns nothing from it.
    expected, remedy = "a mask, as the classes have no background", "add it, or --empty-images skip"
    return DataError(sample_id, "no mask", expected, remedy)


def _grouping(export: Export, pattern: str) -> tuple[Callable[[Item], str] | None, str]:
    if pattern:
        return group_by_pattern(pattern), f"by --group-pattern {pattern}"
    if len(export.tasks) > 1:
        names = export.task_names
        return lambda item: names.get(item.task, item.task), (
            f"by the export's {len(export.tasks)} tasks"
        )
    if len(export.subsets) > 1:
        return lambda item: item.subset, f"by the export's {len(export.subsets)} subsets"
    return None, "each image its own group"


def group_by_pattern(pattern: str) -> Callable[[Item], str]:
    """Return the function from an item to its group.

    Raises:
        ConfigError: the pattern is no regular expression.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            "--group-pattern", f"'{pattern}' ({error})", "a regular expression"
        ) from error

    def group_of(item: Item) -> str:
        match = expression.search(item.name)
        group = match and (match.group(1) if expression.groups else match.group(0))
        if not group:
            raise UngroupedError(item.name, f"no match of --group-pattern '{pattern}'")
        return group

    return group_of
