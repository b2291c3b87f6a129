"""The router as a library call: the environment's choices, request by request, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gnnrl
from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import EncoderConfig, ExperimentConfig, PPOConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.live.llm_router import (
    IncomingRequest,
    LLMRouter,
    LLMRouterError,
    MissingMetricError,
    NoReplicaError,
    ReplicaReport,
    ReportError,
)
from gnnrl.training.run_folder import RunFolder
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGES,
    ELAPSED_SECONDS,
    GLOBALS,
    NODE_MASK,
    NODES,
    PREV_SLOT,
    llm_routing_schema,
)

CONFIG = LLMRoutingConfig(scenarios=("elastic",), max_replicas=5, changes_per_1000=60.0, episode_requests=300)
SCHEMA = llm_routing_schema("compact")


def agent_for(config: LLMRoutingConfig, kind: str = "gnn", seed: int = 0) -> PPO_GNN:
    """Untrained, but decided: logits far apart, and statistics of real observations."""
    env = LLMRoutingVectorEnv(4, config)
    encoder = EncoderConfig(kind=kind, hidden=16, heads=2, memory_dim=16, message_dim=16)  # type: ignore[arg-type]
    agent = PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        config=PPOConfig(credit="graph"),
        encoder=encoder,
        seed=seed,
    )
    with torch.no_grad():
        last = agent.model.network.logits if kind == "gru" else agent.model.head.logits
        last.weight.mul_(1000.0)
    observation, _ = env.reset(seed=11)
    for k in range(50):
        agent.scaler.update(observation)
        mask = observation["action_mask"][:, :, 0]
        observation, *_ = env.step(np.where(mask, np.roll(np.arange(config.max_replicas + 1), k), -1).argmax(axis=1))
    return agent


class Seen(PPO_GNN):
    """Keeps what it was shown."""

    def act(self, obs: Any, *arguments: Any, **options: Any) -> Any:
        self.shown = {key: np.array(value) for key, value in obs.items()}
        return super().act(obs, *arguments, **options)


class Gateway:
    """What a gateway in front of a simulated cluster would know; an engine that failed comes back with token counters at 0."""

    def __init__(self, env: LLMRoutingVectorEnv, *, counts_outstanding: bool) -> None:
        self.simulation, self.counts_outstanding = env.simulation, counts_outstanding
        self.changes = 0
        self.base = np.zeros((env.config.max_replicas, 2))
        self.restarts = 0

    def reports(self) -> list[ReplicaReport]:
        s = self.simulation.arrays
        for change in s.change[0, self.changes : s.cluster[0, c.CHANGES_DONE]]:
            if change[c.KIND] == c.FAIL:
                self.base[int(change[c.WHERE])] = s.replica[0, int(change[c.WHERE]), [c.PREFILLED, c.GENERATED]]
                self.restarts += 1
        self.changes = int(s.cluster[0, c.CHANGES_DONE])
        every = self.simulation.settings.report_seconds
        age = s.now[0, c.NOW] - (s.now[0, c.NEXT_REPORT] - every) if every else 0.0
        reports = []
        for r in range(s.cluster[0, c.N_REPLICAS]):
            told, replica = s.report[0, r], s.replica[0, r]
            gateway = {
                "finished_requests_total": int(replica[c.FINISHED]),
                "latency_seconds_total": float(s.clock[0, r, c.LATENCY_SUM]),
            }
            if replica[c.STATE] != c.UP:
                reports.append(ReplicaReport(id=f"replica-{r}", healthy=False, **gateway))
                continue
            done = told[[c.PREFILLED_TOKENS, c.GENERATED_TOKENS]] - self.base[r]
            reports.append(
                ReplicaReport(
                    id=f"replica-{r}",
                    running_requests=int(told[c.ALLOCATION_MAP]),
                    waiting_requests=int(told[c.QUEUE_LENGTH]),
                    kv_usage=told[c.ALLOCATED_BLOCKS] / told[c.TOTAL_BLOCKS],
                    kv_blocks=int(told[c.TOTAL_BLOCKS]),
                    prompt_tokens_total=int(done[0]),
                    generated_tokens_total=int(done[1]),
                    pending_prefill_tokens=int(told[c.PENDING_PREFILL_TOKENS]),
                    outstanding_requests=int(replica[c.OUTSTANDING]) if self.counts_outstanding else None,
                    speed=1.0 / s.clock[0, r, c.TIME_FACTOR],
                    age_seconds=age,
                    **gateway,
                )
            )
        return reports

    def request(self) -> IncomingRequest:
        s = self.simulation.arrays
        i = s.cluster[0, c.PENDING]
        return IncomingRequest(
            prompt_tokens=int(s.request[0, i, c.TARGET]),
            predicted_output_tokens=int(s.request[0, i, c.SHOWN_DECODE]),
            age_seconds=s.now[0, c.NOW] - s.time[0, i, c.ARRIVED],
            retry=not np.isnan(s.time[0, i, c.ROUTED]),
            gateway_waiting=int(s.cluster[0, c.AT_ROUTER_COUNT]) - 1,
        )


def assert_same_seen(router: LLMRouter, shown: dict[str, Any], expected: dict[str, Any]) -> None:
    """Slots aside: a replica that joins may take that of one that is gone."""
    present = np.flatnonzero(expected[NODE_MASK][0, :-1])
    slots = [router._slots.slot_of(f"replica-{r}") for r in present]
    assert shown[NODE_MASK][0].sum() == len(present) + 1
    np.testing.assert_allclose(shown[NODES][0, slots], expected[NODES][0, present], rtol=2e-5, atol=2e-4)
    np.testing.assert_array_equal(shown[PREV_SLOT][0, slots] >= 0, expected[PREV_SLOT][0, present] >= 0)
    np.testing.assert_array_equal(shown[ACTION_MASK][0, slots], expected[ACTION_MASK][0, present])
    for key in (GLOBALS, ELAPSED_SECONDS):
        np.testing.assert_allclose(shown[key], expected[key], rtol=2e-5, atol=2e-4, err_msg=key)
    edges = len(present)
    to, to_expected = shown[EDGE_INDEX][0, 1, :edges].tolist(), expected[EDGE_INDEX][0, 1, :edges].tolist()
    shares = dict(zip(to, shown[EDGES][0, :edges, 0].tolist(), strict=True))
    assert [shares[slots[present.tolist().index(r)]] for r in to_expected] == pytest.approx(
        expected[EDGES][0, :edges, 0].tolist(), rel=2e-5
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gnn", {}),
        ("tgn+gnn", {}),
        ("gnn", {"report_seconds": 0.7}),
        ("gnn", {"show_speeds": True, "length_hint": "predicted"}),
    ],
)
def test_it_chooses_as_in_the_environment(kind: str, changes: dict[str, Any]) -> None:
    """Request by request, on reports made of the simulator's state, with replicas that fail, come back with new engines, and join."""
    config = replace(CONFIG, **changes)
    ours = agent_for(config, kind)
    theirs = agent_for(config, kind)
    theirs.__class__ = Seen
    assert isinstance(theirs, Seen)
    env = LLMRoutingVectorEnv(1, config, to_the_end=True, strict_actions=True)
    observation, _ = env.reset(seed=5)
    gateway = Gateway(env, counts_outstanding="report_seconds" in changes)
    router = LLMRouter(theirs, config, began_seconds=0.0)
    state, chosen, healthy = None, [], set()
    while env.simulation.deciding[0]:
        reports = gateway.reports()
        healthy.add(sum(report.healthy for report in reports))
        replica = router.route(gateway.request(), reports, float(env.simulation.arrays.now[0, c.NOW]))
        choice, state = ours.act(observation, state, deterministic=True)
        assert_same_seen(router, theirs.shown, observation)
        assert replica == f"replica-{choice[0]}", f"decision {len(chosen)}"
        chosen.append(replica)
        observation, *_ = env.step(choice)
    assert len(chosen) >= 300
    assert len(set(chosen)) >= 3
    assert len(healthy) >= 3
    assert gateway.restarts >= 3


