"""Ports for the servers of tests: no two processes of one test run are given the same one."""

import itertools
import os

from pipelines.processes import is_free_port

# Below those that the system gives to clients (32768 on), and below those of the embedded store:
# what `bind` to port 0 finds may be taken by anybody before the server is there.
FIRST = 2_000
OF_A_WORKER = 1_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
# Another test run on this machine, and a test server that starts servers, begin elsewhere.
_numbers = itertools.count(os.getpid() * 37)


def free_port() -> int:
    """Find a port of loopback that nobody listens on, another one at each call."""
    for number in itertools.islice(_numbers, OF_A_WORKER):
        port = FIRST + _worker * OF_A_WORKER + number % OF_A_WORKER
        if is_free_port(port):
            return port
    raise RuntimeError("no free port")
