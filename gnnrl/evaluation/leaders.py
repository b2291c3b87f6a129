"""Where a rule is better than the policy, in words: what a table of a comparison says in its first line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

__all__ = ["rules_ahead"]


def rules_ahead(
    subject: str, rules: Iterable[str], metrics: Mapping[str, str], mean: Callable[[str, str], float]
) -> str:
    """The best rule in each cost in which one is below the policy; empty where none is.

    Args:
        subject: row of the policy.
        rules: rows of the rules that count: those that are told no more than the policy is, and no bound.
        metrics: what a cost is called -> the metric; lower is better.
        mean: row, metric -> the figure.
    """
    candidates = tuple(rules)
    found = []
    for label, metric in metrics.items():
        ours = mean(subject, metric)
        theirs = {rule: mean(rule, metric) for rule in candidates}
        below = {rule: value for rule, value in theirs.items() if math.isfinite(value) and not value >= ours}
        if below:
            best = min(below, key=lambda rule: below[rule])
            found.append(f"{label} {best} ({below[best]:.4g} against {ours:.4g})")
    return f"Where a rule has less than {subject}: " + "; ".join(found) if found else ""
