"""What is remembered of replicas between reports: their counters, what was sent there since, what finished anywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from gnnrl.domains.llm_routing.reports import ReplicaReport

__all__ = ["Ledger", "Standing"]

_COUNTERS = ("prompt_tokens_total", "generated_tokens_total", "finished_requests_total", "latency_seconds_total")
_counters = attrgetter(*_COUNTERS)

ROUNDING_SECONDS = 1e-6
"""Reports whose times differ by less are of one time."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A replica at a decision."""

    report: ReplicaReport
    """The newest there is."""
    outstanding: int
    """Requests sent there and not done."""
    counted_prefill_tokens: int
    """Prompts sent there less the prompt tokens it has done since; 0 whenever it was seen idle."""
    restarted: bool
    """Its engine started anew since the last report."""


@dataclass(slots=True)
class _Account:
    report: ReplicaReport
    reported_at: float
    counters: dict[str, float] = field(default_factory=dict)
    sent_at: deque[float] = field(default_factory=deque)
    prompts_sent: int = 0
    prompts_done: float = 0.0


class Ledger:
    """Accounts by replica id. A replica that is left out of the reports is forgotten; what it finished stays counted."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self.finished = 0
        """Requests finished by all replicas since each was first seen."""
        self.latency_seconds = 0.0
        """Sum of their latencies."""

    def read(self, reports: Sequence[ReplicaReport], now_seconds: float) -> list[Standing]:
        """Take in the reports of a decision; a report older than the last one of a replica that was healthy is passed over for that one.

        Returns:
            A standing for each report, in their order.
        """
        standings = []
        accounts: dict[str, _Account] = {}
        for report in reports:
            at = now_seconds - report.age_seconds
            account = self._accounts.get(report.id)
            restarted = False
            if account is None:
                account = _Account(report, at)
                # What it did before it was first seen is not news.
                account.counters = {name: value for name in _COUNTERS if (value := getattr(report, name)) is not None}
                account.prompts_done = account.counters.get("prompt_tokens_total", 0.0)
            elif at >= account.reported_at - ROUNDING_SECONDS or not account.report.healthy:
                restarted = self._update(account, report, at)
            else:
                account.report = replace(
                    account.report, healthy=report.healthy, outstanding_requests=report.outstanding_requests
                )
            accounts[report.id] = account
            standings.append(_standing(account, restarted))
        self._accounts = accounts
        return standings

    def _update(self, account: _Account, report: ReplicaReport, at: float) -> bool:
        """Whether a counter fell: the engine began again at 0."""
        gained: dict[str, float] = {}
        fell = False
        for name, value in zip(_COUNTERS, _counters(report), strict=True):
            if value is not None:
                before = account.counters.get(name, value)
                fell |= value < before
                gained[name] = value - before if value >= before else value
                account.counters[name] = value
        self.finished += int(gained.get("finished_requests_total", 0))
        self.latency_seconds += gained.get("latency_seconds_total", 0.0)
        account.report = report
        if report.healthy:
            account.reported_at = at
        while account.sent_at and account.sent_at[0] <= at:
            account.sent_at.popleft()
        idle = report.running_requests == 0 and report.waiting_requests == 0 and not account.sent_at
        if fell or idle:
            account.prompts_sent, account.prompts_done = 0, account.counters.get("prompt_tokens_total", 0.0)
        return fell

    def sent(self, replica: str, prompt_tokens: int, now_seconds: float) -> None:
        """A request goes to a replica of the last reports."""
        account = self._accounts[replica]
        account.sent_at.append(now_seconds)
        account.prompts_sent += prompt_tokens


def _standing(account: _Account, restarted: bool) -> Standing:
    report = account.report
    outstanding = report.outstanding_requests
    if outstanding is None:
        outstanding = (report.running_requests or 0) + (report.waiting_requests or 0) + len(account.sent_at)
    done = account.counters.get("prompt_tokens_total", 0.0) - account.prompts_done
    return Standing(report, outstanding, max(account.prompts_sent - int(done), 0), restarted)
