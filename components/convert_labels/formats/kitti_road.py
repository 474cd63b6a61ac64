"""KITTI road: image_2/um_000000.png with gt_image_2/um_road_000000.png in three colours.

Magenta is road (or the own lane, in *_lane_* files), red is everything else, black no ground truth.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from components.convert_labels.raw_labels import IGNORE, ColourLabel, Export, Format, Item, Notes
from components.convert_labels.source.files import SourceFiles
from segmentor.label_map import BACKGROUND, LabelClass

_GROUND_TRUTH = re.compile(r"^((?:.*/)?)gt_image_2/([a-z]+)_(road|lane)_(\d+)\.png$")


def recognises(files: SourceFiles) -> bool:
    """Return True when there is a ground truth file of KITTI's naming."""
    return any(_GROUND_TRUTH.match(name) for name in files)


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export; road ground truth is preferred to that of the own lane."""
    notes = Notes()
    matches = [match for match in map(_GROUND_TRUTH.match, sorted(files)) if match]
    kinds = {match.group(3) for match in matches}
    kind = "road" if "road" in kinds else "lane"
    chosen = {
        f"{match.group(1)}image_2/{match.group(2)}_{match.group(4)}": match.group(0)
        for match in matches
        if match.group(3) == kind
    }
    if len(kinds) > 1:
        notes.counts["own-lane masks (the road's are used)"] = len(matches) - len(chosen)

    def items() -> Iterator[Item]:
        for path, mask in chosen.items():
            yield Item(PurePosixPath(path).name, ColourLabel(files[mask]))

    folders = sorted({str(PurePosixPath(path).parent) for path in chosen})
    return Export(
        format=f"KITTI road ({kind})",
        classes=(
            LabelClass(BACKGROUND, (255, 0, 0)),
            LabelClass(IGNORE, (0, 0, 0)),
            LabelClass(kind, (255, 0, 255)),
        ),
        items=items,
        image_folders=tuple(folders),
        count=len(chosen),
        is_complete=True,
        is_by_colour=True,
        notes=notes,
    )


FORMAT = Format("KITTI road", "`gt_image_2/um_road_*.png`", recognises, read)
