"""The predictor's command line: `python -m serving --model_name road --model_dir DIR`."""

import argparse
import math
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from segmentor.booleans import read_boolean
from segmentor.errors import SegmentorError

EXIT_KNOWN_ERROR = 3
EXIT_TERMINATED = 143
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser. Flags have underscores, as KServe's own have."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve an exported segmentation model: V1, V2 (REST and gRPC) and /predict.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model_name", required=True, type=_name, help="name of the model in its routes")
    add(
        "--model_dir",
        default="/mnt/models",
        help="a folder with model.onnx, the file itself, or s3://bucket/name/version/",
    )
    add("--model_version", type=_name, help="version to report; else the digest's first 12 digits")
    add("--model_digest", help="refuse to start with any other model: sha256:<hex>")
    add("--http_port", type=_port, default=8080, help="port for HTTP")
    add("--grpc_port", type=_port, default=8081, help="port for gRPC")
    add("--enable_grpc", type=read_boolean, default=True, help="whether to serve gRPC")
    add(
        "--engine",
        default="onnxruntime",
        choices=("onnxruntime", "openvino", "openvino-int8", "fast"),
        help="what runs the model; onnxruntime is exact, others must agree with it at start on the "
        "images kept with the model; fast takes the fastest that does",
    )
    add("--threads", type=_positive, help="threads of one inference; else the CPUs granted")
    add(
        "--provider",
        default="CPUExecutionProvider",
        choices=("CPUExecutionProvider", "CUDAExecutionProvider"),
        help="where onnxruntime runs the network; CUDA needs the image built for it",
    )
    add("--max_inflight", type=_positive, help="inferences at once; else the CPUs granted")
    add("--max_queue", type=_count, default=32, help="requests that may wait; more get 503")
    add("--time_limit", type=_seconds, default=30.0, help="seconds a request may take")
    add("--max_body_mib", type=_positive, default=64, help="largest request body, in MiB")
    add("--max_pixels", type=_positive, default=120_000_000, help="pixels of one request")
    add("--grace_period", type=_seconds, default=30.0, help="seconds to finish after SIGTERM")
    add(
        "--keep_alive",
        type=_positive,
        default=3660,
        help="seconds an idle connection stays open; keep it above the gateway's (Envoy: 3600)",
    )
    add("--log_level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Return the exit code: 0 drained, 2 usage, 3 a known error."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.enable_grpc and arguments.http_port == arguments.grpc_port:
        parser.error(f"--http_port and --grpc_port are both {arguments.http_port}")
    # Until the server takes over: the first process of a container has no default handler, so a pod
    # that is stopped while it loads its model would run until it is killed.
    signal.signal(signal.SIGTERM, _end)
    try:
        _serve(arguments)
    except SegmentorError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_KNOWN_ERROR
    return 0


def _end(_signal: int, _frame: FrameType | None) -> None:
    # Not an exception: raised during an import of compiled code, it becomes an ImportError.
    os._exit(EXIT_TERMINATED)


def _serve(arguments: argparse.Namespace) -> None:
    import cv2

    from segmentor.cpus import available_cpus
    from serving.engines.loading import ModelSource, load_model
    from serving.logs import configure_logging
    from serving.settings import MIB, Limits, Settings

    configure_logging(arguments.log_level)
    # gRPC's own log lines about wrong clients are not JSON; what matters is raised.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # OpenCV's threads would spin beside our workers, for resizes of 0.3 ms.
    cv2.setNumThreads(1)
    workers = arguments.max_inflight or available_cpus()
    source = ModelSource(
        name=arguments.model_name,
        location=arguments.model_dir,
        version=arguments.model_version,
        digest=arguments.model_digest,
        threads=arguments.threads,
        engine=arguments.engine,
        streams=workers,
        provider=arguments.provider,
    )
    limits = Limits(
        max_body_bytes=arguments.max_body_mib * MIB,
        max_pixels=arguments.max_pixels,
        time_limit_s=arguments.time_limit,
        workers=workers,
        queue_limit=arguments.max_queue,
    )
    settings = Settings(
        source=source,
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port if arguments.enable_grpc else None,
        limits=limits,
        grace_period_s=arguments.grace_period,
        keep_alive_s=arguments.keep_alive,
    )
    served = load_model(source)
    # Last: importing KServe takes longer than finding out that the model is wrong.
    from serving.lean_kserve import import_kserve

    import_kserve()
    from serving.server import PredictorServer

    PredictorServer(served, settings).serve()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a positive whole number")
    return int(text)


def _port(text: str) -> int:
    if not 1 <= _count(text) <= 65535:
        raise argparse.ArgumentTypeError(f"found '{text}', expected 1..65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"found '{text}', expected seconds, more than 0")
    return seconds


def _name(text: str) -> str:
    """Check a name or version: it goes into routes, headers and gRPC metadata unchanged."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected letters, digits, '.', '_' and '-', 128 at most"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
