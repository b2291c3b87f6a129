"""A pod of `gnnrl live` in a soak: checked, started, ended and started anew as a cluster would."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.soak_audit import SecretScanner
from gnnrl.cluster.clock import SteppedClock
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.journal import Journal
from gnnrl.live.metrics_server import LiveMetrics
from gnnrl.live.preflight import preflight
from gnnrl.live.session import LiveOptions, LiveSession

__all__ = ["Replica"]


class Replica:
    """A pod of `gnnrl live`: checks before it starts, ends when it has lost the Lease, and is started anew.

    Args:
        name: of the pod.
        options: what it is started with.
        clock: its time.
        folder: for its decision log.
        scanner: shown everything that it tells anybody.
    """

    def __init__(
        self, name: str, options: LiveOptions, clock: SteppedClock, folder: Path, scanner: SecretScanner
    ) -> None:
        self.name = name
        self.session: LiveSession | None = None
        self.due = 0.0
        """When the elector wants to be asked again."""
        self.starts = 0
        self.restarts: Counter[str] = Counter()
        """Why it was started anew, or not."""
        self._options, self._clock, self._scanner = options, clock, scanner
        self._journal = Journal(folder / f"{name}.jsonl", max_bytes=4 * 1024 * 1024, keep=2)
        self._metrics = LiveMetrics(options.namespace)

    @property
    def leads(self) -> bool:
        """Whether it may write."""
        return self.session is not None and self.session.may_act()

    def start(self) -> None:
        """Start, unless something stands in the way; then it is tried again with the next interval."""
        self.starts += 1
        session = LiveSession(replace(self._options, identity=f"{self.name}-{self.starts}"), self._clock)
        findings, snapshot = preflight(session)
        for finding in findings:
            self._scanner.scan(f"{finding.what}: {finding.message}", "pre-flight")
        if snapshot is None or any(finding.level == "error" for finding in findings):
            self.restarts["refused by the pre-flight"] += 1
            session.close()
            return
        session.build(snapshot, (self._record, self._metrics.record))
        self.session, self.due = session, 0.0

    def tick(self) -> None:
        """Acquire or renew where that is due; a session that has lost is ended."""
        session = self.session
        if session is None or session.elector is None:
            return
        if self._clock.now() >= self.due - 1e-6:
            self.due = session.elector.tick()
        self._end_lost()

    def _end_lost(self) -> None:
        session = self.session
        if session is not None and session.elector is not None and session.elector.lost_event.is_set():
            self._scanner.scan(session.elector.lost_reason, "lost leadership")
            self.restarts["lost the lease"] += 1
            self._end()

    def turn(self) -> IntervalRecord | None:
        """One interval; None = it is not running."""
        self._end_lost()
        if self.session is None:
            self.start()
        if self.session is None or self.session.loop is None:
            return None
        return self.session.loop.interval()

    def stop(self, *, farewell: bool) -> None:
        """End, with the Lease released or, as a process that is killed, without."""
        if self.session is not None and self.session.elector is not None and farewell:
            self.session.elector.stop()
        self.restarts["stopped" if farewell else "killed"] += 1
        self._end()

    def _end(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.close()

    def _record(self, record: IntervalRecord) -> None:
        error = self._journal.write(record)
        if error is not None:
            raise error
        self._scanner.tail(self._journal.path)

    def close(self) -> None:
        """End for good."""
        self._end()
        self._journal.close()
