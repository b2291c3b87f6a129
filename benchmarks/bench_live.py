"""One interval of the live loop over real sockets, the sandbox in a process of its own, 5 ms of latency on every answer."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnrl.agents import PPO_GNN
from gnnrl.cluster.clock import SteppedClock
from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.domains.autoscaling.env import MeshEnv
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.sandbox.remote_clock import RemoteClock
from gnnrl.live.session import LiveOptions, LiveSession
from gnnrl.training.run_folder import RunFolder

LATENCY_SECONDS = 0.005
START_SECONDS = 300.0
INTERVALS = {100: 30, 1000: 8}
AIM_MS = {100: 250.0, 1000: 2000.0}


def measure() -> Iterator[dict[str, Any]]:
    """Figures, wall clock; the first interval, which opens the connections, is left out."""
    torch.set_num_threads(1)
    for services, aim in AIM_MS.items():
        with tempfile.TemporaryDirectory() as folder:
            records, seconds, cpu = _played(services, Path(folder))
        total = 1e3 * np.array(seconds[1:])
        name = f"{services} services"
        phases = {
            phase: 1e3 * float(np.median([getattr(record, f"{phase}_seconds") for record in records[1:]]))
            for phase in ("read", "decide", "write")
        }
        changed = float(np.mean([sum(one.changed for one in record.services) for record in records[1:]]))
        yield {
            "figure": f"interval, {name}, median",
            "value": float(np.median(total)),
            "unit": "ms",
            "aim": f"<= {aim:g}",
        }
        yield {"figure": f"interval, {name}, worst", "value": float(total.max()), "unit": "ms", "aim": f"<= {aim:g}"}
        for phase, value in phases.items():
            yield {"figure": f"of it: {phase}, {name}", "value": value, "unit": "ms"}
        yield {"figure": f"CPU of an interval, {name}", "value": 1e3 * cpu / len(seconds), "unit": "ms"}
        yield {"figure": f"services changed an interval, {name}", "value": changed, "unit": "1"}


def _played(services: int, folder: Path) -> tuple[list[IntervalRecord], list[float], float]:
    environment = AutoscalingConfig(
        mesh=(f"random:{services}-{services}",),
        telemetry="kiali",
        max_nodes=services + 8,
        max_edges=8 * services,
        episode_decisions=240,
    )
    base = ExperimentConfig()
    run = RunFolder.create(folder / "run", replace(base, environment=environment))
    env = MeshEnv(environment)
    PPO_GNN(env.observation_space, env.action_space, encoder=base.encoder, config=base.ppo).save(run.checkpoint)
    faults = [f"{target}:latency:0:1000000:{LATENCY_SECONDS}" for target in ("kubernetes", "kiali")]
    command = [
        sys.executable, "-m", "gnnrl", "sandbox", "--run", str(run.path), "--seed", "1", "--speed", "0", "--port-base", "0",
        "--kubeconfig", str(folder / "kubeconfig"), *(part for fault in faults for part in ("--fault", fault)),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            urls = _urls(sandbox)
            return _intervals(services, run.path, folder / "kubeconfig", urls)
        finally:
            sandbox.terminate()


def _urls(sandbox: subprocess.Popen[str]) -> dict[str, str]:
    """What the sandbox prints at its start."""
    found: dict[str, str] = {}
    assert sandbox.stdout is not None
    give_up = time.monotonic() + START_SECONDS
    while len(found) < 4 and time.monotonic() < give_up:
        line = sandbox.stdout.readline()
        match = re.match(r"\s+(kubernetes|kiali|prometheus|control)\s+(http\S+)", line)
        if match:
            found[match[1]] = match[2]
        elif not line:
            break
    if len(found) < 4:
        raise RuntimeError("the sandbox did not start; run the command by hand: python -m gnnrl sandbox")
    threading.Thread(target=sandbox.stdout.read, daemon=True).start()
    return found


def _intervals(
    services: int, run: Path, kubeconfig: Path, urls: dict[str, str]
) -> tuple[list[IntervalRecord], list[float], float]:
    import requests

    clock = SteppedClock(RemoteClock(urls["control"]).now())
    wide = GuardrailConfig(
        change_budget_replicas=100_000, brake_share=1.0, half_window_seconds=0.0, start_hold_seconds=0.0
    )
    options = LiveOptions(
        config=LiveConfig(guardrails=wide, read_deadline_seconds=10.0),
        namespace="onlineboutique",
        run=run,
        kiali_url=urls["kiali"],
        kubeconfig=kubeconfig,
    )
    records: list[IntervalRecord] = []
    seconds: list[float] = []
    with LiveSession(options, clock) as session:

        def pass_time(by: int) -> None:
            answer = requests.post(f"{urls['control']}/advance", json={"seconds": by}, timeout=START_SECONDS)
            answer.raise_for_status()
            clock.sleep_until(clock.now() + by)

        pass_time(30)
        loop = session.build(session.snapshot(), (records.append,))
        before = time.process_time()
        for _ in range(INTERVALS[services]):
            started = time.perf_counter()
            loop.interval()
            seconds.append(time.perf_counter() - started)
            pass_time(15)
        cpu = time.process_time() - before
    assert all(record.valid for record in records), records[-1].problems
    return records, seconds, cpu
