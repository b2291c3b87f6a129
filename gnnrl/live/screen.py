"""The loop as people watch it: a live table in a terminal, one line an interval elsewhere, an SVG for a page.

Colour never says anything that a word, a sign or a number does not say too. Names and messages come from a cluster: they are
shown literally, without control characters and without anything that looks like a credential.
"""

from __future__ import annotations

import io
import math
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from gnnrl.live.decision import IntervalRecord
from gnnrl.live.service_table import GAP, columns_of, most_telling, service_table, urgency
from gnnrl.live.terminal_text import clean, short_number, short_seconds, sparkline
from gnnrl.printable import raw

__all__ = ["HISTORY", "StatusScreen", "compact_line", "render_svg"]

HISTORY: Final = 40
"""Intervals of a sparkline."""
RECENT_PROBLEMS, WHY_REASONS, NAMED_CHANGES = 3, 3, 5
LEAST_ROWS = 3
FIXED_LINES = 4
"""Header of the table, "and N more", a blank, and the line where the cursor stands."""
MODE_STYLES: Final = {"live": "bold white on red", "dry-run": "bold yellow", "shadow": "bold cyan"}
Mode = Literal["live", "dry-run", "shadow"]


class StatusScreen:
    """Shows each interval: redrawn in place in a terminal, a line each where the output is none.

    Use as a context manager around the loop. Outside of it, a terminal gets the whole screen once a `show`.

    Args:
        console: where to; None = standard output.
        namespace: scaled.
        mode: what is written to the cluster.
        policy: who decides.
    """

    def __init__(self, console: Console | None = None, *, namespace: str, mode: Mode, policy: str) -> None:
        self.console = Console(file=raw(sys.stdout)) if console is None else console
        self.namespace, self.mode, self.policy = namespace, mode, policy
        self._replicas: deque[float] = deque(maxlen=HISTORY)
        self._latency: deque[float] = deque(maxlen=HISTORY)
        self._problems: deque[tuple[int, str]] = deque(maxlen=RECENT_PROBLEMS)
        self._last_valid: float | None = None
        self._live: Live | None = None

    def __enter__(self) -> StatusScreen:
        if self.console.is_terminal:
            waiting = Group(self._title(self.policy, self.mode), Text("waiting for the first interval"))
            self._live = Live(waiting, console=self.console, auto_refresh=False)
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, record: IntervalRecord) -> None:
        """Show an interval; its numbers enter the sparklines."""
        self.note(record)
        if self._live is not None:
            self._live.update(self.render(record), refresh=True)
        elif self.console.is_terminal:
            self.console.print(self.render(record))
        else:
            self.console.print(Text(compact_line(record)), soft_wrap=True)

    def note(self, record: IntervalRecord) -> None:
        """Take an interval into the history without showing it."""
        self._replicas.append(float(sum(one.final for one in record.services)) if record.services else math.nan)
        self._latency.append(record.latency_p95_ms)
        if record.valid:
            self._last_valid = record.seconds
        for problem in _problems(record):
            known = [(number, text) for number, text in self._problems if text != problem]
            self._problems = deque([*known, (record.number, problem)], maxlen=RECENT_PROBLEMS)

    def render(self, record: IntervalRecord) -> RenderableType:
        """The screen of a noted interval, no wider and (but for a few rows that always stand) no higher than the console."""
        width, height = self.console.size
        ascii_only = self.console.options.ascii_only
        head = [self._title(record.policy, record.mode), *_flow(self._facts(record), width), *self._history(width)]
        services = record.services
        columns = columns_of(most_telling(services, max(height, LEAST_ROWS)), width, ascii_only=ascii_only)
        foot = self._footer(record, width)
        left = height - len(head) - len(foot) - FIXED_LINES
        spare = left - len(services)
        if spare < 0:
            # Reasons give way to rows that have a column for them, and share the screen with those that have none.
            spare = 0 if columns[-1].header == "reason" else left // 2
        why = self._why(record, width, spare)
        shown = most_telling(services, max(left - len(why), LEAST_ROWS))
        more = len(services) - len(shown)
        rest = [Text(f"and {more:,} more", style="dim")] if more else []
        return Group(*head, service_table(columns, shown), *rest, Text(), *why, *foot)

    def _title(self, policy: str, mode: str) -> Text:
        label = "LIVE" if mode == "live" else mode
        title = Text.assemble(
            ("gnnrl", "bold"),
            "  ",
            (f" {label} ", MODE_STYLES[mode]),
            f"  {clean(policy)} scales {clean(self.namespace)}",
        )
        title.truncate(self.console.width, overflow="ellipsis")
        return title

    def _facts(self, record: IntervalRecord) -> list[Text]:
        ages = record.data_age_seconds
        said = ", ".join(f"{name} {short_seconds(ages[name])}" for name in sorted(ages))
        missing = [name for name in ("graph", "metrics") if name not in ages]
        facts = [
            Text(f"interval {record.number}"),
            Text("leader: yes") if record.is_leader else Text("leader: NO, standing by", style="bold yellow"),
            self._validity(record),
            Text(f"data age {said}") if said else Text(""),
            *(Text(f"{name} MISSING", style="bold red") for name in missing),
            Text(f"load {short_number(record.external_rps)}/s"),
            _latency(record),
            _replicas(record),
        ]
        return [fact for fact in facts if fact.plain]

    def _validity(self, record: IntervalRecord) -> Text:
        if record.valid:
            return Text("last valid decision 0 s ago")
        if self._last_valid is None:
            return Text("NO valid decision yet", style="bold red")
        return Text(f"NO decision, last valid {short_seconds(record.seconds - self._last_valid)} ago", style="bold red")

    def _history(self, width: int) -> list[Text]:
        lines = []
        for name, values, unit in (("replicas", self._replicas, ""), ("P95", self._latency, " ms")):
            finite = [value for value in values if math.isfinite(value)]
            if len(values) > 1 and finite:
                drawn = sparkline(list(values), ascii_only=self.console.options.ascii_only)
                line = Text(f"{name:8} {drawn} {min(finite):.0f} .. {max(finite):.0f}{unit}")
                line.truncate(width, overflow="ellipsis")
                lines.append(line)
        return lines

    def _why(self, record: IntervalRecord, width: int, room: int) -> list[Text]:
        """Whole reasons, in at most `room` lines, of what changes or was kept from it: a table cuts them."""
        told = [one for one in record.services if one.reason and (one.changed or one.wish != one.final)]
        lines: list[Text] = []
        for one in sorted(told, key=urgency, reverse=True)[:WHY_REASONS]:
            reason = _wrapped(f"{clean(one.service)}: {clean(one.reason)}", width, self.console)
            if len(lines) + len(reason) <= room:
                lines += reason
        return lines

    def _footer(self, record: IntervalRecord, width: int) -> list[Text]:
        lines = []
        for number, problem in reversed(self._problems):
            ago = record.number - number
            when = "" if ago == 0 else f" ({ago} interval{'s' if ago > 1 else ''} ago)"
            lines.append(Text(f"problem{when}: {problem}", style="red" if ago == 0 else "dim"))
            lines[-1].truncate(width, overflow="ellipsis")
        timings = f"read {record.read_seconds:.2f} s, decided {record.decide_seconds:.2f} s, wrote {record.write_seconds:.2f} s"
        return [*lines, *_wrapped(timings, width, self.console)]


