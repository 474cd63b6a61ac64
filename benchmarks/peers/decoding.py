"""The least that a converter must do, on all cores: nothing is painted, checked or written.

python decoding.py FOLDER [--masks]

Decodes every photograph at an eighth of its size, which is enough to find one that is cut short,
and with --masks every colour mask; encodes every index mask by Pillow at its fastest level.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np

from segmentor.image_io import decode_image, encode_png

FOLDER = Path(sys.argv[1])


def work(stem: str) -> None:
    decode_image((FOLDER / "JPEGImages" / f"{stem}.jpg").read_bytes(), at_least=(32, 32))
    if "--masks" in sys.argv:
        decode_image((FOLDER / "SegmentationClass" / f"{stem}.png").read_bytes())
    encode_png(np.load(FOLDER / "index" / f"{stem}.npy"))


if __name__ == "__main__":
    stems = sorted(path.stem for path in (FOLDER / "index").iterdir())
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        pool.map(work, stems, 4)