def report(name: str, **changes: Any) -> ReplicaReport:
    usual: dict[str, Any] = {
        "running_requests": 4, "waiting_requests": 1, "kv_usage": 0.25, "kv_blocks": 1000, "prompt_tokens_total": 5000,
        "generated_tokens_total": 900, "finished_requests_total": 20, "latency_seconds_total": 60.0,
        "pending_prefill_tokens": 300,
    }  # fmt: skip
    return ReplicaReport(id=name, **(usual | changes))


def fleet(count: int, **changes: Any) -> list[ReplicaReport]:
    return [report(f"pod-{k}", **changes) for k in range(count)]


def seen_router(kind: str = "gnn", config: LLMRoutingConfig = CONFIG, **options: Any) -> tuple[LLMRouter, Seen]:
    agent = agent_for(config, kind)
    agent.__class__ = Seen
    assert isinstance(agent, Seen)
    return LLMRouter(agent, config, **options), agent


def node(agent: Seen, slot: int, name: str) -> float:
    return float(agent.shown[NODES][0, slot, SCHEMA.index(NODES, name)])


ASKED = IncomingRequest(prompt_tokens=200)


def test_it_counts_what_it_sent_since_a_report() -> None:
    router, agent = seen_router()
    old = fleet(1)
    for sent, now in enumerate((10.0, 11.0, 12.0)):
        router.route(ASKED, [replace(old[0], age_seconds=now - 10.0)], now)
        assert node(agent, 0, "outstanding") == 5 + sent - (sent > 0 and 1)  # that of 10.0 is in the report of 10.0
    router.route(ASKED, [report("pod-0", age_seconds=0.5)], 12.25)
    assert node(agent, 0, "outstanding") == 5 + 1
    router.route(ASKED, [report("pod-0", outstanding_requests=9)], 13.0)
    assert node(agent, 0, "outstanding") == 9


