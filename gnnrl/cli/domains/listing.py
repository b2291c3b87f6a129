"""A line of `gnnrl baselines`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ListedBaseline"]


@dataclass(frozen=True, kw_only=True)
class ListedBaseline:
    """A rule or router that `gnnrl evaluate --policy` plays."""

    summary: str
    """What it does."""
    marks: Mapping[str, bool] = field(default_factory=dict)
    """What holds of it: `teacher` (a policy can be taught by it), `calibrated`, `told_speeds`, ..."""
