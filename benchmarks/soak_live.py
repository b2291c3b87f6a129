"""The live loop under every fault that the sandbox knows, for days of a cluster's time, and an auditor that does not believe it.

    python -m benchmarks.soak_live --intervals 10000 --seed 0 [--run RUN | --policy hpa_80] [--scraping]

Two replicas with leader election, one that reads Kiali (with its token login) and one that reads Prometheus, play every interval against
one sandbox over real sockets; services come and go, pods crash, and one fault follows the other. Exit code 1 if anything happened that
must not (`CHECKS`).

With `--scraping` the rates are those of samples that are scraped, as a real Prometheus computes them, and the faults are gaps of 5 to
300 s, restarts with empty storage, other scrape intervals, targets that are lost, counters that begin anew: nothing may be lowered on rates
that are read too low.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.soak_audit import Auditor, SecretScanner, as_line
from benchmarks.soak_faults import BRIEF_INTERVALS, Lie, Lies, brief_plan, random_plan
from benchmarks.soak_replica import Replica
from benchmarks.soak_report import CHECKS, SoakReport
from benchmarks.soak_scraping import LowRates, behind, scraping_plan
from gnnrl.cluster.clock import SteppedClock
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.domains.autoscaling.episode import Split, draw_episode
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.sandbox.faults import FaultSpec, FaultTarget
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from gnnrl.live.sandbox.scraping import ScrapePlan
from gnnrl.live.sandbox.server import Sandbox
from gnnrl.live.session import LiveOptions
from gnnrl.training.run_folder import RunFolder

__all__ = ["LATE_SECONDS", "Soak", "SoakOptions", "main"]

ORIGIN = 1_760_000_000.0
STEP_SECONDS = 5.0
"""The clock's step: electors renew this often."""
INTERVAL_SECONDS = 15.0
NAMESPACE = "onlineboutique"
SOURCES: dict[str, FaultTarget] = {"alpha": "kiali", "beta": "prometheus"}
"""Replicas and the graph that each reads."""
CHURN = ChurnConfig(
    service_added_per_hour=3.0,
    service_removed_per_hour=1.5,
    service_renamed_per_hour=1.5,
    call_removed_per_hour=1.5,
    pod_crashed_per_hour=6.0,
)
SCRAPED_CHURN = ChurnConfig(pod_crashed_per_hour=6.0)
"""Of a soak of the rates: the simulation moves traffic to a service that comes as if it had been there for a whole window."""
READ_DEADLINE_SECONDS, LATE_SECONDS = 1.0, 1.2
RESTART_EVERY = 150
"""Intervals between two restarts for no reason, every other one without a farewell."""
RECOVERY_INTERVALS = 2
SCRAPED_RECOVERY_INTERVALS = 8
"""Two scrapes 30 s apart, and the lag of the metrics."""
SHORTEST_RANDOM = 800
"""Intervals that hold every fault of a random plan."""
MOST_GROWTH = 0.05
MORE_THREADS = 16
"""Threads, and open files, that may come and go: connections and their handlers."""


@dataclass(frozen=True, kw_only=True)
class SoakOptions:
    """What is soaked, and for how long."""

    intervals: int = 10_000
    seed: int = 0
    run: Path | None = None
    policy: str = "feed_forward"
    """Without a run."""
    plan: tuple[tuple[FaultSpec, ...], tuple[Lie, ...]] | None = None
    """What goes wrong; None = `random_plan`."""
    scraping: ScrapePlan | None = None
    """Rates are of samples, scraped so; None = the simulation's."""
    guardrails: GuardrailConfig = field(default_factory=GuardrailConfig)


