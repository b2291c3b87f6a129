"""Where the API server is and who we are to it: a kubeconfig, or the service account of the pod that this runs in.

The official client loads both; here its ways of failing become one-line errors. Nothing of a kubeconfig's content is
quoted but names of contexts and files: YAML errors show the lines around them, and exec plugins print what they like.
"""

from __future__ import annotations

import logging
import math
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from oauthlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from gnnrl.cluster.errors import ClusterAuthError, ClusterConfigError, ClusterError, ClusterUnavailableError
from kiali_client.text import decode_text, text_encoding

__all__ = ["Credentials"]

T = TypeVar("T")

CONNECTIONS = 16
"""Kept open to the API server: one for each concurrent read and some writes."""
RELOAD_SECONDS = 10.0
"""Where reading refused credentials again gave the same ones, for how long they are not read again: an exec plugin may take its time."""

HEADER_VALUE = re.compile(r"[\x20-\x7e]+")
SAFE_REASON = re.compile(r"(?:Invalid kube-config|File does not exist:).*")
EXEC_STATUS = re.compile(r"exec: process returned -?[0-9]+")

LOADING_ERRORS = (
    ConfigException,
    HTTPError,
    OAuth2Error,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What the client's loader lets through, on a malformed kubeconfig or a provider of tokens that fails."""


class Credentials:
    """The API server's address, TLS settings and the headers that say who we are. Thread-safe.

    Args:
        load: reads them; called again where the API server does not accept them any more, so that a token that was
            replaced on disk is followed.
        origin: what they were read from, for messages.

    Raises:
        ClusterConfigError: they cannot be used.
    """

    def __init__(self, load: Callable[[], Configuration], origin: str) -> None:
        self.origin = origin
        self._load = load
        self._lock = threading.Lock()
        self.configuration = load()
        self._unchanged_until = -math.inf

    @classmethod
    def find(
        cls, kubeconfig: Path | None = None, context: str | None = None, *, in_cluster: bool = False
    ) -> Credentials:
        """As kubectl does: the kubeconfig named, else those of `KUBECONFIG`, else `~/.kube/config`, else the pod's own.

        Raises:
            ClusterConfigError: nothing usable is there.
        """
        if in_cluster:
            return cls(_service_account, "the service account of this pod")
        named = [kubeconfig] if kubeconfig is not None else _default_files()
        files = [path.expanduser() for path in named if path.expanduser().exists()]
        if not files and kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            return cls(_service_account, "the service account of this pod")
        if not files:
            raise ClusterConfigError(
                f"kubeconfig {', '.join(map(str, named))}: no such file; name one with --kubeconfig or KUBECONFIG "
                "(`gnnrl sandbox --kubeconfig FILE` writes one)"
            )
        origin = f"kubeconfig {os.pathsep.join(map(str, files))}"
        return cls(lambda: _kubeconfig(files, context, origin), origin)

    @property
    def host(self) -> str:
        """`https://10.0.0.1:6443`, without a user or a path."""
        return _place(self.configuration.host)

    @property
    def has_headers(self) -> bool:
        """Whether a token or a password is among them, as far as they were read."""
        return bool(self.configuration.api_key or self.configuration.username)

    def headers(self, timeout_seconds: float) -> dict[str, str]:
        """The headers that say who we are; a token that runs out is replaced on the way.

        Raises:
            ClusterAuthError: the token ran out and its provider gives no other.
            ClusterConfigError: the token holds characters that no header may hold.
            ClusterUnavailableError: its provider takes longer than the timeout.
        """
        return self._within(timeout_seconds, lambda: self._headers(self.configuration))

    def renewed(self, refused: Mapping[str, str], timeout_seconds: float) -> bool:
        """Whether there are others than those that the API server refused, after reading them again if need be.

        Several calls may have been under way with the same token: the first of them to be refused reads it again, for all.

        Args:
            refused: the headers that were sent.
            timeout_seconds: for their provider.

        Raises:
            ClusterConfigError: they cannot be used any more.
            ClusterUnavailableError: their provider takes longer than the timeout.
        """
        return self._within(timeout_seconds, lambda: self._read_again(refused))

    def _read_again(self, refused: Mapping[str, str]) -> bool:
        if self._headers(self.configuration) != refused:
            return True
        if time.monotonic() < self._unchanged_until:
            return False
        fresh = self._load()
        if self._headers(fresh) == refused:
            self._unchanged_until = time.monotonic() + RELOAD_SECONDS
            return False
        self.configuration = fresh
        return True

    def _within(self, seconds: float, work: Callable[[], T]) -> T:
        """One at a time, and in a thread that nobody has to wait for: an exec plugin may hang, and ends when it likes."""
        end = time.monotonic() + seconds
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except ClusterError as error:
                outcome.set_exception(error)
            finally:
                self._lock.release()

        if self._lock.acquire(timeout=max(0.0, seconds)):
            threading.Thread(target=run, name="credentials", daemon=True).start()
            with suppress(TimeoutError):
                return outcome.result(max(0.0, end - time.monotonic()))
        raise ClusterUnavailableError(f"{self.origin}: the provider of tokens did not answer within {seconds:.1f} s")

    def _headers(self, configuration: Configuration) -> dict[str, str]:
        with _client_quiet() as said:
            settings: Any = None
            failed = ""
            try:
                settings = configuration.auth_settings()
            except LOADING_ERRORS as error:
                failed = type(error).__name__
        # Raised outside of the except blocks: the client's exceptions, which may quote secrets, are not chained.
        if settings is None or said:
            raise ClusterAuthError(
                f"{self.origin}: the token ran out and was not replaced ({_plugin_failure(said) or failed}); log in again"
            )
        found = {
            setting["key"]: str(setting["value"]).strip() for setting in settings.values() if setting["in"] == "header"
        }
        if not all(HEADER_VALUE.fullmatch(value) for value in found.values()):
            raise ClusterConfigError(
                f"{self.origin}: the token is empty or holds characters that no token has; replace it"
            )
        return found


def _default_files() -> list[Path]:
    named = os.environ.get("KUBECONFIG", "")
    return [Path(part) for part in named.split(os.pathsep) if part] or [Path("~/.kube/config")]


def _service_account() -> Configuration:
    configuration = _blank()
    failure = ""
    try:
        load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError, ValueError) as error:
        failure = str(error) if isinstance(error, ConfigException) else type(error).__name__
    if failure:
        raise ClusterConfigError(
            f"in-cluster: {failure.rstrip('.')}; this works in a pod with a mounted service account token, elsewhere "
            "name a --kubeconfig"
        )
    _check_certificates(configuration, "the service account of this pod")
    return configuration


