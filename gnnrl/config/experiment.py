"""Everything an experiment can be told: frozen keyword-only dataclasses, one docstring per field, units in the names.

The defaults are those of the library; a YAML file must spell every field (`loader.py`), so that a run can be read from
its file alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len, Lt

from gnnrl.config.checked import Checked

__all__ = [
    "AutoscalingConfig",
    "ChurnConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "Experiment",
    "ExperimentConfig",
    "PPOConfig",
    "RandomisationConfig",
    "TemperatureConfig",
    "TrainingConfig",
    "WarmStartConfig",
]

Probability = Annotated[float, Ge(0.0), Le(1.0)]
Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]
NonNegativeInt = Annotated[int, Ge(0)]
AboveOne = Annotated[float, Gt(1.0)]
Share = Annotated[float, Gt(0.0), Lt(1.0)]


@dataclass(frozen=True, kw_only=True)
class RandomisationConfig(Checked, section="environment.randomisation"):
    """How each training episode's mesh differs from the configured one."""

    cpu_cost_factor: tuple[Positive, Positive] = (0.5, 2.0)
    """Range of the log-uniform factor on each service's CPU cost a call."""
    class_mix_factor: tuple[Positive, Positive] = (0.5, 2.0)
    """Range of the log-uniform factor on each request class's share (renormalised)."""
    startup_factor: tuple[Positive, Positive] = (0.7, 1.5)
    """Range of the log-uniform factor on start-up times."""
    sidecar_factor: tuple[Positive, Positive] = (1.0, 1.0)
    """Range of the log-uniform factor on the CPU that proxies take for a request."""
    metrics_lag_added_seconds: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)
    """Range of what is added to `metrics_lag_seconds`, in whole decisions (multiples of `decision_seconds`)."""


@dataclass(frozen=True, kw_only=True)
class ChurnConfig(Checked, section="environment.churn"):
    """Topology changes inside an episode, events an hour and mesh."""

    service_added_per_hour: NonNegative = 0.0
    """A canary takes over part of a service's calls, or a new dependency is called."""
    service_removed_per_hour: NonNegative = 0.0
    """A service disappears; its callers stop calling it."""
    service_renamed_per_hour: NonNegative = 0.0
    """A service comes back under another name, with its pods restarted."""
    call_removed_per_hour: NonNegative = 0.0
    """A call stops being made."""
    pod_crashed_per_hour: NonNegative = 0.0
    """A ready pod dies and is started again."""
    cutover: Literal["gated", "hard"] = "gated"
    """When a service that comes has its calls: `gated`: once its pods are ready, as a rollout does it; until then it stands in the mesh
    without a call, and the service that it replaces keeps its own. `hard`: at once, whether a pod is ready or not (a stress test)."""
    cutover_delay_seconds: Annotated[int, Ge(0)] = 15
    """From the decision at which its pods are seen ready to the first call (`gated`)."""
    ramp: tuple[Share, ...] = ()
    """Shares of its calls that it has first, one decision interval (`decision_seconds`) each, rising; [] = all at once (`gated`)."""


