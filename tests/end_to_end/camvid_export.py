"""Makes a CVAT "Segmentation mask 1.1" export of real dashcam frames, at test time only."""

import zipfile
from pathlib import Path

from segmentor.image_io import decode_index, encode_png
from segmentor.label_map import LabelMap
from segmentor.masks import colour_mask

# The order of the index masks; CVAT sorts the names in its labelmap, so this order is not in it.
NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist", "unlabelled",
)  # fmt: skip
COLOURS = (
    (70, 130, 180), (70, 70, 70), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (255, 255, 255),
)  # fmt: skip
DRIVES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
GROUP_PATTERN = "^[^_]+"


def write_export(camvid: Path, target: Path) -> int:
    """Write the zip and return the number of photographs in it."""
    label_map = LabelMap.from_json(
        {
            "classes": [
                {"name": name, "colour": colour}
                for name, colour in zip(NAMES, COLOURS, strict=True)
            ],
            "ignore_index": 255,
        }
    )
    images = sorted(path for part in ("train", "val", "test") for path in (camvid / part).iterdir())
    colours = {**dict(zip(NAMES, COLOURS, strict=True)), "background": (0, 0, 0)}
    labelmap = "# label:color_rgb:parts:actions\n" + "".join(
        f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in sorted(colours.items())
    )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("labelmap.txt", labelmap)
        archive.writestr(
            "ImageSets/Segmentation/default.txt", "".join(f"{path.stem}\n" for path in images)
        )
        for path in images:
            mask_path = path.parent.parent / f"{path.parent.name}annot" / path.name
            mask = decode_index(mask_path.read_bytes())
            archive.writestr(
                f"SegmentationClass/{path.stem}.png", encode_png(colour_mask(mask, label_map))
            )
            archive.write(path, f"JPEGImages/{path.name}")
    return len(images)