def _kubeconfig(files: list[Path], context: str | None, origin: str) -> Configuration:
    # Named always: of several files the client takes the last current-context, kubectl the first.
    wanted = _checked_context([_document(path) for path in files], context, origin)
    configuration = _blank()
    failure = ""
    with _client_quiet() as said:
        try:
            load_kube_config(os.pathsep.join(map(str, files)), context=wanted, client_configuration=configuration)
        except LOADING_ERRORS as error:
            safe = SAFE_REASON.match(str(error)) if isinstance(error, ConfigException) else None
            failure = safe[0] if safe else f"cannot be used ({type(error).__name__}); check the user of this context"
    failure = failure or _plugin_failure(said)
    if failure:
        raise ClusterConfigError(f"{origin}: {failure}; `kubectl version` with the same kubeconfig must work first")
    _check_certificates(configuration, origin)
    return configuration


def _blank() -> Configuration:
    configuration = Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration


def _document(path: Path) -> dict[str, Any]:
    """A kubeconfig as plain data. What is wrong is said without a word of its content."""
    failure, document = "", None
    try:
        content = path.read_bytes()
        if (encoding := text_encoding(content)) in ("utf-16", "utf-32"):
            # The official client reads it again, as UTF-8.
            failure = f"is {encoding.upper()} text (PowerShell's > writes it); save it as UTF-8"
        else:
            document = yaml.safe_load(decode_text(content))
    except OSError as error:
        failure = f"cannot be read: {error.strerror}"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        failure = f"is not YAML{f', line {mark.line + 1}' if mark else ''}"
    except (yaml.YAMLError, ValueError, RecursionError):
        failure = "is not a YAML text"
    if not failure and not isinstance(document, dict):
        failure = "is empty" if document is None else "is not a mapping with clusters, contexts and users"
    if failure or not isinstance(document, dict):
        raise ClusterConfigError(f"kubeconfig {path}: {failure}; `kubectl config view` shows how one looks")
    return document