def test_it_counts_prompts_where_no_engine_tells_what_is_pending() -> None:
    router, agent = seen_router(count_pending_prefill=True)
    silent = report("pod-0", pending_prefill_tokens=None)
    router.route(ASKED, [silent], 1.0)
    router.route(replace(ASKED, prompt_tokens=70), [silent], 2.0)
    assert node(agent, 0, "pending_prefill_tokens") == 200
    router.route(ASKED, [replace(silent, prompt_tokens_total=5050)], 3.0)
    assert node(agent, 0, "pending_prefill_tokens") == 220
    idle = replace(silent, prompt_tokens_total=5060, running_requests=0, waiting_requests=0)
    router.route(ASKED, [idle], 4.0)
    assert node(agent, 0, "pending_prefill_tokens") == 0


def test_a_policy_without_a_graph_takes_no_more_replicas_than_it_was_trained_with() -> None:
    router, _ = seen_router("gru", LLMRoutingConfig(scenarios=(), time_factors=(1.0, 1.0, 2.0), max_replicas=3))
    assert router.route(ASKED, fleet(3), 1.0) in {"pod-0", "pod-1", "pod-2"}
    with pytest.raises(ReportError, match="4 healthy replicas; this policy has no graph and is bound to 3"):
        router.route(ASKED, fleet(4), 2.0)
    assert router.route(ASKED, fleet(2), 3.0) in {"pod-0", "pod-1"}


