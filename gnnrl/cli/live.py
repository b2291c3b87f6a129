"""Scale the Deployments of a live cluster from its service graph: read, decide, guard, write, every interval.

Run it with `--once --dry-run` before anything else: that changes nothing and prints everything that stands in the way."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError, print_table
from gnnrl.cli.live_arguments import add_live_arguments, clock_of, error_findings, options_of, print_findings

if TYPE_CHECKING:
    from gnnrl.cluster.actuator import WriteMode
    from gnnrl.cluster.clock import Clock
    from gnnrl.live.decision import IntervalRecord
    from gnnrl.live.journal import Journal
    from gnnrl.live.loop import LiveLoop
    from gnnrl.live.metrics_server import LiveMetrics
    from gnnrl.live.options import LiveOptions
    from gnnrl.live.preflight import Finding
    from gnnrl.live.session import LiveSession

    Sink = Callable[[IntervalRecord], None]
    Beside = Callable[["Watched", LiveOptions, Clock, ExitStack], list[Finding]]

__all__ = ["SUMMARY", "Watched", "add_arguments", "controlled", "run"]

SUMMARY = "scale a live cluster with a pretrained or trained policy, or a baseline"
FAILED = 1
REFUSED = 2
LEADERSHIP_LOST = 3
STUCK_INTERVALS = 8
LARGEST_STEP_SECONDS = 60.0
EVENT_SECONDS = 5.0
"""For which the Events of a single interval are waited for."""


class Watched:
    """The loop, for those who look at it from other threads; there is none before everything was checked."""

    def __init__(self) -> None:
        self.loop: LiveLoop | None = None

    @property
    def latest(self) -> IntervalRecord | None:
        """The last interval."""
        return self.loop.latest if self.loop is not None else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl live (--run RUN | --policy NAME) --namespace NS --kiali-url URL [...]`."""
    add_live_arguments(parser)
    writes = parser.add_argument_group("what it writes (default: replicas)")
    mode = writes.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="patches that the API server checks and throws away")
    mode.add_argument("--shadow", action="store_true", help="nothing at all")
    writes.add_argument("--once", action="store_true", help="check everything, decide once, print both and exit")
    writes.add_argument("--leader-elect", action="store_true", help="only while holding a Lease")


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C or SIGTERM.

    Returns:
        0; 1 = with `--once`, something could not be written; 2 = something stands in the way and nothing was changed; 3 = leadership
        was lost.
    """
    return controlled(args, "shadow" if args.shadow else "dry-run" if args.dry_run else "live")


def controlled(
    args: argparse.Namespace, mode: WriteMode, beside: Beside | None = None, *, for_keda: bool = False
) -> int:
    """Check everything, then run the loop with what shows and records it; `beside` starts what else rests on it."""
    import torch
    import urllib3

    from gnnrl.cluster.clock import SystemClock
    from gnnrl.live.metrics_server import LiveMetrics
    from gnnrl.live.parts import LiveParts
    from gnnrl.live.preflight import examine
    from gnnrl.live.session import LiveSession

    # One small graph at a time: a second thread costs more than it gives.
    torch.set_num_threads(1)
    # Certificates that are not verified are a finding; urllib3 would say it with every request, over the screen.
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    findings: list[Finding] = []
    watched, metrics = Watched(), LiveMetrics(args.namespace)
    with ExitStack() as stack:
        options, clock = options_of(args, mode, findings, for_keda=for_keda), clock_of(args, findings)
        if args.intervals is not None and args.intervals < 1:
            findings += error_findings("arguments", ValueError(f"--intervals {args.intervals}: must be 1 or more"))
        sinks: list[Sink] = [metrics.record, *_journal(args, stack, findings)]
        _serve_metrics(args, metrics, watched, stack, findings)
        if beside is not None and clock is not None:
            try:
                findings += beside(watched, options, clock, stack)
            except (OSError, UserError) as error:
                findings += error_findings("keda", error)
        parts = LiveParts.of(options, clock or SystemClock())
        stack.callback(parts.close)
        examined, snapshot = examine(options, clock, parts)
        findings += examined
        print_findings(findings, everything=args.once)
        if clock is None or snapshot is None or any(finding.level == "error" for finding in findings):
            return REFUSED
        session = stack.enter_context(LiveSession(options, clock, parts))
        session.events.on_error = lambda: metrics.api_error("events")
        if args.once:
            watched.loop = session.build(snapshot, tuple(sinks))
            return _once(session)
        return _looped(args, session, lambda more: session.build(snapshot, (*sinks, *more)), watched)


def _journal(args: argparse.Namespace, stack: ExitStack, findings: list[Finding]) -> Iterator[Sink]:
    from gnnrl.live.journal import Journal, JournalError

    if args.journal is None:
        return
    try:
        journal = Journal(args.journal)
    except JournalError as error:
        findings += error_findings("journal", error)
        return
    stack.callback(journal.close)
    yield _told(journal)


def _serve_metrics(
    args: argparse.Namespace, metrics: LiveMetrics, watched: Watched, stack: ExitStack, findings: list[Finding]
) -> None:
    from gnnrl.live.metrics_server import MetricsServer, MetricsServerError

    if args.metrics_port is None:
        return
    try:
        server = MetricsServer(metrics, args.metrics_port, lambda: _ready(watched.latest), lambda: _alive(watched.loop))
    except MetricsServerError as error:
        findings += error_findings("metrics port", error)
        return
    server.start()
    stack.callback(server.stop)


def _once(session: LiveSession) -> int:
    """One interval, at once."""
    record = session.once()
    session.events.flush(EVENT_SECONDS)
    _print_decisions(record)
    if record.valid and not any(one.outcome == "failed" for one in record.services):
        return 0
    return FAILED if record.mode == "live" else REFUSED


def _looped(
    args: argparse.Namespace,
    session: LiveSession,
    build: Callable[[tuple[Sink, ...]], LiveLoop],
    watched: Watched,
) -> int:
    from gnnrl.live.screen import StatusScreen

    options = session.options
    screen = StatusScreen(namespace=options.namespace, mode=options.mode, policy=session.policy)
    watched.loop = build((screen.show,))
    with screen, _stopping() as stop:
        led = session.run(stop, args.intervals)
    if not led:
        reason = session.elector.lost_reason if session.elector is not None else ""
        print(f"{reason}; it is another replica's turn", file=sys.stderr)
        return LEADERSHIP_LOST
    return 0


def _told(journal: Journal) -> Sink:
    from gnnrl.live.terminal_text import clean

    def write(record: IntervalRecord) -> None:
        error = journal.write(record)
        if error is not None:
            # Shown by rich while it draws the screen, so that no stream escapes it.
            print(f"journal: {clean(str(error))}", file=sys.stderr)

    return write


def _ready(latest: IntervalRecord | None) -> tuple[bool, str]:
    if latest is None:
        return False, "nothing was read yet"
    return (True, "") if latest.valid else (False, "; ".join(latest.problems) or "no decision")


def _alive(loop: LiveLoop | None) -> tuple[bool, str]:
    """A loop that has not come round for long is stuck: a restart would help. So would it where the clock was set."""
    from gnnrl.cluster.clock import SystemClock

    if loop is None or loop.latest is None:
        return True, ""
    if isinstance(loop.clock, SystemClock) and abs(step := loop.clock.stepped_seconds()) > LARGEST_STEP_SECONDS:
        return False, f"the machine's clock was set by {step:+.0f} s; start it anew"
    silent = loop.clock.now() - loop.latest.seconds
    limit = STUCK_INTERVALS * loop.config.interval_seconds
    return (True, "") if silent <= limit else (False, f"no interval for {silent:.0f} s")


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: the interval under way is finished, the Lease released."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_decisions(record: IntervalRecord) -> None:
    from gnnrl.live.terminal_text import clean

    rows = [
        (
            clean(one.service),
            f"{one.ready}/{one.current}",
            one.wish,
            one.final,
            one.outcome,
            clean(one.answer or one.reason),
        )
        for one in record.services
    ]
    title = f"what {record.policy} would do now" if record.mode != "live" else f"what {record.policy} did"
    print_table(title, ("service", "ready", "wish", "final", "outcome", "why"), rows)
    for problem in record.problems:
        print(f"problem: {clean(problem)}")
