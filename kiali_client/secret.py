"""Tokens that are never shown, and where they come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from kiali_client.errors import KialiAuthenticationError
from kiali_client.text import text_encoding

__all__ = ["Secret", "TokenSource"]

LARGEST_TOKEN_BYTES = 64 * 1024


class Secret:
    """A text that `repr`, `str`, `format` and `pickle` do not give away."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself, for the wire and for nothing else."""
        return self.__text

    @property
    def is_one_word(self) -> bool:
        """Whether it can stand in a header."""
        return len(self.__text) <= LARGEST_TOKEN_BYTES and all("!" <= character <= "~" for character in self.__text)

    def hidden_in(self, body: bytes) -> bytes:
        """`body` without this secret, should a server repeat it."""
        return body.replace(self.__text.encode("utf-8", "surrogatepass"), b"***") if self.__text else body

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.__text

    def __hash__(self) -> int:
        return hash(self.__text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


class TokenSource:
    """A bearer token, given as text or read from a file each time it is asked for: service-account tokens rotate.

    Args:
        token: the token, or
        token_file: where it stands, such as /var/run/secrets/kubernetes.io/serviceaccount/token.

    Raises:
        ValueError: both are given.
    """

    def __init__(self, token: str | Secret | None = None, token_file: str | os.PathLike[str] | None = None) -> None:
        if token is not None and token_file is not None:
            raise ValueError("token and token_file are both given; give one of them")
        self._given = Secret(token) if isinstance(token, str) else token
        self._path = None if token_file is None else Path(token_file)

    def __repr__(self) -> str:
        return f"TokenSource({'none' if not self else self.origin})"

    def __bool__(self) -> bool:
        return self._given is not None or self._path is not None

    @property
    def origin(self) -> str:
        """Where the token is from, for messages."""
        return "the token given" if self._path is None else f"the token in {self._path}"

    @property
    def may_change(self) -> bool:
        """Whether reading it again may give another one."""
        return self._path is not None

    def read(self) -> Secret:
        """The token as it is now.

        Raises:
            KialiAuthenticationError: there is none, the file cannot be read, or it is no token.
        """
        if self._given is not None:
            return self._checked(self._given)
        if self._path is None:
            raise KialiAuthenticationError("no token is given; give token or token_file")
        problem = ""
        try:
            with self._path.open("rb") as file:
                content = file.read(4 * LARGEST_TOKEN_BYTES + 1)
                secret = Secret(content.decode(text_encoding(content), errors="replace").strip())
        except OSError as error:
            problem = f"the token file {self._path} cannot be read: {error.strerror}; check the path and its mode"
        if problem:
            raise KialiAuthenticationError(problem)
        return self._checked(secret)

    def _checked(self, secret: Secret) -> Secret:
        if secret == Secret(""):
            raise KialiAuthenticationError(f"{self.origin} is empty; write the token there")
        # Anything else would be refused by the HTTP library, with the token in the message.
        if not secret.is_one_word:
            raise KialiAuthenticationError(
                f"{self.origin} is no token: it is one word of ASCII characters; check that this is not another file"
            )
        return secret
