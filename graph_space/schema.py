"""The one place that spells observation keys, their dtypes, and the names and units of features.

Every room reads an observation through these constants; a domain adds its features as a `GraphSchema`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACTION_MASK",
    "AUTOSCALING",
    "EDGES",
    "EDGE_INDEX",
    "EDGE_MASK",
    "ELAPSED_SECONDS",
    "FLOAT",
    "GLOBALS",
    "INDEX",
    "KEYS",
    "MASK",
    "MOVES",
    "NODES",
    "NODE_MASK",
    "NUM_MOVES",
    "PREV_SLOT",
    "Feature",
    "GraphObservation",
    "GraphSchema",
    "LLMFeatures",
    "NodeColumns",
    "autoscaling_schema",
    "llm_routing_schema",
    "queue_routing_schema",
]

NODES: Final = "nodes"
"""float32 [N, F], node features in raw units, 0 in padding."""
EDGE_INDEX: Final = "edge_index"
"""int64 [2, E], source slot and target slot, 0 in padding."""
EDGES: Final = "edges"
"""float32 [E, Fe], edge features in raw units, 0 in padding."""
GLOBALS: Final = "globals"
"""float32 [G], graph features in raw units."""
NODE_MASK: Final = "node_mask"
"""int8 [N], 1 = a real node; real nodes may have holes between them."""
EDGE_MASK: Final = "edge_mask"
"""int8 [E], 1 = a real edge; real edges are a prefix."""
PREV_SLOT: Final = "prev_slot"
"""int64 [N], slot of the same node in the last consumed observation; -1 = new, and in padding."""
ELAPSED_SECONDS: Final = "elapsed_seconds"
"""float32 [], seconds since the last consumed observation, 0 at reset."""
ACTION_MASK: Final = "action_mask"
"""int8 [N, K], 1 = a legal move; all 0 in padding."""

KEYS: Final = (NODES, EDGE_INDEX, EDGES, GLOBALS, NODE_MASK, EDGE_MASK, PREV_SLOT, ELAPSED_SECONDS, ACTION_MASK)
"""All keys of an observation."""

FLOAT: Final = np.dtype(np.float32)
"""dtype of features and times."""
INDEX: Final = np.dtype(np.int64)
"""dtype of slots."""
MASK: Final = np.dtype(np.int8)
"""dtype of masks, 1 = valid. int8, because `gymnasium.spaces.MultiBinary` is."""

GraphObservation: TypeAlias = dict[str, NDArray[np.float32] | NDArray[np.int64] | NDArray[np.int8]]
"""An observation: one array per key of `KEYS`; a batch adds leading axes."""

NodeColumns: TypeAlias = Literal["basic", "extended", "history", "dimensionless"]
"""Column sets of the autoscaling nodes, each containing the one before; `dimensionless` holds the same quantities in units of the mesh."""

LLMFeatures: TypeAlias = Literal["compact", "documented"]
"""Column sets of LLM replicas."""

MOVES: Final[NDArray[np.int64]] = np.array([0, *range(1, 8), *range(-1, -8, -1)], dtype=np.int64)
"""int64 [K], change of the desired replicas by each move: 0, +1 .. +7, -1 .. -7. Read-only."""
MOVES.setflags(write=False)

NUM_MOVES: Final = 15
"""K of the autoscaling moves, `len(MOVES)`."""


@dataclass(frozen=True)
class Feature:
    """One column of a feature array."""

    name: str
    unit: str
    """Unit of the raw value; `1` for counts, shares and ratios."""
    description: str


@dataclass(frozen=True)
class GraphSchema:
    """The columns of `nodes`, `edges` and `globals` of one domain, in order.

    Raises:
        ValueError: two features of one array share a name.
    """

    nodes: tuple[Feature, ...]
    edges: tuple[Feature, ...]
    globals: tuple[Feature, ...]

    def __post_init__(self) -> None:
        for key in (NODES, EDGES, GLOBALS):
            names = self.names(key)
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(
                    f"schema.{key}: {', '.join(repeated)} named more than once; give every column its own name"
                )

    def features(self, key: str) -> tuple[Feature, ...]:
        """The features of `NODES`, `EDGES` or `GLOBALS`; `KeyError` for another key."""
        if key == NODES:
            return self.nodes
        if key == EDGES:
            return self.edges
        if key == GLOBALS:
            return self.globals
        raise KeyError(f"{key!r} has no named columns; those with columns are {NODES!r}, {EDGES!r}, {GLOBALS!r}")

    def names(self, key: str) -> tuple[str, ...]:
        """Column names of `NODES`, `EDGES` or `GLOBALS`, in order."""
        return tuple(feature.name for feature in self.features(key))

    def index(self, key: str, name: str) -> int:
        """Column of feature `name` in array `key`, as in `obs[key][..., schema.index(key, name)]`.

        Raises:
            KeyError: no such column, with the names there are.
        """
        names = self.names(key)
        if name not in names:
            raise KeyError(f"{key} has no column {name!r}; it has {', '.join(names)}")
        return names.index(name)


_BASIC_NODES = (
    Feature("pods", "1", "pods that exist, ready or starting"),
    Feature("desired_replicas", "1", "replicas asked for"),
    Feature("cpu_millicores", "millicores", "CPU used by all pods of the service"),
    Feature("memory_mib", "MiB", "memory used by all pods of the service"),
    Feature("rps_in", "1/s", "requests received"),
    Feature("rps_out", "1/s", "requests sent to other services"),
)
_EXTENDED_NODES = (
    *_BASIC_NODES,
    Feature("ready", "1", "pods that take traffic"),
    Feature("starting", "1", "pods asked for and not ready yet"),
    Feature("cpu_request_millicores", "millicores", "CPU request of one pod"),
    Feature("cpu_limit_millicores", "millicores", "CPU limit of one pod"),
    Feature("p95_ms", "ms", "95th percentile of the service's own response time"),
    Feature("seconds_since_change", "s", "since the desired replicas last changed, at most an hour"),
    Feature("busy_replicas", "1", "CPU used over the limit of one pod: replicas' worth of work"),
    Feature("error_share", "1", "share of received requests that failed, 0 to 1"),
    Feature("is_scalable", "1", "1 where moves other than 0 can be legal"),
)
_HISTORY_NODES = (
    *_EXTENDED_NODES,
    Feature("busy_max_decayed", "1", "maximum of busy_replicas, decayed over an hour, above the present"),
    Feature("busy_min_decayed", "1", "present busy_replicas above their minimum, which recovers over an hour"),
    Feature("busy_jump", "1", "largest rise of busy_replicas between two windows, decayed over an hour"),
    Feature("busy_volatility", "1", "exponentially weighted deviation of the change of busy_replicas between windows"),
    Feature("busy_trend", "1", "change of busy_replicas over the last window"),
)
_DIMENSIONLESS_NODES = (
    Feature("pods", "1", "pods that exist, ready or starting"),
    Feature("desired_replicas", "1", "replicas asked for"),
    Feature(
        "cpu_over_mean_limit", "1", "CPU used by all pods of the service, over the mean limit of a pod in the mesh"
    ),
    Feature(
        "memory_over_mean_pod", "1", "memory used by all pods of the service, over that of the mean pod of the mesh"
    ),
    Feature("rps_in_by_slo", "1", "requests received in the time of the SLO"),
    Feature("rps_out_by_slo", "1", "requests sent to other services in the time of the SLO"),
    Feature("ready", "1", "pods that take traffic"),
    Feature("starting", "1", "pods asked for and not ready yet"),
    Feature("cpu_request_over_mean_limit", "1", "CPU request of one pod, over the mean limit"),
    Feature("cpu_limit_over_mean_limit", "1", "CPU limit of one pod, over the mean limit"),
    Feature("p95_over_slo", "1", "95th percentile of the service's own response time, over the SLO of the mesh"),
    Feature("seconds_since_change", "s", "since the desired replicas last changed, at most an hour"),
    *_HISTORY_NODES[12:],
    Feature(
        "age_seconds", "s", "since the service was first seen, at most an hour; an hour from the start of an episode on"
    ),
)
_NODES: Final[dict[str, tuple[Feature, ...]]] = {
    "basic": _BASIC_NODES,
    "extended": _EXTENDED_NODES,
    "history": _HISTORY_NODES,
    "dimensionless": _DIMENSIONLESS_NODES,
}
_EDGES = (
    Feature("rps", "1/s", "calls along the edge"),
    Feature("p95_ms", "ms", "95th percentile of the calls' response time"),
    Feature("error_share", "1", "share of the calls that failed, 0 to 1"),
    Feature("mtls_share", "1", "share of the calls under mutual TLS, 0 to 1"),
)
_DIMENSIONLESS_EDGES = (
    Feature("rps_by_slo", "1", "calls along the edge in the time of the SLO"),
    Feature("p95_over_slo", "1", "95th percentile of the calls' response time, over the SLO of the mesh"),
    *_EDGES[2:],
)
_BASIC_GLOBALS = (
    Feature("total_pods", "1", "pods of all services"),
    Feature("mean_cpu_millicores", "millicores", "CPU used, mean over services"),
    Feature("mean_memory_mib", "MiB", "memory used, mean over services"),
    Feature("total_traffic_rps", "1/s", "requests entering the mesh"),
)
_EXTENDED_GLOBALS = (
    *_BASIC_GLOBALS,
    Feature("log_violation_weight", "1", "natural logarithm of the weight of a violating decision interval"),
    Feature("latency_p95_over_slo", "1", "95th percentile end to end over the SLO, at most 2"),
    Feature("violating_share_window", "1", "share of violating seconds in the window, 0 to 1"),
    Feature("slo_seconds", "s", "service-level objective of the 95th percentile end to end"),
)
_DIMENSIONLESS_GLOBALS = (
    Feature("total_pods", "1", "pods of all services"),
    Feature("mean_cpu_over_mean_limit", "1", "CPU used, mean over services, over the mean limit of a pod"),
    Feature("mean_pods", "1", "pods, mean over services"),
    Feature("total_traffic_by_slo", "1", "requests entering the mesh in the time of the SLO"),
    *_EXTENDED_GLOBALS[4:7],
    Feature("metrics_age_seconds", "s", "age of the newest metrics"),
    Feature(
        "slo_edge",
        "1",
        "latency_p95_over_slo on a logistic curve around 1 that is 0.05 wide: finer near the SLO, 0 to 1",
    ),
    Feature("violating_share_recent", "1", "violating_share_window, averaged over about five minutes, 0 to 1"),
)


_GLOBALS: Final[dict[str, tuple[Feature, ...]]] = {
    "basic": _BASIC_GLOBALS,
    "extended": _EXTENDED_GLOBALS,
    "history": _EXTENDED_GLOBALS,
    "dimensionless": _DIMENSIONLESS_GLOBALS,
}


def autoscaling_schema(node_columns: NodeColumns) -> GraphSchema:
    """The schema of a service mesh.

    Args:
        node_columns: `basic`, the six documented columns and four globals; `extended`, also readiness, resources,
            latency and errors, and the SLO's globals; `history`, also hour-long statistics of the load; `dimensionless`, all of these in
            units of the mesh, so that the same problem in other units looks the same, and the age of services and metrics.

    Raises:
        ValueError: another name.
    """
    if node_columns not in _NODES:
        raise ValueError(f"node_columns: {node_columns!r} is not one of {', '.join(_NODES)}")
    return GraphSchema(
        nodes=_NODES[node_columns],
        edges=_DIMENSIONLESS_EDGES if node_columns == "dimensionless" else _EDGES,
        globals=_GLOBALS[node_columns],
    )


def queue_routing_schema(show_work: bool) -> GraphSchema:
    """The schema of the routing model: replicas, the request that awaits its choice, and an edge from it to each replica.

    Args:
        show_work: whether the expected work in each queue is shown, beside its length.
    """
    work = (Feature("work_seconds", "s", "expected work in the queue, by the types in it"),) if show_work else ()
    return GraphSchema(
        nodes=(
            Feature("is_replica", "1", "1 for a replica, 0 for the request"),
            Feature("queue", "1", "requests in the replica's queue, the one in service included"),
            Feature("utilisation", "1", "share of time busy, over about the last 16 arrivals"),
            *work,
        ),
        edges=(Feature("service_rate_rps", "1/s", "requests of this type that the replica serves a second"),),
        globals=(
            Feature("request_type", "1", "number of the request's type"),
            Feature("interarrival_seconds", "s", "since the arrival before"),
            Feature("in_system", "1", "requests in all queues"),
        ),
    )


_IS_REPLICA = Feature("is_replica", "1", "1 for a replica, 0 for the request")
_LLM_NODES = (
    _IS_REPLICA,
    Feature("waiting", "1", "requests in the replica's queue"),
    Feature("resident", "1", "requests that hold memory"),
    Feature("outstanding", "1", "requests sent there and not done"),
    Feature("free_share", "1", "share of the KV memory that is free, 0 to 1"),
    Feature("pending_prefill_tokens", "tokens", "prompt tokens still to prefill"),
    Feature("prefilled_tps", "tokens/s", "tokens prefilled, over about the last 10 s"),
    Feature("generated_tps", "tokens/s", "tokens given out, over about the last 10 s"),
    Feature("time_factor", "1", "iteration time over the calibrated one, 0 unless told"),
    Feature(
        "inferred_time_factor", "1", "time spent over the calibrated time of the tokens done, 1 before there is any"
    ),
    Feature("token_seconds", "s", "expected iteration with this request decoding beside the residents"),
    Feature("first_token_seconds", "s", "expected time to prefill what is pending and this request"),
    Feature("weighted_outstanding", "1", "outstanding requests and this one, times the inferred time factor"),
)
_LLM_REQUEST = (
    Feature("num_prefill_tokens", "tokens", "tokens of the request's prompt"),
    Feature("num_decode_tokens", "tokens", "tokens of its answer as told, 0 unless told"),
    Feature("age", "s", "since the request arrived"),
)
_LLM_CLUSTER = (
    Feature("queue_length", "1", "requests waiting anywhere besides this one"),
    Feature("throughput", "1/s", "completions over the window of decisions"),
    Feature("mean_latency", "s", "of the requests completed in the window"),
    Feature("qps_current", "1/s", "arrivals over the window"),
    Feature("qps_ema", "1/s", "exponential average of qps_current"),
    Feature("qps_trend", "1/s", "slope of qps_current a decision, in the window"),
    Feature("qps_variance", "1/s^2", "variance of qps_current in the window"),
    Feature("system_load_balance", "1", "coefficient of variation of the queue lengths, 0 when all are empty"),
    Feature("global_queue_delta", "1", "change of queue_length since the last decision"),
    Feature("completion_rate", "1", "completions over arrivals in the window"),
    Feature("seconds_since_decision", "s", "since the last decision"),
    Feature("replicas_up", "1", "replicas that take requests"),
)
_LLM_BASE = (
    Feature("queue_length", "1", "requests in the replica's queue"),
    Feature("allocated_blocks", "blocks", "KV blocks in use"),
    Feature("total_blocks", "blocks", "KV blocks"),
    Feature("utilization_fraction", "1", "share of the blocks in use, 0 to 1"),
    Feature("available_fraction", "1", "share of the blocks free, 0 to 1"),
    Feature("running_batches", "1", "batches under way"),
    Feature("preempted_requests", "1", "residents that are not in the batch under way"),
    Feature("allocation_map_size", "1", "requests that hold blocks"),
    Feature("batch_capacity", "1", "requests that may be resident"),
    Feature("block_size", "tokens", "tokens of a block"),
    Feature("num_stages", "1", "pipeline stages"),
    Feature("queue_delta", "1", "change of queue_length since the last decision"),
    Feature("allocation_delta", "blocks", "change of allocated_blocks since the last decision"),
    Feature("load_ema", "1", "exponential average of (waiting + resident) / batch_capacity"),
    Feature("queue_trend", "1", "slope of queue_length a decision, in the window"),
    Feature("queue_variance", "1", "variance of queue_length in the window"),
    Feature("historical_peak", "1", "largest queue_length since the replica came"),
    Feature("historical_low", "1", "smallest queue_length since the replica came"),
    Feature("time_since_peak", "s", "since queue_length was largest"),
)
_LLM_HEAD = (
    Feature("age", "s", "since the waiting request arrived"),
    Feature("num_prefill_tokens", "tokens", "tokens it has to prefill"),
    Feature("num_processed_tokens", "tokens", "tokens it has processed"),
    Feature("remaining_prefill", "tokens", "tokens it has still to prefill"),
    Feature("completed", "1", "1 for a request that is done: never in a queue"),
    Feature("num_decode_tokens", "tokens", "tokens of its answer as told, 0 unless told"),
    Feature("priority", "1", "priority of the request: there is one"),
)
_LLM_OWN = (
    Feature("pending_prefill_tokens", "tokens", "prompt tokens still to prefill"),
    Feature("prefilled_tokens", "tokens", "prefilled since the last decision"),
    Feature("generated_tokens", "tokens", "given out since the last decision"),
    Feature("outstanding", "1", "requests sent there and not done"),
    Feature("time_factor", "1", "iteration time over the calibrated one, 0 unless told"),
)


def llm_routing_schema(features: LLMFeatures, queue_heads: int = 4) -> GraphSchema:
    """The schema of LLM inference replicas: replicas, the request that awaits its choice, and an edge from it to each replica.

    Args:
        features: `compact`, what a choice needs with speeds inferred; `documented`, the 11 + 8 + 7 K documented columns of each replica,
            five of our own, and all of the cluster's.
        queue_heads: K, waiting requests of each replica that are described one by one (`documented`).

    Raises:
        ValueError: another name.
    """
    if features not in ("compact", "documented"):
        raise ValueError(f"features: {features!r} is not one of compact, documented")
    nodes: tuple[Feature, ...] = _LLM_NODES
    if features == "documented":
        heads = tuple(
            Feature(f"head{k}_{part.name}", part.unit, part.description)
            for k in range(queue_heads)
            for part in _LLM_HEAD
        )
        nodes = (_IS_REPLICA, *_LLM_BASE, *heads, *_LLM_OWN)
    return GraphSchema(
        nodes=nodes,
        edges=(Feature("prompt_share", "1", "the prompt over the free KV memory of the replica"),),
        globals=(*_LLM_REQUEST, *_LLM_CLUSTER),
    )


AUTOSCALING: Final = autoscaling_schema("history")
"""The autoscaling schema with every column."""
