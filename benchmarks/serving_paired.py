"""Measures the predictor, its own in-process path and the best peer in turns of two seconds.

    python benchmarks/serving_paired.py --model DIR --images DIR [--peer FastAPI] [--rounds 9]

A shared machine is a third faster at one moment than at the next, so whole passes one after the
other compare moments. Here all servers stand ready, and in each round each of them has its turn,
in a changing order; what counts is the median of the ratios within the rounds. Takes some five
minutes.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import cpu_seconds, load, running
from serving_callers import caller, in_process_path
from serving_contenders import servers
from serving_report import OURS

CONCURRENCY = (1, 2, 8)
OUR_SERVERS = (OURS, f"{OURS} fast")
PATH = "in-process path"

# Makes one caller; tells the CPU seconds used so far.
Contender = tuple[Callable[[], Callable[[bytes], object]], Callable[[], float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with model.onnx, as it is published")
    add("--images", type=Path, required=True, help="folder with JPEGs")
    add("--environments", type=Path, default=Path(".benchmark-environments"), help="of the peers")
    add("--peer", default="FastAPI")
    add("--rounds", type=int, default=9)
    add("--seconds", type=float, default=2, help="of each turn")
    arguments = parser.parse_args()
    images = [path.read_bytes() for path in sorted(arguments.images.glob("*.jpg"))]
    with contextlib.ExitStack() as stack:
        contenders = dict(contend(arguments, stack))
        turns: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for turn in range(arguments.rounds):
            names = list(contenders)[:: 1 if turn % 2 else -1]
            for callers in CONCURRENCY:
                for name in names:
                    measured = measure(contenders[name], callers, images, arguments.seconds)
                    turns.setdefault((callers, name), []).append(measured)
    print(f"| callers | | requests/s | CPU ms a request | of {PATH} | of {arguments.peer} |")
    print("|---|---|---|---|---|---|")
    for callers in CONCURRENCY:
        for name in contenders:
            rates, cpu = zip(*turns[callers, name], strict=True)
            shares = []
            for other in (PATH, f"{arguments.peer}, multipart"):
                pairs = zip(rates, turns[callers, other], strict=True)
                shares.append(statistics.median(rate / beside for rate, (beside, _) in pairs))
            print(
                f"| {callers} | {name} | {statistics.median(rates):.1f} "
                f"| {statistics.median(cpu):.1f} | {shares[0]:.2f} | {shares[1]:.2f} |"
            )


def contend(
    arguments: argparse.Namespace, stack: contextlib.ExitStack
) -> Iterator[tuple[str, Contender]]:
    """Starts the servers until the stack unwinds; yields names and contenders."""
    predict = in_process_path(arguments.model)
    yield PATH, (lambda: predict, time.process_time)
    for server in servers(arguments.model, arguments.environments):
        if server.name not in (*OUR_SERVERS, arguments.peer):
            continue
        started = running(server.command, server.ready, arguments.model)
        process, port, grpc_port, _ = stack.enter_context(started)
        for form, encode in server.forms.items():
            if form not in ("V1 image", "multipart"):
                continue
            yield (
                f"{server.name}, {form}",
                (
                    lambda encode=encode, port=port, grpc=grpc_port: caller(encode, port, grpc),
                    lambda pid=process.pid: cpu_seconds(pid),
                ),
            )


def measure(
    contender: Contender, callers: int, images: list[bytes], seconds: float
) -> tuple[float, float]:
    """One turn: requests a second, and CPU ms a request.

    Raises:
        RuntimeError: a request failed.
    """
    make_caller, cpu_so_far = contender
    before = cpu_so_far()
    latencies, elapsed, errors = load([make_caller() for _ in range(callers)], images, seconds)
    if errors:
        raise RuntimeError(f"{errors} requests failed")
    return len(latencies) / elapsed, 1000 * (cpu_so_far() - before) / len(latencies)


if __name__ == "__main__":
    main()