def _checked_context(documents: list[dict[str, Any]], context: str | None, origin: str) -> str:
    """The context to use, after what the client would take without a word: no server, a provider it does not know."""
    contexts = _named(documents, "contexts", "context")
    current = next((text for document in documents if (text := document.get("current-context"))), None)
    wanted = context or current
    there = ", ".join(contexts) or "none"
    if not isinstance(wanted, str):
        raise ClusterConfigError(f"{origin}: no current-context; choose one with --context, there are: {there}")
    if wanted not in contexts:
        raise ClusterConfigError(f"{origin}: no context {wanted!r}; there are: {there}")
    chosen = contexts[wanted]
    cluster = _named(documents, "clusters", "cluster").get(str(chosen.get("cluster")))
    server = (cluster or {}).get("server")
    if not isinstance(server, str) or not _place(server):
        raise ClusterConfigError(
            f"{origin}: the cluster of context {wanted!r} has no server, like https://10.0.0.1:6443"
        )
    user = _named(documents, "users", "user").get(str(chosen.get("user"))) or {}
    provider = user.get("auth-provider")
    if isinstance(provider, dict) and provider.get("name") != "oidc":
        raise ClusterConfigError(
            f"{origin}: the user of context {wanted!r} has an auth-provider that Kubernetes 1.26 took out; use the exec "
            "plugin of the provider"
        )
    return wanted


def _named(documents: list[dict[str, Any]], plural: str, singular: str) -> dict[str, dict[str, Any]]:
    """Entries by name; the first of a name wins, as in kubectl."""
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        entries = document.get(plural)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                value = entry.get(singular)
                found.setdefault(entry["name"], value if isinstance(value, dict) else {})
    return found


def _place(url: str) -> str:
    """Scheme, host and port of a URL; empty = it has none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def _check_certificates(configuration: Configuration, origin: str) -> None:
    """Load the certificates now: at the first request they would look like a server that cannot be reached."""
    if not configuration.host.startswith("https:"):
        return
    failure = ""
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    except (OSError, ValueError):
        failure = "the certificate authority cannot be loaded; it must be one or more PEM certificates"
    else:
        if configuration.cert_file:
            try:
                # The empty password keeps OpenSSL from asking for one at the terminal.
                context.load_cert_chain(configuration.cert_file, configuration.key_file, password=lambda: "")
            except (OSError, ValueError, TypeError):
                failure = "the client certificate and its key cannot be loaded; they must be PEM, not encrypted, a pair"
    if failure:
        raise ClusterConfigError(f"{origin}: {failure}")


@contextmanager
def _client_quiet() -> Iterator[list[str]]:
    """Collect what the client's loader logs instead of raising (what an exec plugin printed, too) and keep it off the logs."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if Path(record.pathname).parent.parts[-2:] != ("kubernetes", "config"):
            return True
        said.append(record.getMessage())
        return False

    root = logging.getLogger()
    # logging.error() would configure the root logger if it had no handler.
    placeholder = logging.NullHandler()
    root.addHandler(placeholder)
    root.addFilter(keep)
    try:
        yield said
    finally:
        root.removeFilter(keep)
        root.removeHandler(placeholder)


def _plugin_failure(said: list[str]) -> str:
    """Why the exec plugin gave no credentials, without its own words; empty = it was not asked or gave some."""
    if not said:
        return ""
    status = EXEC_STATUS.match(said[0])
    if status:
        return f"the exec plugin gave no credentials ({status[0].removeprefix('exec: ')})"
    missing = "No such file or directory" in said[0]
    return "the exec plugin is not installed" if missing else "the exec plugin gave no usable credentials"
