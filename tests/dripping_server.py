"""Servers that keep a client waiting: each byte comes before any timeout of a single wait, the answer never ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the head of an interim answer": (b"HTTP/1.1 100 Continue\r\n", b"a: b\r\n"),
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (OK + b"a: ", b"x"),
    "the body": (OK + b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "the body of a connection that ends": (OK + b"Content-Type: application/json\r\nConnection: close\r\n\r\n", b" "),
    "a size of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "nothing": (b"", b""),
}
"""What comes at once, and what comes again and again."""
DRIP_SECONDS = 0.1
WHOLE_SECONDS = 60.0
"""How long the server goes on; whoever is not bounded waits for all of it."""


@contextmanager
def dripping(kind: str) -> Iterator[str]:
    """Yields the URL, of http."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()
    first, again = DRIPS[kind]

    def keep_waiting(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(first)
            for _ in range(int(WHOLE_SECONDS / DRIP_SECONDS)):
                if stop.wait(DRIP_SECONDS):
                    return
                connection.sendall(again)

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=keep_waiting, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(5.0)
        listener.close()
