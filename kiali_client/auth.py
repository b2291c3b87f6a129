"""How a program proves to Kiali who it is, for each strategy that Kiali may be set to."""

from __future__ import annotations

from typing import Literal, get_args

import requests
from requests.auth import AuthBase

from kiali_client.errors import KialiAuthenticationError
from kiali_client.secret import Secret

__all__ = ["AuthStrategy", "BearerToken", "TokenForm", "checked_strategy"]

AuthStrategy = Literal["anonymous", "token", "header", "openshift"]
"""Those that a program can use: nothing, a cookie for a token, or a token in every request."""


class BearerToken(AuthBase):
    """Sends a token in the Authorization header. (Not a header of the session, whose `repr` and redirects would show it.)"""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._secret.reveal()}"
        return request


class TokenForm(AuthBase):
    """Sends a token as the form `token=...`, which no frame of a traceback has among its variables."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.prepare_body({"token": self._secret.reveal()}, None)
        return request


def checked_strategy(strategy: object, place: str) -> AuthStrategy:
    """The strategy that `GET /api/auth/info` names.

    Raises:
        KialiAuthenticationError: it is none of those that a program can use.
    """
    for known in get_args(AuthStrategy):
        if strategy == known:
            return known
    if strategy == "openid":
        raise KialiAuthenticationError(
            f"{place}: this Kiali is set to openid, which logs in with a browser; set auth.strategy to token, header or "
            "anonymous for programs, or read the graph from Prometheus"
        )
    old = strategy if strategy in ("login", "ldap") else "an unknown strategy"
    raise KialiAuthenticationError(
        f"{place}: this Kiali is set to {old}, which this client does not speak; set auth.strategy to "
        f"{', '.join(get_args(AuthStrategy))}"
    )
