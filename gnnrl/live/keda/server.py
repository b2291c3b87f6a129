"""The gRPC server around the scaler: one thread with an event loop, so that a stream for every ScaledObject costs no thread."""

from __future__ import annotations

import asyncio
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc

from gnnrl.live.keda.externalscaler_pb2_grpc import add_ExternalScalerServicer_to_server
from gnnrl.live.keda.scaler import KedaScaler

__all__ = ["LOOPBACK", "KedaServer", "KedaTls", "bracketed", "serve"]

OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a coin that the kernel tosses
    ("grpc.max_receive_message_length", 64 * 1024),
)
START_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
"""Nobody else is served unless it is said."""


@dataclass(frozen=True, kw_only=True)
class KedaTls:
    """Files in PEM by which the server shows who it is, and whom it lets in."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    """Only clients with a certificate of this authority; None = any."""

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            OSError: a file cannot be read.
            ValueError: certificate and key do not fit each other, or are not PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        what = f"{self.certificate_file}, {self.key_file}: not a certificate with its key in PEM"
        try:
            # The empty password keeps OpenSSL from asking for one at the terminal.
            context.load_cert_chain(self.certificate_file, self.key_file, password="")
            if self.client_ca_file is not None:
                what = f"{self.client_ca_file}: no certificates in PEM"
                context.load_verify_locations(self.client_ca_file)
        except ssl.SSLError as error:
            raise ValueError(f"{what} ({error.reason or 'nothing in it'})") from None
        authority = None if self.client_ca_file is None else self.client_ca_file.read_bytes()
        return grpc.ssl_server_credentials(
            [(self.key_file.read_bytes(), self.certificate_file.read_bytes())],
            root_certificates=authority,
            require_client_auth=authority is not None,
        )


class KedaServer:
    """A running server; a context manager that stops it.

    Args:
        scaler: what answers.
        address: where to listen, a name or a literal of either kind; `::` = everywhere.
        port: 0 = any free one.
        tls: None = plain text.

    Raises:
        OSError: the port cannot be had, or a file of `tls` not be read.
        ValueError: a file of `tls` is not what it should be.
    """

    port: int
    """That it listens on."""

    def __init__(self, scaler: KedaScaler, *, address: str, port: int, tls: KedaTls | None) -> None:
        credentials = None if tls is None else tls.credentials()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gnnrl-keda", daemon=True)
        self._thread.start()
        try:
            starting = asyncio.run_coroutine_threadsafe(
                self._start(scaler, f"{bracketed(address)}:{port}", credentials), self._loop
            )
            self.port = starting.result(START_SECONDS)
        except RuntimeError:
            self._end()
            raise OSError(
                f"cannot listen on {bracketed(address)}:{port}: in use or not permitted; choose another address or port"
            ) from None

    async def _start(self, scaler: KedaScaler, where: str, credentials: grpc.ServerCredentials | None) -> int:
        self._server = grpc.aio.server(options=OPTIONS)
        add_ExternalScalerServicer_to_server(scaler, self._server)
        plain = credentials is None
        port = self._server.add_insecure_port(where) if plain else self._server.add_secure_port(where, credentials)
        await self._server.start()
        return port

    def stop(self, grace_seconds: float = 1.0) -> None:
        """End: no new calls, open ones get `grace_seconds`. Once is enough, twice does no harm."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._server.stop(grace_seconds), self._loop).result(
            grace_seconds + START_SECONDS
        )
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> KedaServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def bracketed(address: str) -> str:
    """As it stands before a port."""
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def serve(scaler: KedaScaler, *, address: str = LOOPBACK, port: int = 6000, tls: KedaTls | None = None) -> KedaServer:
    """Start answering KEDA in a thread of its own; returns at once. Arguments and errors as `KedaServer`."""
    return KedaServer(scaler, address=address, port=port, tls=tls)