def _flow(facts: Iterable[Text], width: int) -> list[Text]:
    """Side by side, broken between facts only; one that is wider than a line is cut."""
    lines: list[Text] = []
    for fact in facts:
        fact.truncate(width, overflow="ellipsis")
        if lines and lines[-1].cell_len + GAP + fact.cell_len <= width:
            lines[-1].append(" " * GAP).append_text(fact)
        else:
            lines.append(fact)
    return lines


def _wrapped(text: str, width: int, console: Console) -> list[Text]:
    lines = list(Text(text).wrap(console, width))
    for line in lines:
        line.rstrip()
    return lines


def _problems(record: IntervalRecord) -> list[str]:
    failed = [f"{one.service}: {one.outcome}: {one.answer}" for one in record.services if one.answer]
    return [clean(problem) for problem in (*failed, *record.problems)]


def _replicas(record: IntervalRecord) -> Text:
    """Of all services together, before and after."""
    if not record.services:
        return Text("replicas unknown", style="yellow")
    before, after = (sum(getattr(one, name) for one in record.services) for name in ("current", "final"))
    return Text(f"replicas {before}" if before == after else f"replicas {before} -> {after}")


def _latency(record: IntervalRecord) -> Text:
    p95, slo = record.latency_p95_ms, record.slo_ms
    if not math.isfinite(p95):
        return Text("P95 unknown", style="yellow")
    if slo <= 0.0:
        return Text(f"P95 {p95:.0f} ms (no SLO)")
    if p95 > slo:
        return Text(f"P95 {p95:.0f} of {slo:.0f} ms OVER", style="bold red")
    return Text(f"P95 {p95:.0f} of {slo:.0f} ms", style="yellow" if p95 > 0.8 * slo else "green")


def compact_line(record: IntervalRecord) -> str:
    """An interval in one line, for logs and pipes."""
    changed = sorted((one for one in record.services if one.changed), key=lambda one: one.service)
    names = [f"{one.service} {one.current}->{one.final} {one.outcome}" for one in changed[:NAMED_CHANGES]]
    if len(changed) > NAMED_CHANGES:
        names.append(f"and {len(changed) - NAMED_CHANGES:,} more")
    hits = sorted({name for one in record.services for name in one.guardrails})
    problems = _problems(record)
    parts = [
        f"interval {record.number}",
        "LIVE" if record.mode == "live" else record.mode,
        record.policy,
        *([] if record.is_leader else ["not leader"]),
        "valid" if record.valid else "NO DECISION",
        _replicas(record).plain,
        f"load {short_number(record.external_rps)}/s",
        _latency(record).plain,
        "age "
        + (
            ", ".join(f"{name} {short_seconds(age)}" for name, age in sorted(record.data_age_seconds.items()))
            or "unknown"
        ),
        f"took {record.read_seconds + record.decide_seconds + record.write_seconds:.2f} s",
        *([f"changed {', '.join(names)}"] if names else []),
        *([f"guardrails {', '.join(hits)}"] if hits else []),
        *([f"{len(problems)} problem{'s' if len(problems) > 1 else ''}: {problems[0]}"] if problems else []),
    ]
    return clean(" | ".join(parts))


def render_svg(
    records: Sequence[IntervalRecord], path: Path, *, namespace: str, width: int = 160, height: int = 40
) -> None:
    """Write the screen after the last of `records`, with the others in its sparklines, as an SVG picture.

    Args:
        records: at least one, oldest first.
        path: of the file.
        namespace: as the screen names it.
        width: columns.
        height: most lines.

    Raises:
        ValueError: no records.
    """
    if not records:
        raise ValueError("no interval to draw; give at least one record")
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        _environ={},
    )
    last = records[-1]
    screen = StatusScreen(console, namespace=namespace, mode=last.mode, policy=last.policy)
    for record in records:
        screen.note(record)
    console.print(screen.render(last))
    console.save_svg(str(path), title=f"gnnrl live: {clean(namespace)}")