class Soak:
    """One soak, from start to report.

    Args:
        options: what is soaked.
        folder: for kubeconfigs, tokens and journals.
    """

    def __init__(self, options: SoakOptions, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.report = SoakReport()
        self.clock = SteppedClock(ORIGIN)
        environment = AutoscalingConfig(telemetry="kiali", max_edges=64)
        if options.run is not None:
            environment = RunFolder.open(options.run).config.environment
        self.environment = replace(environment, churn=CHURN if options.scraping is None else SCRAPED_CHURN)
        episode = draw_episode(
            self.environment, Split.HELD_OUT, options.seed, workload="bursty", violation_weight=400.0, decisions=480
        )
        seconds = options.intervals * INTERVAL_SECONDS
        faults, lies = options.plan or random_plan(options.seed, seconds, LATE_SECONDS)
        self.sandbox = Sandbox(
            self.environment, episode, clock=self.clock, namespace=NAMESPACE, repeat=True, faults=faults, kiali_auth="token",
            scraping=options.scraping,
        )  # fmt: skip
        self.low_rates = None if options.scraping is None else LowRates(self.sandbox)
        self.config = LiveConfig(read_deadline_seconds=READ_DEADLINE_SECONDS, guardrails=options.guardrails)
        self.tokens = {name: f"{name}-0123456789-{options.seed}-abcdefghij" for name in SOURCES}
        self.auditor = Auditor(
            self.sandbox,
            Lies(self.clock, self.sandbox.plan.origin_seconds, lies),
            SOURCES,
            self.tokens,
            most=self.config.guardrails.max_replicas,
            stale_seconds=self.config.stale_after_seconds,
            deadline_seconds=READ_DEADLINE_SECONDS,
            lag_seconds=self.environment.metrics_lag_seconds,
        )
        self.scanner = SecretScanner(self._secrets, lambda text: self.auditor.offend("secrets told", text))
        self.faults: tuple[FaultSpec | Lie, ...] = (*faults, *lies)
        self.valid: dict[str, list[bool]] = {name: [] for name in SOURCES}
        self.replicas: list[Replica] = []
        self._sizes: list[tuple[int, int]] = []

    def _secrets(self) -> tuple[str, ...]:
        return (*self.tokens.values(), self.sandbox.token, *self.sandbox.kiali._sessions)

    def run(self) -> SoakReport:
        """Play it."""
        root, hook = logging.getLogger(), threading.excepthook
        level = root.level
        # It logs every instruction that it compiles.
        logging.getLogger("numba").setLevel(logging.WARNING)
        root.setLevel(logging.DEBUG)
        root.addHandler(self.scanner)
        threading.excepthook = self._thread_died
        try:
            with self.sandbox:
                self.replicas = [
                    Replica(name, self._options_of(name), self.clock, self.folder, self.scanner) for name in SOURCES
                ]
                self.auditor.leaders = lambda: [replica.name for replica in self.replicas if replica.leads]
                self._play()
                for replica in self.replicas:
                    replica.close()
        finally:
            threading.excepthook = hook
            root.removeHandler(self.scanner)
            root.setLevel(level)
        self._conclude()
        return self.report

    def _options_of(self, name: str) -> LiveOptions:
        kubeconfig, token = self.folder / f"{name}.kubeconfig", self.folder / "token"
        write_kubeconfig(kubeconfig, self.sandbox.urls["kubernetes"], self.tokens[name], NAMESPACE)
        token.write_text(self.sandbox.token, encoding="utf-8")
        return LiveOptions(
            config=self.config,
            namespace=NAMESPACE,
            run=self.options.run,
            policy="" if self.options.run is not None else self.options.policy,
            kubeconfig=kubeconfig,
            leader_elect=True,
            token_file=token,
            **{f"{SOURCES[name]}_url": self.sandbox.urls[SOURCES[name]]},  # type: ignore[arg-type]
        )

    def _thread_died(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or RuntimeError("an exception without a value")
        self._crashed("", error)

    def _crashed(self, name: str, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        self.scanner.scan(text, "an exception")
        self.auditor.offend("crashes", text, name)

    def _play(self) -> None:
        rng = np.random.default_rng(self.options.seed)
        tenth = max(1, self.options.intervals // 10)
        started = time.perf_counter()
        while self.clock.now() < ORIGIN + 120.0:
            self._step()
        for number in range(self.options.intervals):
            self.auditor.interval = number
            order = self.replicas if number % 2 else self.replicas[::-1]
            for replica in order:
                self._turn(replica)
            if number and number % RESTART_EVERY == 0:
                chosen = self.replicas[int(rng.integers(len(self.replicas)))]
                chosen.stop(farewell=bool(rng.random() < 0.5))
            self._sizes.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
            if number == tenth:
                self.report.rss_mib = (_rss_mib(), 0.0)
            if number % (10 * tenth // 20 or 1) == 0:
                print(
                    f"{number} intervals, {_rss_mib():.0f} MiB, {len(self.auditor.offences)} offences", file=sys.stderr
                )
            while self.clock.now() < ORIGIN + 120.0 + (number + 1) * INTERVAL_SECONDS - 1e-6:
                self._step()
        self.report.wall_seconds = time.perf_counter() - started
        self.report.rss_mib = (self.report.rss_mib[0], _rss_mib())

    def _step(self) -> None:
        self.clock.sleep_until(self.clock.now() + STEP_SECONDS)
        self.auditor.check_leaders()
        for replica in self.replicas:
            try:
                replica.tick()
            except Exception as error:  # the point of a soak: whatever comes out is counted
                self._crashed(replica.name, error)
            self.auditor.check_leaders()

    def _turn(self, replica: Replica) -> None:
        before, starts = len(self.auditor.offences), replica.starts
        started = time.perf_counter()
        record: IntervalRecord | None = None
        try:
            record = replica.turn()
        except Exception as error:  # as above
            self._crashed(replica.name, error)
        if record is not None:
            if replica.starts == starts:
                self.report.turn_seconds.append(time.perf_counter() - started)
            self._count(record, replica.name)
            self.report.leading[replica.name] += replica.leads
        self.auditor.check_leaders()
        self.report.turns += 1
        valid = record is not None and record.valid
        self.report.valid += valid
        self.valid[replica.name].append(valid)
        if len(self.auditor.offences) > before and not self.report.first:
            offence = self.auditor.offences[before]
            self.report.first = f"{offence.what} at {offence.seconds:.0f} s: {offence.detail}\n{as_line(record)}"

    def _count(self, record: IntervalRecord, name: str) -> None:
        bad = self.auditor.bad(SOURCES[name])
        lowered = [f"{one.service}: {one.current} -> {one.final}" for one in record.services if one.final < one.current]
        if bad and lowered:
            # A replica that does not lead shows by its record what it would have written.
            self.auditor.offend("lowered on bad data", f"decided {', '.join(lowered)} under {', '.join(bad)}", name)
        self._check_rates(lowered, name)
        for fault in self.auditor.active(SOURCES[name]):
            self.report.held[f"{SOURCES[name]} / {fault}"][record.valid] += 1
        for service in record.services:
            self.report.guardrails.update(service.guardrails)
            self.report.outcomes[service.outcome] += 1

    def _check_rates(self, lowered: list[str], name: str) -> None:
        """Nothing may be lowered that rests on a rate which is read too low."""
        session = next(replica.session for replica in self.replicas if replica.name == name)
        reading = session.loop.reading if session is not None and session.loop is not None else None
        if self.low_rates is None or reading is None or reading.blocking:
            return
        low = self.low_rates.of(reading, name)
        concerned = behind(reading, low)
        wrongly = [one for one in lowered if one.partition(":")[0] in concerned]
        if wrongly:
            read = ", ".join(
                f"{service} {read:.1f} of {whole:.1f} requests/s" for service, (read, whole) in low.items()
            )
            self.auditor.offend("lowered on low rates", f"{', '.join(wrongly)}, reading {read}", name)

    def _conclude(self) -> None:
        report, auditor = self.report, self.auditor
        report.hours = self.options.intervals * INTERVAL_SECONDS / 3600.0
        for replica in self.replicas:
            report.restarts += replica.restarts
        report.intervals, report.writes, report.lines = self.options.intervals, auditor.writes, self.scanner.lines
        for text in self.scanner.errors:
            auditor.offend("crashes", text)
        self._recoveries()
        tenth = max(1, len(self._sizes) // 10)
        early, late = self._sizes[tenth : 2 * tenth] or self._sizes[:1], self._sizes[-tenth:]
        report.threads, report.files = ((max(s[i] for s in early), max(s[i] for s in late)) for i in (0, 1))
        for what, sizes in (("thread growth", report.threads), ("file growth", report.files)):
            if sizes[1] > sizes[0] + MORE_THREADS:
                auditor.offend(what, f"{sizes[0]} -> {sizes[1]}")
        # In a brief soak it is still being filled: caches, histories, compiled kernels.
        if self.options.plan is None and report.growth > MOST_GROWTH:
            auditor.offend("memory growth", f"{report.rss_mib[0]:.1f} -> {report.rss_mib[1]:.1f} MiB")
        report.counts = {name: auditor.count(name) for name in CHECKS}
        if self.low_rates is not None:
            report.low_rates = self.low_rates.met
        for fault in self.faults:
            # A connection that is refused reaches nobody who could count it.
            if isinstance(fault, Lie) or fault.kind == "refuse" or fault in auditor.met:
                report.faults[f"{fault.target}:{fault.kind}"] += 1
        if auditor.offences and not report.first:
            offence = auditor.offences[0]
            report.first = f"{offence.what} at {offence.seconds:.0f} s: {offence.detail}"

    def _recoveries(self) -> None:
        """For every fault, how many intervals after its end a replica that it concerns decides validly again."""
        most = RECOVERY_INTERVALS if self.low_rates is None else SCRAPED_RECOVERY_INTERVALS
        for name, source in SOURCES.items():
            faults = sorted((f for f in self.faults if f.target in (source, "kubernetes")), key=lambda f: f.start)
            for i, fault in enumerate(faults):
                first = int(np.ceil((fault.end - 120.0) / INTERVAL_SECONDS))
                end = faults[i + 1].start if i + 1 < len(faults) else self.sandbox.plan.now
                last = min(int(np.ceil((end - 120.0) / INTERVAL_SECONDS)), len(self.valid[name]))
                seen = self.valid[name][first:last]
                after = seen.index(True) + 1 if True in seen else len(seen) + 1
                if True not in seen and len(seen) < most:
                    continue
                self.report.recovery[f"{source} / {fault.target}"][after] += 1
                if after > most:
                    text = f"{source}: {after} intervals after {fault.target}:{fault.kind} ({fault.start:.0f}-{fault.end:.0f} s)"
                    self.auditor.offend("late recoveries", text, name)


def _rss_mib() -> float:
    """What the process holds, after it has given back what it does not use: each replica that is started anew leaves holes behind."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--intervals", type=int, default=10_000, help=f"how many; fewer than {SHORTEST_RANDOM} = every fault once"
    )
    parser.add_argument("--seed", type=int, default=0)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--run", type=Path, help="a trained run")
    who.add_argument("--policy", default="feed_forward", help="a baseline; feed_forward")
    parser.add_argument("--scraping", action="store_true", help="rates of scraped samples, and faults of scraping")
    args = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    brief = args.intervals < SHORTEST_RANDOM
    if args.scraping:
        scraping, answers = scraping_plan(args.seed, args.intervals * INTERVAL_SECONDS)
        options = SoakOptions(
            intervals=args.intervals,
            seed=args.seed,
            run=args.run,
            policy=args.policy,
            plan=(answers, ()),
            scraping=scraping,
        )
        return _soaked(options)
    options = SoakOptions(
        intervals=max(args.intervals, BRIEF_INTERVALS) if brief else args.intervals,
        seed=args.seed,
        run=args.run,
        policy=args.policy,
        plan=brief_plan(LATE_SECONDS) if brief else None,
    )
    return _soaked(options)


def _soaked(options: SoakOptions) -> int:
    with tempfile.TemporaryDirectory(prefix="gnnrl-soak-") as folder:
        report = Soak(options, Path(folder)).run()
    report.print()
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
