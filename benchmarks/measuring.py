"""The one harness: contenders take turns, and the medians of the ratios within a round count.

A shared machine is a third faster at one moment than at the next, so whole runs one after the other
compare moments. CPU time hardly depends on what else the machine does.
"""

import contextlib
import http.client
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """One turn: what was done, and the seconds of wall clock and of CPU that it took."""

    items: int
    wall_s: float
    cpu_s: float


def start_clock() -> Callable[[int], Spent]:
    """Start a clock of this process; what it returns stops it, given the items done."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda items: Spent(items, time.perf_counter() - wall, time.process_time() - cpu)


def run_python(*arguments: str, items: int = 1) -> Spent:
    """Run Python at the top of the repository; CPU time is that of the process and its children.

    Raises:
        CalledProcessError: it failed.
    """
    before, stop = _children_cpu_s(), start_clock()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return Spent(items, stop(items).wall_s, _children_cpu_s() - before)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def take_turns(
    contenders: Mapping[str, Callable[[], Spent]], rounds: int, warm_up: bool = False
) -> dict[str, list[Spent]]:
    """Let each contender work once a round, in a changing order.

    Args:
        contenders: By name.
        rounds: That count.
        warm_up: One round before, which does not.
    """
    turns: dict[str, list[Spent]] = {name: [] for name in contenders}
    for turn in range(-warm_up, rounds):
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            spent = contenders[name]()
            if turn >= 0:
                turns[name].append(spent)
    return turns


def table(turns: Mapping[str, Sequence[Spent]], bases: Sequence[str], item: str) -> str:
    """Medians as Markdown; ratios to each base are paired within the rounds."""
    known = [base for base in bases if base in turns]
    head = ["", f"{item}s/s", f"CPU ms a {item}"]
    head += [f"of {base}{clock}" for base in known for clock in ("", " (CPU)")]
    lines = [head, ["---"] * len(head)]
    for name, spent in turns.items():
        rate = statistics.median(one.items / one.wall_s for one in spent)
        cpu = statistics.median(1000 * one.cpu_s / one.items for one in spent)
        cells = [name, f"{rate:.1f}", f"{cpu:.1f}"]
        for base in known:
            pairs = list(zip(spent, turns[base], strict=True))
            for clock in ("wall_s", "cpu_s"):
                ratios = [
                    getattr(other, clock) / other.items / (getattr(one, clock) / one.items)
                    for one, other in pairs
                ]
                cells.append(f"{statistics.median(ratios):.2f}")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def load(
    calls: Sequence[Callable[[bytes], object]], images: Sequence[bytes], seconds: float
) -> tuple[int, float]:
    """Call from one thread each until the time is up; return how many replies, and seconds.

    Raises:
        RuntimeError: a call failed.
    """
    done, failures = [0] * len(calls), []
    started = time.perf_counter()

    def loop(caller: int) -> None:
        while time.perf_counter() - started < seconds and not failures:
            try:
                calls[caller](images[(caller + done[caller]) % len(images)])
            except Exception as error:  # whatever a client raises ends the measurement
                failures.append(repr(error)[:200])
            done[caller] += 1

    threads = [threading.Thread(target=loop, args=(caller,)) for caller in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return sum(done), time.perf_counter() - started


@contextlib.contextmanager
def running(command: Sequence[str], ready: str, model: Path) -> Iterator[tuple[int, int, int]]:
    """Run a server; yield its process id, its HTTP port and its gRPC port once it is ready."""
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
        facts = f"ready after {time.perf_counter() - started:.2f} s, {rss_mib(process.pid)} MiB"
        print(f"{' '.join(filled[:4])} ...: {facts}", file=sys.stderr)
        yield process.pid, port, grpc_port
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
    """CPU time of a process and of all below it, ended ones that were waited for included."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def rss_mib(pid: int, field: str = "VmRSS:") -> int:
    """Resident memory of a process and all below it: VmRSS now, VmHWM at its peak."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{member}/status").read_text()
            total += int(status.split(field)[1].split()[0]) / 1024
    return round(total)
