"""Why a request got no answer, in words: from an exception of the HTTP library to a cause, a remedy and whether to try again."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import NamedTuple

import requests
import urllib3

__all__ = ["TOO_SLOW", "Failure", "explain"]

SELF_SIGNED = 18
SELF_SIGNED_IN_CHAIN = 19
UNKNOWN_ISSUERS = (2, 20, 21)
NOT_YET_VALID = 9
EXPIRED = 10
OTHER_HOST = (62, 64)
"""Codes of OpenSSL's X509_verify_cert_error_string(3)."""


class Failure(NamedTuple):
    """No answer."""

    text: str
    """What happened and the remedy; nothing of the request."""
    passing: bool
    """Whether the same request may succeed a moment later: the connection failed, and nothing was found to be wrong."""


NO_CONNECTION = Failure(
    "no connection in time; check the host and port in the URL, and the network policies on the way", True
)
TOO_SLOW = Failure("no complete answer in time; give it longer (timeout_seconds), or look at why it is slow", False)


def explain(error: BaseException) -> Failure:
    """What to tell of an exception that `requests` or `urllib3` raised."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(_certificate(cause), passing=False)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return Failure(_tls(cause), passing=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return Failure("the HTTP proxy does not let this through; set NO_PROXY for this host or mend HTTPS_PROXY", True)
    if any(isinstance(cause, urllib3.exceptions.NameResolutionError) for cause in causes):
        return Failure("the host name is not known; check the host in the URL and the DNS of this machine", True)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Failure("connection refused; check the host and port in the URL, and that the server runs", True)
    if isinstance(error, requests.Timeout) or any(
        isinstance(cause, urllib3.exceptions.TimeoutError) for cause in causes
    ):
        return NO_CONNECTION if isinstance(error, requests.ConnectTimeout) else TOO_SLOW
    if any(isinstance(cause, urllib3.exceptions.DecodeError) for cause in causes) or isinstance(
        error, requests.exceptions.ContentDecodingError
    ):
        return Failure("the answer's compression is broken; check the proxies in between", passing=False)
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError) or any(
        isinstance(cause, urllib3.exceptions.ProtocolError | ConnectionError) for cause in causes
    ):
        return Failure(
            "the connection was closed before the answer was complete; if the mesh enforces mutual TLS (STRICT), go through "
            "its ingress or a port-forward",
            passing=True,
        )
    return Failure(f"the request could not be made ({type(error).__name__}); check the URL", passing=False)


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code in (SELF_SIGNED, SELF_SIGNED_IN_CHAIN):
        return (
            "TLS: its certificate is self-signed, so nothing vouches for it; give the certificate, or that of the authority "
            "which signed it, as ca_file"
        )
    if code in UNKNOWN_ISSUERS:
        return "TLS: its certificate is signed by an authority that is not known here; give that authority's as ca_file"
    if code == EXPIRED:
        return "TLS: its certificate has expired; renew it, and check the clock of this machine"
    if code == NOT_YET_VALID:
        return "TLS: its certificate is not valid yet; check the clock of this machine"
    if code in OTHER_HOST:
        return "TLS: its certificate is for another host name; use the name that the certificate has in the URL"
    return f"TLS: its certificate is refused ({error.verify_message}); mend it, or give the right authority as ca_file"


def _tls(error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return "TLS: it does not speak TLS at this port; write http:// in the URL, or use its https port"
    return f"TLS: no secure connection ({error.reason or type(error).__name__}); check the port, and ca_file"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it wraps; urllib3 keeps the reason in arguments and attributes as well as in the chain."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