@dataclass(frozen=True, kw_only=True)
class AutoscalingConfig(Checked, section="environment"):
    """The service-mesh autoscaling environment."""

    mesh: Annotated[tuple[str, ...], Len(1)] = ("online_boutique",)
    """Meshes to draw from, each `online_boutique`, a mesh YAML file, or `random:LOW-HIGH` (services)."""
    workloads: Annotated[tuple[str, ...], Len(1)] = ("diurnal", "noisy", "on_off", "bursty")
    """Workload families (or CSV files with columns time, rps) an episode is drawn from."""
    action_mode: Literal["joint", "select"] = "joint"
    """`joint`: a move per service and decision; `select`: one (service, move) pair."""
    goal: Literal["slo", "latency", "cost"] = "slo"
    """What the reward trades: see `domains/autoscaling/objective.py`."""
    decision_seconds: Annotated[int, Ge(1)] = 15
    """Seconds between two decisions."""
    episode_decisions: Annotated[int, Ge(1)] = 240
    """Decisions an episode, all scored."""
    metrics_lag_seconds: Annotated[int, Ge(0)] = 15
    """How old the newest metrics are when they are read (a multiple of `decision_seconds`)."""
    telemetry: Literal["exact", "kiali"] = "exact"
    """`exact`: what the simulation measures in each interval; `kiali`: what Kiali and the metrics API would show of it (see
    `domains/autoscaling/monitoring.py`), which a policy must be trained with to run a live cluster."""
    graph_window_seconds: Annotated[int, Ge(1)] = 60
    """Span of Kiali's rates and percentiles (`telemetry: kiali`)."""
    peak_replicas: tuple[Positive, Positive] = (10.0, 17.0)
    """The hottest service needs U(low, high) replicas at the workload's peak, at 80 % of its limit."""
    min_replicas: Annotated[int, Ge(1)] = 1
    """Fewest replicas of a service."""
    max_replicas: Annotated[int, Ge(1), Le(32_767)] = 20
    """Most replicas of a service."""
    violation_weight: tuple[Positive, Positive] = (20.0, 800.0)
    """Range of the log-uniform weight `a` of a violating decision interval, drawn per episode, shown to the policy."""
    change_weight: NonNegative = 0.02
    """Weight of one replica started or removed, in replica-decisions."""
    violation_softness: NonNegative = 0.05
    """Width of the reward's edge at the SLO, as a share of it: half of the violation is charged by a logistic curve of the P95, so that
    a decision that only comes nearer is worth something; 0 = violating seconds alone. Evaluation always counts violating seconds."""
    slo_factor: tuple[AboveOne, AboveOne] = (2.0, 2.0)
    """SLO = a factor from this range x the idle P95 of the mesh, where the mesh states none; drawn per episode, log-uniformly in what it
    leaves above the idle P95 (the factor - 1), which is what there is to work with."""
    hold_births: bool = False
    """Whether moves are masked that would lower a service which has just come, or any of its mesh for a while: what the guardrails `young`
    and `birth_hold` hold at their defaults."""
    node_columns: Literal["basic", "extended", "history", "dimensionless"] = "history"
    """`basic`: the six documented columns; `extended`: also ready, starting, request, limit, ...; `history`: also load
    statistics of an hour; `dimensionless`: those in units of the mesh (CPU over its mean limit, rates x SLO, latencies over the SLO), and
    how long a service has been there."""
    max_nodes: Annotated[int, Ge(1)] = 20
    """Node slots of the observation."""
    max_edges: Annotated[int, Ge(1)] = 400
    """Edge slots of the observation."""
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    churn: ChurnConfig = field(default_factory=ChurnConfig)

    @property
    def longest_lag_seconds(self) -> int:
        """The oldest that the newest metrics of an episode are when they are read."""
        return self.metrics_lag_seconds + self.randomisation.metrics_lag_added_seconds[1]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Checked, section="encoder"):
    """The network under policy and value."""

    kind: Literal["tgn", "gnn", "tgn+gnn", "mlp", "gru"] = "tgn+gnn"
    """`tgn` memory and attention, `gnn` attention without memory, both summed; or on the flattened observation, without the graph: `mlp`,
    or `gru`, the documented recurrent ActorCritic (one memory and one value a graph: credit `graph`)."""
    hidden: Annotated[int, Ge(4)] = 64
    """Width of the embeddings; of every layer (gru)."""
    layers: Annotated[int, Ge(1), Le(4)] = 2
    """Attention layers of the memory-less encoder; layers of the MLP beside its first (gru)."""
    heads: Annotated[int, Ge(1)] = 2
    """Attention heads."""
    memory_dim: Annotated[int, Ge(1)] = 32
    """Memory a service carries (tgn)."""
    message_dim: Annotated[int, Ge(1)] = 32
    """Width of a message (tgn)."""
    time_dim: Annotated[int, Ge(1)] = 8
    """Width of the time encoding (tgn)."""
    use_edges: bool = True
    """False removes every edge from the graph (ablation: memory without graph)."""
    gru_layers: Annotated[int, Ge(1), Le(4)] = 2
    """Layers of each GRU (gru)."""
    decoupled: bool = True
    """Actor and critic have branches of their own, the critic a GRU too; false = both stand on the one GRU (gru)."""


