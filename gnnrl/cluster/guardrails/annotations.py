"""What the operators of a service say about it: the annotations of its Deployment and of its namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from gnnrl.cluster.guardrails.proposal import LARGEST_REPLICAS
from gnnrl.config.live import GuardrailConfig

__all__ = ["MAX", "MIN", "PAUSE", "SLO_MS", "STATEFUL", "Limits", "limits_of", "objective_ms"]

PREFIX = "gnnrl.io/"
MIN, MAX, PAUSE, SLO_MS, STATEFUL = (f"{PREFIX}{name}" for name in ("min", "max", "pause", "slo-ms", "stateful"))
KNOWN = (MIN, MAX, PAUSE, SLO_MS, STATEFUL)
LONGEST_SHOWN = 40
"""Characters of somebody else's text that an error repeats."""

LONGEST_OBJECTIVE_MS = 1e7

_DECIMAL = re.compile(r"[0-9]{1,8}(\.[0-9]{1,6})?", flags=re.ASCII)
_WHOLE = re.compile(r"[1-9][0-9]{0,9}", flags=re.ASCII)


class Limits(NamedTuple):
    """What a service may have."""

    min_replicas: int
    max_replicas: int
    """May be below `min_replicas` if two annotations contradict each other: the guardrail `contradictory` holds it then."""
    paused: bool
    problems: tuple[str, ...]
    """One line for each annotation that cannot be obeyed, with where it stands and how to mend it."""


def limits_of(
    deployment_annotations: Mapping[str, str], namespace_annotations: Mapping[str, str], config: GuardrailConfig
) -> Limits:
    """The limits of one service: a Deployment's annotation goes before its namespace's, that before the configuration.

    `gnnrl.io/pause: "true"` on either pauses it. So does an annotation of ours that is malformed or unknown, wherever it
    stands: what its author wanted is not guessed at.
    """
    places = (("Deployment", deployment_annotations), ("namespace", namespace_annotations))
    problems = [problem for place, stated in places for problem in _problems(place, stated)]
    paused = bool(problems) or any(stated.get(PAUSE) == "true" for _, stated in places)
    low, low_from = _limit(MIN, places, config.min_replicas)
    high, high_from = _limit(MAX, places, config.max_replicas)
    if low > high:
        problems.append(
            f"{MIN} {low} ({low_from}) is above {MAX} {high} ({high_from}): held until one of them is changed"
        )
    return Limits(low, high, paused, tuple(problems))


def _problems(place: str, stated: Mapping[str, str]) -> Iterator[str]:
    for name, value in stated.items():
        if not name.startswith(PREFIX):
            continue
        shown = repr(value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + "...")
        if name not in KNOWN:
            nearest = get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in KNOWN], n=1)
            hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else f"known: {', '.join(KNOWN)}"
            yield f"annotation {name[: 2 * LONGEST_SHOWN]} of the {place} is unknown, {hint}; paused until it is mended"
        elif name in (PAUSE, STATEFUL) and value not in ("true", "false"):
            yield f'annotation {name}: {shown} of the {place} is neither "true" nor "false"; paused until it is mended'
        elif name == SLO_MS and place == "Deployment" and objective_ms(value) is None:
            yield f"annotation {name}: {shown} of the {place} is no time in milliseconds; paused until it is mended"
        elif name in (MIN, MAX) and _whole(value) is None:
            yield (
                f"annotation {name}: {shown} of the {place} is not a whole number from 1 to {LARGEST_REPLICAS}; "
                "paused until it is mended"
            )


def _limit(name: str, places: tuple[tuple[str, Mapping[str, str]], ...], default: int) -> tuple[int, str]:
    for place, stated in places:
        found = _whole(stated.get(name, ""))
        if found is not None:
            return found, place
    return default, "configuration"


def objective_ms(text: str) -> float | None:
    """What a Deployment's `gnnrl.io/slo-ms` says: the objective of its own 95th percentile in milliseconds; None for what is none."""
    if not _DECIMAL.fullmatch(text):
        return None
    found = float(text)
    return found if 0.0 < found < LONGEST_OBJECTIVE_MS else None


def _whole(text: str) -> int | None:
    """Plain digits only: int() would take `1_0`, ` 3 ` and other scripts' digits."""
    if not _WHOLE.fullmatch(text) or int(text) > LARGEST_REPLICAS:
        return None
    return int(text)
