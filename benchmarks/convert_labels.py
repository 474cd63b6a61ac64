"""How fast labels are converted, beside datumaro and beside the least that a converter must do.

    python -m benchmarks.convert_labels [--images 400] [--rounds 3]

One synthetic task, as "CVAT for images 1.1" and as "Segmentation mask 1.1".
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.label_task import draw
from benchmarks.measuring import ROOT, Spent, run_python, table, take_turns

PEERS = ROOT / "benchmarks" / "peers"
OUTPUTS = ("dataset", "label-report", "label-metrics")
DATUMARO, LEAST = "datumaro", "decode and encode alone"


def in_new_folder(count: int, arguments: list[str]) -> Spent:
    with tempfile.TemporaryDirectory() as folder:
        return run_python(*(part.format(folder=folder) for part in arguments), items=count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    outputs = [f"--{name}={{folder}}/{name}" for name in OUTPUTS]
    with tempfile.TemporaryDirectory() as drawn:
        xml, masks = draw(Path(drawn), arguments.images)
        for title, source, kind, more in (
            ("CVAT for images 1.1", xml, "cvat", ()),
            ("Segmentation mask 1.1", masks, "voc_segmentation", ("--masks",)),
        ):
            commands = {
                DATUMARO: [str(PEERS / "datumaro_convert.py"), str(source), kind, "{folder}/voc"],
                LEAST: [str(PEERS / "decoding.py"), str(masks), *more],
                "segmentor": ["-m", "components.convert_labels", f"--source={source}", *outputs],
            }
            contenders: dict[str, Callable[[], Spent]] = {
                name: partial(in_new_folder, arguments.images, command)
                for name, command in commands.items()
            }
            turns = take_turns(contenders, arguments.rounds)
            print(f"\n{title}\n\n{table(turns, (DATUMARO, LEAST), 'image')}")


if __name__ == "__main__":
    main()