@pytest.mark.parametrize("kind", ["gnn", "tgn+gnn"])
def test_replicas_come_and_go_beyond_the_trained_slots(kind: str) -> None:
    """Slots grow; who stays keeps slot, speed and memory; the choice is that of a router that had the room from the start."""
    router, agent = seen_router(kind)
    wide, roomy = seen_router(kind, replace(CONFIG, max_replicas=12))
    wide.agent.model.load_state_dict(router.agent.model.state_dict())
    wide.agent.scaler.load_state_dict(router.agent.scaler.state_dict())
    for k in range(30):
        names = [f"pod-{n}" for n in range(4 + min(k // 3, 7)) if n != k // 5]
        reports = [
            report(
                name,
                generated_tokens_total=1000 + 40 * k * (int(name[4:]) % 3 + 1),
                waiting_requests=(k + len(name)) % 4,
            )
            for name in names
        ]
        chosen = router.route(ASKED, reports, 1.0 + 0.1 * k)
        assert chosen in names
        assert wide.route(ASKED, reports, 1.0 + 0.1 * k) == chosen
        before = agent.shown
        real, known = (seen["node_mask"][0].astype(bool)[:-1] for seen in (before, roomy.shown))
        assert sorted(map(tuple, before[NODES][0, :-1][real])) == sorted(map(tuple, roomy.shown[NODES][0, :-1][known]))
        np.testing.assert_array_equal(before[GLOBALS], roomy.shown[GLOBALS])
        assert (before[PREV_SLOT] >= 0).sum() == (roomy.shown[PREV_SLOT] >= 0).sum()


def test_an_engine_that_started_anew_has_no_past() -> None:
    router, agent = seen_router()
    for k in range(5):
        router.route(ASKED, fleet(2, generated_tokens_total=1000 + 500 * k), 1.0 + k)
    assert node(agent, 1, "generated_tps") > 300
    assert agent.shown[PREV_SLOT][0].tolist() == [0, 1, -1, -1, -1, -1]
    began_again = report("pod-1", generated_tokens_total=10, prompt_tokens_total=30, finished_requests_total=0)
    router.route(ASKED, [report("pod-0", generated_tokens_total=3500), began_again], 6.0)
    assert node(agent, 1, "generated_tps") == 0
    assert node(agent, 1, "inferred_time_factor") == 1
    assert node(agent, 0, "generated_tps") > 300
    assert agent.shown[PREV_SLOT][0].tolist() == [0, -1, -1, -1, -1, -1]
    # A report that was overtaken is no restart.
    router.route(ASKED, [report("pod-0", generated_tokens_total=3000, age_seconds=2.0), began_again], 7.0)
    assert agent.shown[PREV_SLOT][0].tolist() == [0, 1, -1, -1, -1, -1]


@pytest.mark.parametrize(
    "metric",
    ["running_requests", "waiting_requests", "kv_usage", "kv_blocks", "prompt_tokens_total", "generated_tokens_total"],
)
def test_a_missing_metric_is_named(metric: str) -> None:
    router, _ = seen_router()
    with pytest.raises(MissingMetricError, match=rf"'pod-1': {metric} is missing.*vllm:") as raised:
        router.route(ASKED, [report("pod-0"), report("pod-1", **{metric: None})])
    assert (raised.value.replica, raised.value.metric) == ("pod-1", metric)
    assert raised.value.vllm_name is not None


def test_what_was_told_in_training_is_asked_for() -> None:
    router, agent = seen_router(config=replace(CONFIG, show_speeds=True, length_hint="true"))
    with pytest.raises(MissingMetricError, match="predicted_output_tokens"):
        router.route(ASKED, fleet(2))
    told = replace(ASKED, predicted_output_tokens=70)
    with pytest.raises(MissingMetricError, match=r"'pod-0': speed is missing.*vLLM does not export it"):
        router.route(told, fleet(2))
    router.route(told, fleet(2, speed=0.5))
    assert node(agent, 0, "time_factor") == 2
    assert agent.shown[GLOBALS][0, 1] == 70
    quiet, blind = seen_router()
    quiet.route(told, fleet(2, speed=0.5))
    assert node(blind, 0, "time_factor") == 0
    assert blind.shown[GLOBALS][0, 1] == 0
    with pytest.raises(MissingMetricError, match="count_pending_prefill=True"):
        quiet.route(told, fleet(2, pending_prefill_tokens=None))


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        (fleet(1) + fleet(1), "'pod-0' is there twice"),
        (fleet(2, kv_usage=float("nan")), "kv_usage nan is not a number"),
        (fleet(2, waiting_requests=-1), "waiting_requests -1 is not a number >= 0"),
        (fleet(2, kv_usage=35.0), "it is a share, not a percentage"),
        (fleet(2, kv_blocks=0), "kv_blocks is 0"),
        (fleet(2, age_seconds=float("inf")), "age_seconds inf"),
    ],
)
def test_what_cannot_be_is_refused(reports: Sequence[ReplicaReport], message: str) -> None:
    router, _ = seen_router()
    with pytest.raises(ReportError, match=message):
        router.route(ASKED, reports)


def test_clocks_and_requests_that_cannot_be_are_refused() -> None:
    router, _ = seen_router()
    for wrong in (replace(ASKED, prompt_tokens=0), replace(ASKED, age_seconds=float("nan"))):
        with pytest.raises(ReportError, match="request:"):
            router.route(wrong, fleet(2))
    router.route(ASKED, fleet(2), 5.0)
    with pytest.raises(ReportError, match=r"4\.0 is not a time at or after"):
        router.route(ASKED, fleet(2), 4.0)
    with pytest.raises(ReportError, match="always or never"):
        router.route(ASKED, fleet(2))
    router.reset()
    router.route(ASKED, fleet(2))


def test_where_nobody_can_take_it_there_is_an_error() -> None:
    router, agent = seen_router()
    with pytest.raises(NoReplicaError, match="none were given"):
        router.route(ASKED, [], 1.0)
    with pytest.raises(NoReplicaError, match="pod-0, pod-1"):
        router.route(ASKED, fleet(2, healthy=False), 1.0)
    with pytest.raises(NoReplicaError, match="does not fit"):
        router.route(IncomingRequest(prompt_tokens=16_000), fleet(2), 1.0)
    small, large = report("pod-0"), report("pod-1", kv_blocks=2000)
    assert router.route(IncomingRequest(prompt_tokens=16_000), [small, large], 2.0) == "pod-1"
    sick = ReplicaReport(id="pod-1", healthy=False)  # a dead engine tells nothing
    assert router.route(ASKED, [small, sick], 3.0) == "pod-0"
    assert agent.shown[GLOBALS][0, list(SCHEMA.names(GLOBALS)).index("replicas_up")] == 1


def test_tempered_choices_are_drawn_from_the_seed() -> None:
    def drawn(**options: Any) -> list[str]:
        router, _ = seen_router(temperature=1e4, **options)
        return [router.route(ASKED, fleet(4), 1.0 + k) for k in range(40)]

    assert len(set(drawn())) == 4
    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    with pytest.raises(LLMRouterError, match="temperature 0"):
        seen_router(temperature=0.0)


def test_threads_take_turns() -> None:
    """Nothing is lost between them: every request is an arrival, and outstanding since the one old report."""
    router, agent = seen_router()
    wrong: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(25):
                router.route(ASKED, fleet(1, age_seconds=1000.0))
        except (ValueError, RuntimeError) as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    router.route(ASKED, fleet(1, age_seconds=1000.0))
    assert node(agent, 0, "outstanding") == 5 + 100


def test_runs_are_loaded_and_nothing_is_learned(tmp_path: Path) -> None:
    experiment = replace(LLMRoutingExperiment(), environment=CONFIG)
    run = RunFolder.create(tmp_path / "run", experiment)
    agent_for(CONFIG).save(run.checkpoint)
    router = gnnrl.LLMRouter.load(run.path)
    statistics = router.agent.scaler.normalisers[NODES].count
    chosen = [router.route(ASKED, fleet(4), 1.0 + k) for k in range(3)]
    again = LLMRouter.load(run.checkpoint)
    assert chosen == [again.route(ASKED, fleet(4), 1.0 + k) for k in range(3)]
    assert router.agent.scaler.normalisers[NODES].count == statistics
    other = RunFolder.create(tmp_path / "other", ExperimentConfig())
    with pytest.raises(LLMRouterError, match="domain autoscaling; one of llm_routing"):
        LLMRouter.load(other.path)
    documented = RunFolder.create(
        tmp_path / "documented", replace(experiment, environment=replace(CONFIG, features="documented"))
    )
    agent_for(CONFIG).save(documented.checkpoint)
    with pytest.raises(LLMRouterError, match="Train with features: compact"):
        LLMRouter.load(documented.path)
