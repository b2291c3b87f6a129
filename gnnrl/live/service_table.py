"""The services of an interval as a table that fits a terminal: columns by how much they are missed, rows by how much they tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from gnnrl.live.decision import ServiceDecision
from gnnrl.live.terminal_text import clean, short_number

__all__ = ["GAP", "Column", "columns_of", "most_telling", "service_table", "urgency"]

GAP: Final = 2
"""Blanks between columns."""
WIDE: Final = 100
"""From here on names are given more room."""
LEAST_REASON: Final = 30
OUTCOME_STYLES: Final = {"patched": "green", "conflict": "yellow", "failed": "bold red", "not-leader": "yellow"}

Justify = Literal["left", "right"]


@dataclass(frozen=True)
class Column:
    """A column that found room."""

    header: str
    width: int
    justify: Justify
    cells: Mapping[str, Text]
    """By service."""


class _Offer(NamedTuple):
    header: str
    justify: Justify
    widest: int
    place: int
    """In the order of choice: 0 is always there."""
    cell: Callable[[ServiceDecision], Text]


def urgency(one: ServiceDecision) -> tuple[int, int]:
    """Sorts failures last, before them changes, then wishes that were held back, then the rest; each by size of the change."""
    rank = 3 if one.outcome == "failed" else 2 if one.changed else int(one.wish != one.final)
    return rank, abs(one.final - one.current)


def most_telling(services: Sequence[ServiceDecision], room: int) -> list[ServiceDecision]:
    """At most `room`, by name: all of them, or the most urgent, and of the others the largest."""
    if len(services) > room:
        services = sorted(services, key=lambda one: (*urgency(one), one.current, one.service), reverse=True)[:room]
    return sorted(services, key=lambda one: one.service)


def columns_of(services: Sequence[ServiceDecision], width: int, *, ascii_only: bool = False) -> list[Column]:
    """The columns that fit into `width`, in the order of the table; `reason` comes last, and only where all others fit."""
    wide = width >= WIDE
    offers = (
        _Offer("service", "left", 26 if wide else 22, 0, lambda one: Text(clean(one.service))),
        _Offer("ready", "right", 9, 1, _ready),
        _Offer("wish", "right", 6, 4, lambda one: Text(str(one.wish))),
        _Offer("final", "right", 6, 2, lambda one: Text(str(one.final), style="bold" if one.changed else "")),
        _Offer("change", "left", 7, 3, lambda one: _change(one, ascii_only)),
        _Offer("load/s", "right", 8, 6, lambda one: Text(short_number(one.inputs.get("rps_in", math.nan)))),
        _Offer("CPU busy", "right", 8, 8, _busy),
        _Offer("P95 ms", "right", 8, 9, lambda one: Text(short_number(one.inputs.get("p95_ms", math.nan)))),
        _Offer(
            "guardrails", "left", 24 if wide else 10, 7, lambda one: Text(clean(", ".join(one.guardrails)), "yellow")
        ),
        _Offer("outcome", "left", 10, 5, lambda one: Text(one.outcome, style=OUTCOME_STYLES.get(one.outcome, "dim"))),
    )
    left, chosen = width + GAP, {}
    for offer in sorted(offers, key=lambda one: one.place):
        cells = {one.service: offer.cell(one) for one in services}
        needed = max([len(offer.header), *(min(cell_len(text.plain), offer.widest) for text in cells.values())])
        if needed + GAP <= left:
            left -= needed + GAP
            chosen[offer.header] = Column(offer.header, needed, offer.justify, cells)
    columns = [chosen[offer.header] for offer in offers if offer.header in chosen]
    if len(columns) == len(offers) and left - GAP >= LEAST_REASON:
        # The change that a reason begins with stands in the columns before it.
        why = {one.service: Text(clean(one.reason.partition(": ")[2] or one.reason)) for one in services}
        columns.append(Column("reason", left - GAP, "left", why))
    return columns


def service_table(columns: Sequence[Column], services: Sequence[ServiceDecision]) -> Table:
    """One row a service."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold underline")
    for column in columns:
        table.add_column(column.header, justify=column.justify, width=column.width, no_wrap=True, overflow="ellipsis")
    for one in services:
        table.add_row(*(column.cells[one.service] for column in columns))
    return table


def _ready(one: ServiceDecision) -> Text:
    return Text(f"{one.ready}/{one.current}", style="yellow" if one.ready < one.current else "")


def _change(one: ServiceDecision, ascii_only: bool) -> Text:
    if not one.changed:
        return Text("")
    if one.final > one.current:
        return Text(f"{'^' if ascii_only else '▲'} {one.final - one.current:+d}", style="bold green")
    return Text(f"{'v' if ascii_only else '▼'} {one.final - one.current:+d}", style="bold blue")


def _busy(one: ServiceDecision) -> Text:
    """Share of the CPU limits of the ready pods that is used."""
    busy = one.inputs.get("busy_replicas", math.nan)
    if not math.isfinite(busy) or one.ready <= 0:
        return Text("-")
    share = busy / one.ready
    return Text(f"{100.0 * share:.0f} %", style="red" if share >= 0.9 else "yellow" if share >= 0.7 else "")
