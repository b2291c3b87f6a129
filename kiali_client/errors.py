"""What can go wrong with Kiali, as one tree of exceptions.

KialiError
    KialiPayloadError   the answer is no JSON object: empty, cut off, a web page, or Kiali's own error message
    KialiSchemaError    the answer is JSON, but not the service graph it should be
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["KialiError", "KialiPayloadError", "KialiSchemaError"]


class KialiError(Exception):
    """Anything that keeps a service graph from being read from Kiali. The message says what, where and the remedy."""


class KialiPayloadError(KialiError):
    """The answer is not a JSON object, or is an error message of Kiali."""


class KialiSchemaError(KialiError):
    """The answer is JSON but not a graph: `problems` lists every fault with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"Kiali graph: {problem}" for problem in self.problems))
