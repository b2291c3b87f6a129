"""HTTP connections whose deadline is one: from looking the name up to the last byte, headers included.

A socket's timeout bounds one wait of it. A server that sends `100 Continue`, a status line or headers a byte at a time keeps a request
for as long as it likes, and so does a name that is looked up, or one with many addresses that do not answer. Here every wait gets what is
left of the time that `bounded_until` allows to the requests of its thread; outside of `bounded_until` nothing changes.

    with bounded_until(time.monotonic() + 3.0):
        session.request(...)  # and the reading of its body
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

__all__ = ["bound_pools", "bound_session", "bounded_until"]

_end: ContextVar[float | None] = ContextVar("end of the request under way, of the monotonic clock", default=None)


@contextmanager
def bounded_until(end_seconds: float) -> Iterator[None]:
    """Bound the requests of this thread.

    Args:
        end_seconds: when they end, of `time.monotonic`.
    """
    before = _end.set(end_seconds)
    try:
        yield
    finally:
        _end.reset(before)


def _left() -> float | None:
    """Seconds that a wait may take; None = as long as it likes.

    Raises:
        TimeoutError: the deadline has passed.
    """
    end = _end.get()
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0.0:
        raise TimeoutError("the deadline has passed")
    return left


class _BoundedReads(io.RawIOBase):
    """A socket's file, each of whose reads waits for as long as is left."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw, self._sock = raw, sock

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        left = _left()
        if left is not None:
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedAnswer(http.client.HTTPResponse):
    """Reads status line, interim answers, headers and body within the deadline."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReads(self.fp.detach(), sock))


class _BoundedConnection:
    """What both kinds of connection do otherwise than urllib3's."""

    sock: Any
    host: str
    port: int
    timeout: Any
    source_address: Any
    socket_options: Any
    _dns_host: str

    def send(self, data: Any) -> None:
        """With the time that is left, not that of the request before on this connection."""
        left = _left()
        if left is not None and self.sock is not None:
            self.sock.settimeout(left)
        super().send(data)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        if _end.get() is None:
            return super()._new_conn()  # type: ignore[misc]
        failed: OSError | None = None
        try:
            for address in _addresses(self._dns_host, self.port):
                try:
                    sock = create_connection(
                        (address, self.port), _left(), self.source_address, socket_options=self.socket_options
                    )
                except OSError as error:
                    failed = error
                    continue
                # What follows may be a handshake.
                sock.settimeout(_left())
                return sock
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except TimeoutError as error:
            failed = error
        if isinstance(failed, TimeoutError):
            raise ConnectTimeoutError(self, f"{self.host}: no connection in time") from failed
        raise NewConnectionError(self, f"no connection: {failed}") from failed  # type: ignore[arg-type]


class _BoundedHttp(_BoundedConnection, HTTPConnection):
    # Of http.client's connection; urllib3 names its own class of answers so, which it makes of this one.
    response_class = _BoundedAnswer


class _BoundedHttps(_BoundedConnection, HTTPSConnection):
    response_class = _BoundedAnswer


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _BoundedHttp


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedHttps


class _Lookup:
    """Of one name, in a thread of its own: nothing else ends the wait for a name server that is silent."""

    running: ClassVar[dict[tuple[str, int], _Lookup]] = {}
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: tuple[str, int]) -> None:
        self._name = name
        self._done = threading.Event()
        self._found: list[str] = []
        self._error: OSError | None = None
        threading.Thread(target=self._run, name="look up", daemon=True).start()

    @classmethod
    def of(cls, name: tuple[str, int]) -> _Lookup:
        """The one under way, if there is one: a name server that hangs costs one thread, not one an attempt."""
        with cls.lock:
            return cls.running.get(name) or cls.running.setdefault(name, cls(name))

    def wait(self, seconds: float | None) -> list[str]:
        if not self._done.wait(seconds):
            raise TimeoutError(f"{self._name[0]}: the name was not found in time")
        if self._error is not None:
            raise self._error
        return self._found

    def _run(self) -> None:
        try:
            self._found = _look_up(*self._name)
        except OSError as error:
            self._error = error
        except UnicodeError as error:
            # Of a label that is empty or too long.
            self._error = socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            with self.lock:
                self.running.pop(self._name, None)
            self._done.set()


def _look_up(host: str, port: int, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _addresses(host: str, port: int) -> list[str]:
    """All of a host's addresses.

    Raises:
        TimeoutError: they were not found in time.
        socket.gaierror: there are none.
    """
    host = host.strip("[]")
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return _Lookup.of((host, port)).wait(_left())


def bound_pools(manager: urllib3.PoolManager) -> None:
    """Let the connections that this manager makes from now on keep to deadlines."""
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        bound_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        bound_pools(manager)
        return manager


def bound_session(session: requests.Session) -> requests.Session:
    """Let a session keep to deadlines; adapters that are somebody's own stay as they are."""
    for prefix, adapter in list(session.adapters.items()):
        if type(adapter) is HTTPAdapter:
            session.mount(prefix, _BoundedAdapter(max_retries=adapter.max_retries))
    return session
