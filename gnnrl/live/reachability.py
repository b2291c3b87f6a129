"""Who can read what goes to an address: nobody else where it is this machine's own."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["is_loopback", "is_readable_on_the_way"]


def is_loopback(host: str) -> bool:
    """Whether a name or literal is of this machine alone."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        # RFC 6761: localhost and what is under it never leads elsewhere.
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")


def is_readable_on_the_way(url: str) -> bool:
    """Whether whoever is on the way to a URL reads what is sent there: plain http to another machine."""
    try:
        parts = urlsplit(url.strip())
        return parts.scheme.lower() == "http" and bool(parts.hostname) and not is_loopback(parts.hostname or "")
    except ValueError:
        return False
