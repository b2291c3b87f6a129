"""The kubeconfig that leads kubectl and the Python client to the sandbox."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path

import yaml

__all__ = ["write_kubeconfig"]


def write_kubeconfig(
    path: Path,
    url: str,
    token: str,
    namespace: str,
    *,
    context: str = "gnnrl-sandbox",
    certificate_authority: bytes | None = None,
) -> None:
    """Write a kubeconfig of one cluster, whole or not at all, readable by its owner only.

    Args:
        path: replaced if it exists.
        url: of the API server.
        token: bearer token.
        namespace: of the context.
        context: name of context, cluster and user.
        certificate_authority: PEM, for an https URL with a certificate of its own.

    Raises:
        OSError: the file cannot be written.
    """
    cluster = {"server": url}
    if certificate_authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(certificate_authority).decode()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": namespace}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(content, file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
