"""How the benchmarks start a server, load it from threads, and read its CPU and memory."""

import contextlib
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One measured case."""

    server: str
    form: str
    concurrency: int
    requests_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    peak_rss_mib: float
    start_s: float
    errors: int
    idle_rss_mib: float = 0
    engine: str = ""
    # Requests/s as a share of our own path's, which ran just before: the median of the pairs.
    of_path: float = 0


def load(
    callables: list[Callable[[bytes], object]], images: list[bytes], seconds: float
) -> tuple[list[float], float, int]:
    """Calls from one thread each until the time is up; returns latencies, elapsed, errors."""
    for call in callables:
        call(images[0])
    latencies: list[float] = []
    errors = 0
    started = time.perf_counter()

    def loop(call: Callable[[bytes], object], offset: int) -> None:
        nonlocal errors
        turn = offset
        while time.perf_counter() - started < seconds:
            begun = time.perf_counter()
            try:
                call(images[turn % len(images)])
                latencies.append(time.perf_counter() - begun)
            except Exception as error:
                errors += 1
                print(repr(error)[:200], file=sys.stderr)
            turn += 1

    threads = [threading.Thread(target=loop, args=item[::-1]) for item in enumerate(callables)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies, time.perf_counter() - started, errors


def row(
    server: str,
    form: str,
    callers: int,
    latencies: list[float],
    elapsed: float,
    cpu: float,
    rss: float,
    start_s: float,
    errors: int,
) -> Row:
    ordered = sorted(latencies) or [float("nan")]
    count = max(1, len(latencies))
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    figures = [count / elapsed, ordered[len(ordered) // 2] * 1e3, p99 * 1e3, cpu / count * 1e3]
    return Row(server, form, callers, *(round(v, 1) for v in figures), rss, start_s, errors)


def median_row(rows: list[Row]) -> Row:
    middle = statistics.median_low([row.requests_s for row in rows])
    return next(row for row in rows if row.requests_s == middle)


@contextlib.contextmanager
def running(command: list[str], ready: str, model: Path) -> Iterator[tuple]:
    port, grpc_port = free_port(), free_port()
    filled = [part.format(port=port, grpc=grpc_port) for part in command]
    environment = {**os.environ, "BENCHMARK_MODEL": str(model.resolve())}
    started = time.perf_counter()
    process = subprocess.Popen(filled, cwd=ROOT, env=environment, start_new_session=True)
    try:
        while not is_ready(port, ready):
            if process.poll() is not None:
                raise RuntimeError(f"{filled} ended with {process.returncode}")
            time.sleep(0.02)
        yield process, port, grpc_port, round(time.perf_counter() - started, 2)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss_mib(pid: int, field: str = "VmHWM:") -> float:
    """Resident memory of a process and all below it: VmHWM at its peak, VmRSS now."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{member}/status").read_text()
            total += int(status.split(field)[1].split()[0]) / 1024
    return round(total)
