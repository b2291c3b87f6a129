"""What a user of this folder can do wrong: every message says what, where and what would be right."""

from __future__ import annotations

__all__ = ["LLMRoutingError"]


class LLMRoutingError(ValueError):
    """The base of all of them."""