@dataclass(frozen=True, kw_only=True)
class TemperatureConfig(Checked, section="ppo.temperature"):
    """Temperature of the draws while training, base x (1 + sum of weighted signals), by environment and decision; see `rl/temperature.py`.

    Base, bounds and pressures are as documented; the weights, and the units of balance and changes, the documents leave open.
    """

    enabled: bool = False
    """Off: every draw is at temperature 1. On: `infos` must hold `throughput`, `mean_latency` and `load_balance`."""
    base: Positive = 1.5
    """Temperature at rest, and at the start of an episode."""
    lowest: Positive = 0.8
    """Never below this."""
    highest: Positive = 3.0
    """Never above this."""
    throughput_target: Positive = 0.05
    """Completions/s that are wanted."""
    latency_target: Positive = 6.0
    """Mean latency, seconds, that is wanted."""
    throughput_weight: NonNegative = 1.0
    """Of (target - throughput) / target."""
    latency_weight: NonNegative = 1.0
    """Of (latency - target) / target."""
    balance_weight: NonNegative = 0.1
    """Of the coefficient of variation of the queue lengths."""
    change_weight: NonNegative = 0.1
    """Of what throughput lost and latency gained since the last decision, each over its target."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig(Checked, section="ppo"):
    """Proximal policy optimisation with masked categorical heads."""

    learning_rate: Positive = 3e-4
    """Adam step size at the start."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the step size falls over the run."""
    gamma: Annotated[float, Gt(0.0), Le(1.0)] = 0.99
    """Discount a decision."""
    gae_lambda: Probability = 0.95
    """Lambda of generalised advantage estimation."""
    clip: Annotated[float, Gt(0.0), Lt(1.0)] = 0.2
    """Clip range of the policy ratio."""
    value_clip: NonNegative = 0.2
    """Clip range of the value change, in units of the running return deviation; 0 = no clipping."""
    value_coef: NonNegative = 0.5
    """Weight of the value loss."""
    entropy_coef: NonNegative = 0.01
    """Weight of the entropy bonus at the start."""
    entropy_coef_final: NonNegative = 0.0
    """Weight of the entropy bonus at the end (linear)."""
    max_grad_norm: Positive = 0.5
    """Global gradient norm clip."""
    target_kl: NonNegative = 0.03
    """An update stops early above 1.5 x this approximate KL; 0 = never."""
    epochs: Annotated[int, Ge(1)] = 4
    """Passes over a rollout."""
    rollout_length: Annotated[int, Ge(1)] = 64
    """Decisions per environment and rollout."""
    chunk_length: Annotated[int, Ge(1)] = 16
    """Decisions of one replayed sequence; state is stored at chunk starts. Divides `rollout_length`."""
    minibatch_rows: Annotated[int, Ge(1)] = 2048
    """Observations of one minibatch (whole chunks)."""
    credit: Literal["node", "graph"] = "node"
    """`node`: value, advantage and ratio per service from the reward's split; `graph`: one shared advantage."""
    normalise_advantage: bool = True
    """Advantages are standardised per update."""
    normalise_reward: bool = False
    """Rewards are divided by the running deviation of the return."""
    recompute_state: bool = False
    """Stored chunk states are recomputed before each epoch."""
    threads: Annotated[int, Ge(1)] = 2
    """Python threads that share a minibatch."""
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)


@dataclass(frozen=True, kw_only=True)
class WarmStartConfig(Checked, section="warm_start"):
    """Behaviour cloning of a baseline before PPO, then a KL term to the frozen clone."""

    teacher: str = ""
    """Name of the baseline to clone; empty = no warm start. It sees only what the policy sees."""
    clone_steps: Annotated[int, Ge(0)] = 20_000
    """Environment steps of teacher data."""
    clone_epochs: Annotated[int, Ge(0)] = 4
    """Passes over the teacher data."""
    kl_coef: NonNegative = 0.0
    """Weight of KL(policy, clone) at the start of PPO."""
    kl_steps: Annotated[int, Ge(0)] = 0
    """Environment steps over which that weight falls linearly to 0."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Checked, section="training"):
    """The training loop."""

    total_steps: Annotated[int, Ge(1)] = 1_000_000
    """Environment steps (decisions over all environments)."""
    num_envs: Annotated[int, Ge(1)] = 64
    """Environments in the batch."""
    stabilisation_steps: Annotated[int, Ge(0)] = 0
    """Environment steps of random legal actions that fill the observation and return statistics before anything is learned, rounded up
    to whole rollouts; 0 = one rollout of the untrained policy fills those of the observations. They do not count in `total_steps`."""
    checkpoint_every_steps: Annotated[int, Ge(1)] = 200_000
    """Environment steps between checkpoints."""
    evaluate_every_steps: Annotated[int, Ge(0)] = 0
    """Environment steps between validation runs on training-side workloads; 0 = none."""
    torch_threads: Annotated[int, Ge(1)] = 1
    """torch intra-op threads."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Checked, section="evaluation"):
    """Held-out comparison. Nothing here is seen by training."""

    workloads: Annotated[tuple[str, ...], Len(1)] = ("diurnal", "noisy", "bursty", "flash")
    """Workload families (or CSV files) compared on."""
    seeds: Annotated[int, Ge(1)] = 16
    """Held-out seeds a workload; they never meet a training seed."""
    against: tuple[str, ...] = (
        "hpa_80",
        "hpa_calibrated",
        "kpa",
        "feed_forward",
        "feed_forward_trend",
        "oracle",
        "static",
        "random",
    )
    """Baselines run beside the policy."""
    violation_weight: Positive = 200.0
    """The weight `a` the policy is asked to work at."""
    temperature: NonNegative = 0.5
    """Temperature of the policy's draws; 0 = the likeliest action. A policy learns to make a move that can wait with a small probability
    at each decision; its likeliest action then is to wait for ever."""
    frontier_weights: tuple[Positive, ...] = (20.0, 50.0, 100.0, 200.0, 400.0, 800.0)
    """Weights `a` that trace the policy's frontier."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Checked):
    """What experiments of every domain have; each domain adds its environment and its evaluation."""

    name: str = "experiment"
    """Name of the run folder."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of weights, environments and sampling."""
    domain: str = ""
    """Which system is controlled; decides what `environment` and `evaluation` hold."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Experiment):
    """An autoscaling experiment, whole."""

    domain: Literal["autoscaling"] = "autoscaling"
    """Which system is controlled; decides what `environment` and `evaluation` hold."""
    environment: AutoscalingConfig = field(default_factory=AutoscalingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
