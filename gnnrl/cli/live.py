"""Scale the Deployments of a live cluster from its service graph: read, decide, guard, write, every interval.

`--shadow` never writes; `--dry-run` lets the API server check each write and throw it away; `--once --dry-run` is the check to make before
anything else: it prints everything that stands in the way."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import print_table
from gnnrl.cli.live_arguments import add_live_arguments, clock_of, options_of, print_findings

if TYPE_CHECKING:
    from gnnrl.cluster.models import ClusterSnapshot
    from gnnrl.live.decision import IntervalRecord
    from gnnrl.live.journal import Journal
    from gnnrl.live.loop import LiveLoop
    from gnnrl.live.session import LiveOptions, LiveSession

    Sink = Callable[[IntervalRecord], None]
    Beside = Callable[[LiveLoop, ExitStack], None]

__all__ = ["SUMMARY", "add_arguments", "controlled", "run"]

SUMMARY = "scale a live cluster with a trained policy or a baseline"
REFUSED = 2
LEADERSHIP_LOST = 3
STUCK_INTERVALS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl live (--run RUN | --policy NAME) --namespace NS --kiali-url URL [...]`."""
    add_live_arguments(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="send server-side dry-run patches")
    mode.add_argument("--shadow", action="store_true", help="never write")
    parser.add_argument("--once", action="store_true", help="check everything, decide once, print it and exit")


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C or SIGTERM; 2 = something stands in the way and nothing was changed, 3 = leadership was lost."""
    options = options_of(args, "shadow" if args.shadow else "dry-run" if args.dry_run else "live")
    return controlled(args, options)


def controlled(args: argparse.Namespace, options: LiveOptions, beside: Beside | None = None) -> int:
    """Check everything, then run the loop with what shows and records it; `beside` starts what else rests on it."""
    import torch

    from gnnrl.live.preflight import preflight
    from gnnrl.live.session import LiveSession

    # One small graph at a time: a second thread costs more than it gives.
    torch.set_num_threads(1)
    with LiveSession(options, clock_of(args)) as session:
        findings, snapshot = preflight(session)
        refused = any(finding.level == "error" for finding in findings)
        print_findings(findings if args.once else [finding for finding in findings if finding.level != "ok"])
        if refused or snapshot is None:
            return REFUSED
        if args.once:
            _print_decisions(session.build(snapshot).interval())
            return 0
        return _looped(args, session, snapshot, beside)


def _looped(args: argparse.Namespace, session: LiveSession, snapshot: ClusterSnapshot, beside: Beside | None) -> int:
    from gnnrl.live.journal import Journal
    from gnnrl.live.metrics_server import LiveMetrics, MetricsServer
    from gnnrl.live.screen import StatusScreen

    options = session.options
    metrics = LiveMetrics(options.namespace)
    sinks: list[Sink] = [metrics.record]
    with ExitStack() as stack:
        if args.journal is not None:
            journal = Journal(args.journal)
            stack.callback(journal.close)
            sinks.append(_told(journal))
        screen = StatusScreen(namespace=options.namespace, mode=options.mode, policy=session.policy)
        loop = session.build(snapshot, (*sinks, screen.show))
        session.events.on_error = lambda: metrics.api_error("events")
        if args.metrics_port is not None:
            server = MetricsServer(metrics, args.metrics_port, lambda: _ready(loop.latest), lambda: _alive(loop))
            server.start()
            stack.callback(server.stop)
        if beside is not None:
            beside(loop, stack)
        stack.enter_context(screen)
        led = session.run(stack.enter_context(_stopping()), args.intervals)
    if not led:
        reason = session.elector.lost_reason if session.elector is not None else ""
        print(f"leadership lost: {reason}; another replica acts now", file=sys.stderr)
        return LEADERSHIP_LOST
    return 0


def _told(journal: Journal) -> Sink:
    def write(record: IntervalRecord) -> None:
        error = journal.write(record)
        if error is not None:
            print(f"journal: {error}", file=sys.stderr)

    return write


def _ready(latest: IntervalRecord | None) -> tuple[bool, str]:
    if latest is None:
        return False, "nothing was read yet"
    return (True, "") if latest.valid else (False, "; ".join(latest.problems) or "no decision")


def _alive(loop: LiveLoop) -> tuple[bool, str]:
    """A loop that has not come round for long is stuck: a restart would help."""
    if loop.latest is None:
        return True, ""
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
    rows = [
        (one.service, f"{one.ready}/{one.current}", one.wish, one.final, one.outcome, one.reason)
        for one in record.services
    ]
    title = f"what {record.policy} would do now" if record.mode != "live" else f"what {record.policy} did"
    print_table(title, ("service", "ready", "wish", "final", "outcome", "why"), rows)
    for problem in record.problems:
        print(f"problem: {problem}")
