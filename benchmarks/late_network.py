"""A server on loopback that passes on what another one says, so much later.

    python -m benchmarks.late_network http://127.0.0.1:9000 9001 0.05

It imports little: it shares the machine with what is measured.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.measuring import ROOT, free_port


@contextlib.contextmanager
def late_network(target: str, latency_ms: int) -> Iterator[str]:
    """Yield an address behind which a server answers later."""
    port = free_port()
    arguments = [target, str(port), str(latency_ms / 1000)]
    command = [sys.executable, "-m", "benchmarks.late_network", *arguments]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        while not _is_open(port):
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _serve(target: str, port: int, latency_s: float) -> None:
    parts = urlsplit(target)

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on, each piece so much later, but as many pieces a second."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, piece = await queue.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                if not piece:
                    return writer.close()
                writer.write(piece)

        sender = asyncio.create_task(send())
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 18):
                queue.put_nowait((asyncio.get_running_loop().time() + latency_s, piece))
        queue.put_nowait((0.0, b""))
        await sender

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 18):
                writer.write(piece)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(early(reader, there[1]), late(there[0], writer))

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
