"""Measures the predictor against its own in-process path and against other servers.

One run on one machine: the same ONNX model, the same JPEGs, JPEG in and index-mask PNG out.

    python benchmarks/serving.py --model DIR --images DIR --test DATASET --output DIR

The folder of the model is as deploy publishes it (model.onnx, model.int8.onnx, samples/). The peers
get virtual environments of their own, below --environments. CPU a request (user and system time of
the server and its children, from /proc) is the figure to compare on a machine that does other
things as well. Takes some five minutes; --quick half a minute a server, and says less.
"""

import argparse
import http.client
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import Row, cpu_seconds, load, median_row, row, rss_mib, running
from serving_callers import caller, in_process_path
from serving_contenders import Server, servers
from serving_report import OURS, Measured, plot, table, targets

CONCURRENCY = (1, 2, 8)
# Measures one pass with so many callers.
Pass = Callable[[int], Row]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with model.onnx, as it is published")
    add("--images", type=Path, required=True, help="folder with JPEGs")
    add("--test", type=Path, help="test set, on which the engines' IoU is measured")
    add("--output", type=Path, required=True, help="folder for serving.json, .md and .png")
    add("--environments", type=Path, default=Path(".benchmark-environments"), help="of the peers")
    add("--seconds", type=float, default=2, help="of each pass")
    add("--passes", type=int, default=3, help="the median pass is reported")
    add("--quick", action="store_true", help="one pass of a second each")
    add("--only", default="", help="servers whose name this regular expression finds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.passes = 1, 1
    images = [path.read_bytes() for path in sorted(arguments.images.glob("*.jpg"))]
    rows: list[Row] = []
    if re.search(arguments.only, "in-process"):
        rows += bare_network(arguments.model, images, arguments)
    for server in servers(arguments.model, arguments.environments):
        if re.search(arguments.only, server.name):
            is_exact = server.name == OURS
            path = our_path(arguments.model, images, arguments) if is_exact else None
            rows += measure_server(server, images, arguments, path)
    iou = engine_iou(arguments.model, arguments.test) if arguments.test else {}
    measured = Measured(rows, iou)
    arguments.output.mkdir(parents=True, exist_ok=True)
    values = {"rows": [asdict(row) for row in rows], "iou": iou}
    (arguments.output / "serving.json").write_text(json.dumps(values, indent=1))
    text = table(measured) + "\n" + targets(measured)
    (arguments.output / "serving.md").write_text(text)
    plot(measured, arguments.output / "serving.png")
    print(text)
    return 0


def bare_network(model_dir: Path, images: list[bytes], arguments: argparse.Namespace) -> list[Row]:
    """The network alone, on pixels that are decoded already."""
    from segmentor.inference import decode_for
    from segmentor.onnx_model import OnnxModel

    model = OnnxModel(model_dir, spinning=False)
    pixels = decode_for(model.contract, images[0])[0]
    work = in_process_pass("session.run", lambda _: model.forward(pixels[None]), images, arguments)
    return [median_row([work(callers) for _ in range(arguments.passes)]) for callers in CONCURRENCY]


def our_path(model_dir: Path, images: list[bytes], arguments: argparse.Namespace) -> Pass:
    """JPEG in, mask PNG out, as the server does it but without a server."""
    return in_process_pass("path", in_process_path(model_dir), images, arguments)


def in_process_pass(
    form: str, work: Callable[[bytes], object], images: list[bytes], arguments: argparse.Namespace
) -> Pass:
    """A function of the number of callers that measures one pass in this process."""

    def measure(callers: int) -> Row:
        before = time.process_time()
        latencies, elapsed, errors = load([work] * callers, images, arguments.seconds)
        cpu = time.process_time() - before
        return row("in-process", form, callers, latencies, elapsed, cpu, 0, 0, errors)

    return measure


def measure_server(
    server: Server, images: list[bytes], arguments: argparse.Namespace, path: Pass | None
) -> list[Row]:
    """All passes of one server; with `path`, our own path runs before each pass of its first form.

    In turn, because a machine that does other things is slow at one moment and fast at the next.
    """
    rows: list[Row] = []
    started = running(server.command, server.ready, arguments.model)
    with started as (process, port, grpc_port, start_s):
        engine = served_engine(port, server.ready)
        idle = rss_mib(process.pid, "VmRSS:")

        def measure(form: str, callers: int) -> Row:
            before = cpu_seconds(process.pid)
            callables = [caller(server.forms[form], port, grpc_port) for _ in range(callers)]
            latencies, elapsed, errors = load(callables, images, arguments.seconds)
            cpu = cpu_seconds(process.pid) - before
            facts = (latencies, elapsed, cpu, rss_mib(process.pid), start_s, errors)
            measured = row(server.name, form, callers, *facts)
            return replace(measured, idle_rss_mib=idle, engine=engine)

        for form in server.forms:
            for callers in CONCURRENCY:
                results, compared = [], []
                for _ in range(arguments.passes):
                    if path is not None:
                        compared.append(path(callers))
                    results.append(measure(form, callers))
                if compared:
                    pairs = zip(results, compared, strict=True)
                    share = statistics.median(one.requests_s / own.requests_s for one, own in pairs)
                    results = [replace(result, of_path=round(share, 3)) for result in results]
                rows += [median_row(some) for some in (compared, results) if some]
                print(rows[-1], file=sys.stderr, flush=True)
            path = None
    return rows


def engine_iou(model_dir: Path, test: Path) -> dict[str, float]:
    """IoU on the test set of each engine that this processor runs, whether or not it agrees."""
    from segmentor.dataset import Dataset
    from segmentor.inference import decode_for, mask_of
    from segmentor.metrics import confusion_matrix, dataset_iou
    from segmentor.onnx_model import OnnxModel
    from serving.engines import FASTEST_FIRST, compile_engine

    model, dataset = OnnxModel(model_dir), Dataset(test)
    forwards = {"onnxruntime": model.forward}
    for engine in FASTEST_FIRST:
        forwards[engine] = compile_engine(engine, model, threads=2, streams=1)
    scores = {}
    for engine, forward in forwards.items():
        total = 0
        for sample in dataset.iter_samples():
            pixels, size = decode_for(model.contract, dataset.image_content(sample), sample.id)
            mask = mask_of(forward, model.contract, pixels, size)
            classes = len(model.contract.label_map)
            total = total + confusion_matrix(dataset.mask(sample), mask, classes)
        scores[engine] = dataset_iou(total, model.contract.is_binary)
    return scores


def served_engine(port: int, path: str) -> str:
    """The engine that our predictor says it runs; empty of any other server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().headers.get("X-Segmentor-Engine", "")


if __name__ == "__main__":
    sys.exit(main())
