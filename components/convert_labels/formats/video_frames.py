"""Which task of a video export has which frames, and which image is which frame of it.

Frame numbers restart in each task, so a project's frames are told apart by task and subset. What
cannot be decided is refused: labels on the wrong image look like any others.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.convert_labels.formats.cvat_xml import Meta
from components.convert_labels.source.files import SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.errors import DataError
from segmentor.image_io import EXTENSIONS
from segmentor.plurals import counted

# CVAT's name of the subset of tasks that have none.
_DEFAULT_SUBSET = "default"
_IMAGES = "images/"
_FRAME = re.compile(r"frame_(\d+)$")
_REMEDY = "export it as CVAT for images 1.1, which names the images"


@dataclass(frozen=True)
class Film:
    """One task's frames; `task` and `subset` are "" where the export is of a single task.

    `size` is the (height, width) of its frames; `images` the names of those that are there, below
    the subset's folder; `labelled` the numbers of frames with shapes.
    """

    task: str
    subset: str
    size: tuple[int, int] | None
    images: Mapping[int, str]
    labelled: frozenset[int]
    by_position: bool = False

    def frames(self) -> list[int]:
        """Return the numbers of its frames, sorted."""
        return sorted({*self.images, *self.labelled})


def films(
    places: Sequence[SourceFiles],
    meta: Meta,
    labelled: Mapping[tuple[str, str], Iterable[int]],
    where: str,
) -> tuple[Film, ...]:
    """Return the films of an export.

    Args:
        places: Where its images may be: in the export, and elsewhere.
        meta: What it says of its tasks.
        labelled: The frames with shapes of each (task, subset) that tracks name; "" if they do not.
        where: What to call the annotations in errors.

    Raises:
        DataError: it cannot be decided which image is which frame.
    """
    facts_of = {facts.get("id", ""): facts for facts in meta.tasks}
    if {task for task, _ in labelled} <= {""} and len(facts_of) <= 1:
        facts = next(iter(facts_of.values()), {})
        frames = frozenset(frame for frames in labelled.values() for frame in frames)
        return (_film(places, facts, "", "", frames),)
    subset_of = {task: facts.get("subset", _DEFAULT_SUBSET) for task, facts in facts_of.items()}
    subset_of |= {task: subset for task, subset in labelled if subset}
    tasks = sorted({*subset_of, *(task for task, _ in labelled)})
    if "" in tasks:
        raise DataError(where, "a track without task_id in a project", "one on each track", _REMEDY)
    ranges = _ranges(subset_of, facts_of, where)
    pictures = _pictures(places, ranges, subset_of, facts_of, where)
    found = []
    for task in tasks:
        frames = frozenset(f for key, some in labelled.items() if key[0] == task for f in some)
        if task in ranges and not frames <= set(ranges[task]):
            raise _shared(subset_of, subset_of[task], where)
        subset = subset_of.get(task, _DEFAULT_SUBSET)
        facts = facts_of.get(task, {})
        shared = ranges.get(task), pictures.get(task)
        found.append(_film(places, facts, task, subset, frames, *shared))
    return tuple(found)


def _ranges(
    subset_of: Mapping[str, str], facts_of: Mapping[str, Mapping[str, str]], where: str
) -> dict[str, range]:
    """Return the frames of each task that shares a subset: there, frame numbers go on.

    Source: CVAT, dataset_manager/bindings.py, ProjectData._init_task_frame_offsets.
    """
    ranges = {}
    for subset in sorted(set(subset_of.values())):
        # In meta they are in the order in which CVAT numbers them.
        sharing = sorted(
            (task for task, other in subset_of.items() if other == subset),
            key=[*facts_of, *subset_of].index,
        )
        offset = 0
        for task in sharing if len(sharing) > 1 else []:
            facts = facts_of.get(task, {})
            if "size" not in facts:
                raise _shared(subset_of, subset, where)
            start, step = _start_and_step(facts, where)
            end = start + step * _whole(facts, "size", where)
            ranges[task] = range(offset + start, offset + end, step)
            offset += end
    return ranges


def _pictures(
    places: Sequence[SourceFiles],
    ranges: Mapping[str, range],
    subset_of: Mapping[str, str],
    facts_of: Mapping[str, Mapping[str, str]],
    where: str,
) -> dict[str, list[str]]:
    """Return the images of the task of pictures that shares a subset: those that belong to no film.

    Nothing tells which of two such tasks has which: their images lie in one folder, or in several.
    """
    found: dict[str, list[str]] = {}
    for subset in sorted({subset_of[task] for task in ranges}):
        names = next(filter(None, (_image_names(files, subset) for files in places)), [])
        tasks = [task for task in ranges if subset_of[task] == subset]
        of_pictures = [task for task in tasks if facts_of[task].get("mode") == "annotation"]
        if len(of_pictures) > 1:
            raise _shared(subset_of, subset, where)
        frames = {n for task in tasks if task not in of_pictures for n in ranges[task]}
        films = _numbered(names, where)
        strays = sorted(films.keys() - frames)
        if strays and not of_pictures:
            stray = f"frame {strays[0]} in subset '{subset}', which none of its tasks has"
            raise DataError(where, stray, "frames numbered as in CVAT", _REMEDY)
        left = set(names) - {name for number, name in films.items() if number in frames}
        found |= dict.fromkeys(of_pictures, sorted(left))
    return found


def _shared(subset_of: Mapping[str, str], subset: str, where: str) -> DataError:
    sharing = sorted(task for task, other in subset_of.items() if other == subset)
    return DataError(
        where,
        f"tasks {', '.join(sharing)} in subset '{subset}', whose frames cannot be told apart",
        "frames numbered on from task to task, or one task a subset",
        "export the tasks one by one, or the project as CVAT for images 1.1",
    )


def _film(
    places: Sequence[SourceFiles],
    facts: Mapping[str, str],
    task: str,
    subset: str,
    labelled: frozenset[int],
    frames: range | None = None,
    pictures: Sequence[str] | None = None,
) -> Film:
    height, width = facts.get("height", ""), facts.get("width", "")
    size = (int(height), int(width)) if height.isdecimal() and width.isdecimal() else None
    where = f"{places[0].where}: task {task}, subset {subset}" if task else places[0].where
    if frames is not None and pictures is not None:
        images = _by_position(pictures, facts, frozenset(), where)
        images = dict(zip(frames, images.values(), strict=True))
        return Film(task, subset, size, images, labelled, by_position=True)
    names = next(filter(None, (_image_names(files, subset) for files in places)), [])
    numbered = {} if facts.get("mode") == "annotation" else _numbered(names, where)
    if frames is not None:
        numbered = {number: name for number, name in numbered.items() if number in frames}
    else:
        _check_numbers(numbered, facts, where)
    if numbered or (not names and facts.get("mode") != "annotation"):
        return Film(task, subset, size, numbered, labelled)
    images = _by_position(names, facts, labelled, where)
    return Film(task, subset, size, images, labelled, by_position=True)


def _image_names(files: SourceFiles, subset: str) -> list[str]:
    names = [name for name in files if name.lower().endswith(EXTENSIONS)]
    inside = [name for name in names if name.startswith(_IMAGES)]
    names = [name.removeprefix(_IMAGES) for name in inside or names]
    if subset:
        folder = f"{subset}/"
        names = [name.removeprefix(folder) for name in names if name.startswith(folder)]
    return sorted(names)


def _numbered(names: Sequence[str], where: str) -> dict[int, str]:
    """Return the images that are called as CVAT calls the frames of a film."""
    numbered: dict[int, str] = {}
    for name in names:
        match = _FRAME.search(stem(name))
        if match is None:
            continue
        other = numbered.setdefault(int(match[1]), name)
        if other != name:
            found = f"two images of frame {int(match[1])}: {other} and {name}"
            raise DataError(where, found, "one image a frame", "leave one of them out")
    return numbered


def _check_numbers(numbered: Mapping[int, str], facts: Mapping[str, str], where: str) -> None:
    """Refuse frames that another tool has numbered: their labels are of other frames."""
    if not numbered or "stop_frame" not in facts:
        return
    start, step = _start_and_step(facts, where)
    frames = range(start, _whole(facts, "stop_frame", where) + 1, step)
    stray = [number for number in sorted(numbered) if number not in frames]
    if not stray:
        return
    found = f"frames {min(numbered)}..{max(numbered)}"
    expected = f"{start}..{frames.stop - 1}, as in CVAT"
    remedy = f"number them from {start} on (ffmpeg -start_number {start})"
    if step > 1:
        found = f"{found}, frame {stray[0]} among them"
        expected = f"{start}, {start + step} and so on to {frames.stop - 1}, as in CVAT"
        remedy = "number them as CVAT does, and leave out the images of other frames"
    raise DataError(where, found, expected, remedy)


def _by_position(
    names: Sequence[str], facts: Mapping[str, str], labelled: frozenset[int], where: str
) -> dict[int, str]:
    """Return the images of a task of pictures: its frames are their positions in order of name.

    One that is absent, as a deleted frame is, would move all later ones.
    """
    stated = facts.get("size", "")
    if not stated.isdecimal() or int(stated) != len(names):
        total = f"all {stated} of the task" if stated else "images called frame_000000"
        found = f"{counted(len(names), 'image')}, whose frames go by position"
        raise DataError(where, found, total, _REMEDY)
    if list(names) != sorted(names, key=_natural):
        pair = next(p for p in zip(names, sorted(names, key=_natural), strict=True) if p[0] != p[1])
        found = f"images in no certain order ({pair[0]} or {pair[1]} first), whose frames go by it"
        raise DataError(where, found, "numbers of equal length", _REMEDY)
    start, step = _start_and_step(facts, where)
    last = start + (len(names) - 1) * step
    if _whole(facts, "stop_frame", where, last) >= last + step:
        # A job of chosen frames, as CVAT makes for ground truth.
        frames = f"{start}..{facts['stop_frame']}"
        found = f"{counted(len(names), 'image')} of frames {frames}, some left out"
        raise DataError(where, found, "each frame, as they go by position", _REMEDY)
    images = {start + position * step: name for position, name in enumerate(names)}
    stray = sorted(labelled - images.keys())
    if stray:
        found = f"frame {stray[0]} labelled, but {counted(len(names), 'image')}"
        raise DataError(where, found, "an image for each frame", _REMEDY)
    return images


def _start_and_step(facts: Mapping[str, str], where: str) -> tuple[int, int]:
    step = facts.get("frame_filter", "step=1").rpartition("=")[2]
    if not step.isdecimal() or not int(step):
        found = f"frame_filter '{facts['frame_filter'][:40]}'"
        raise DataError(where, found, "step= and a number from 1 on", _REMEDY)
    return _whole(facts, "start_frame", where), int(step)


def _whole(facts: Mapping[str, str], name: str, where: str, default: int = 0) -> int:
    text = facts.get(name, str(default))
    if not text.isdecimal():
        raise DataError(where, f"{name} '{text[:40]}'", "a whole number", _REMEDY)
    return int(text)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort numbers by value, as CVAT does when it is told to."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
