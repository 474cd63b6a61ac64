"""Whether a port of this machine is free, asked before a server is started on it."""

import socket


def is_free_port(port: int) -> bool:
    """Says whether a server can listen on 127.0.0.1 at `port`."""
    with socket.socket() as probe:
        # As servers do it: a port that is only in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
