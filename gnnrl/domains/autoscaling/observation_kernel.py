"""The loops under `ObservationBuilder`: one window into the ring of lagged metrics, one observation into padded arrays."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["HISTORY_COLUMNS", "METRIC_COLUMNS", "SEEN_BY_CALLS", "push_window", "write_observation"]

# Columns as `graph_space.schema` orders them, held against it by a test. They are spelled here and not read from it: a kernel that
# lies compiled in the cache is made anew when its own file changes, and would go on with the old columns when only the schema did.
# Of `nodes`; the dimensionless ones stand where the raw ones do.
(
    PODS, DESIRED, CPU, MEMORY, RPS_IN, RPS_OUT, READY, STARTING, REQUEST, LIMIT, P95, SINCE_CHANGE, BUSY, ERROR_SHARE,
    SCALABLE, BUSY_MAX, BUSY_MIN, BUSY_JUMP, BUSY_VOLATILITY, BUSY_TREND, AGE,
) = range(21)  # fmt: skip
# Of `edges`.
CALL_RPS, CALL_P95, CALL_ERRORS, CALL_MTLS = range(4)
# Of `globals`; the dimensionless ones have two of other names.
TOTAL_PODS, MEAN_CPU, MEAN_MEMORY, TRAFFIC, LOG_WEIGHT, P95_OVER_SLO, VIOLATING, SLO_SECONDS = range(8)
MEAN_PODS, METRICS_AGE, SLO_EDGE, VIOLATING_RECENT = 2, 7, 8, 9
# Of a lagged window of services, of calls, and of the mesh.
SEEN_CPU, SEEN_MEMORY, SEEN_RPS_IN, SEEN_RPS_OUT, SEEN_P95, SEEN_ERRORS = range(6)
METRIC_COLUMNS = 6
SEEN_BY_CALLS = slice(SEEN_RPS_IN, METRIC_COLUMNS)
"""What of a service is known by its calls alone."""
SEEN_CALL_RPS, SEEN_CALL_P95, SEEN_CALL_ERRORS = range(3)
SEEN_TRAFFIC, SEEN_P95_OVER_SLO, SEEN_VIOLATING = range(3)
# Of what is remembered of a service.
HIGHEST, LOWEST, JUMP, MEAN_SQUARED_CHANGE, LAST, LAST_CHANGE = range(6)
HISTORY_COLUMNS = 6

LARGEST_P95_OVER_SLO = 2.0
"""Shown at most: what matters is the neighbourhood of 1, and a backlog would stretch the scale by two orders of magnitude."""
EDGE_WIDTH = 0.05
"""Of `slo_edge`, as a share of the SLO. On the one scale from idle to overload 0.98 and 1.00 look alike, and a policy settled on the
SLO itself, where every other second violates."""

LONGEST_UNCHANGED_SECONDS = 3600.0
"""What has stood for longer is shown as an hour: a training episode has no more, a live Deployment months."""


@njit(cache=True, nogil=True)
def push_window(  # type: ignore[no-untyped-def]
    head, lag, metrics, call_metrics, mesh_metrics, history, history_begun, violating_recent, n_services, n_calls, limit, slo_ms,
    active,
    cpu, memory, rps_in, rps_out, p95, error_share, call_rps, call_p95, call_error, external_rps, latency_p95,
    violating_seconds, seconds, decay, volatility_decay,
):  # fmt: skip
    windows = metrics.shape[0]
    for b in range(metrics.shape[1]):
        if not active[b]:
            continue
        new = (head[b] + 1) % windows
        head[b] = new
        visible = (new - lag[b]) % windows
        for s in range(n_services[b]):
            metrics[new, b, s, SEEN_CPU] = cpu[b, s]
            metrics[new, b, s, SEEN_MEMORY] = memory[b, s]
            metrics[new, b, s, SEEN_RPS_IN] = rps_in[b, s]
            metrics[new, b, s, SEEN_RPS_OUT] = rps_out[b, s]
            metrics[new, b, s, SEEN_P95] = p95[b, s]
            metrics[new, b, s, SEEN_ERRORS] = error_share[b, s]
            busy = metrics[visible, b, s, SEEN_CPU] / limit[b, s]
            # The history begins with the first work seen: before it nothing was visible yet, or nothing was there.
            begun = history_begun[b, s]
            history_begun[b, s] = begun or busy > 0.0
            if not begun:
                history[b, s, HIGHEST] = busy
                history[b, s, LOWEST] = busy
                history[b, s, JUMP] = 0.0
                history[b, s, MEAN_SQUARED_CHANGE] = 0.0
                history[b, s, LAST_CHANGE] = 0.0
            else:
                change = busy - history[b, s, LAST]
                history[b, s, HIGHEST] = max(busy, busy + (history[b, s, HIGHEST] - busy) * decay)
                history[b, s, LOWEST] = min(busy, busy + (history[b, s, LOWEST] - busy) * decay)
                history[b, s, JUMP] = max(change, history[b, s, JUMP] * decay)
                history[b, s, MEAN_SQUARED_CHANGE] = (
                    volatility_decay * history[b, s, MEAN_SQUARED_CHANGE] + (1.0 - volatility_decay) * change * change
                )
                history[b, s, LAST_CHANGE] = change
            history[b, s, LAST] = busy
        violating = mesh_metrics[visible, b, SEEN_VIOLATING]
        violating_recent[b] = volatility_decay * violating_recent[b] + (1.0 - volatility_decay) * violating
        for e in range(n_calls[b]):
            call_metrics[new, b, e, SEEN_CALL_RPS] = call_rps[b, e]
            call_metrics[new, b, e, SEEN_CALL_P95] = call_p95[b, e]
            call_metrics[new, b, e, SEEN_CALL_ERRORS] = call_error[b, e]
        mesh_metrics[new, b, SEEN_TRAFFIC] = external_rps[b]
        mesh_metrics[new, b, SEEN_P95_OVER_SLO] = min(latency_p95[b] / slo_ms[b], LARGEST_P95_OVER_SLO)
        mesh_metrics[new, b, SEEN_VIOLATING] = violating_seconds[b] / max(seconds[b], 1.0)


@njit(cache=True, nogil=True)
def write_observation(  # type: ignore[no-untyped-def]
    head, lag, age, metrics, call_metrics, mesh_metrics, history, n_services, n_calls, slot_of_service, request, limit,
    scalable_mask, held_mask, mtls, slo_ms, violation_weight, fresh_topology, assigned_prev_slot, bounds, moves, ready, starting,
    pending, desired, since_change, metrics_age, violating_recent, level, nodes, edges, globals_, node_mask, prev_slot,
    action_mask,
):  # fmt: skip
    windows = metrics.shape[0]
    max_nodes = nodes.shape[1]
    for b in range(nodes.shape[0]):
        visible = (head[b] - lag[b]) % windows
        if fresh_topology[b]:
            prev_slot[b] = assigned_prev_slot[b]
            fresh_topology[b] = False
        else:
            for n in range(max_nodes):
                prev_slot[b, n] = n if node_mask[b, n] else -1
        total_pods = 0.0
        total_cpu = 0.0
        total_memory = 0.0
        count = n_services[b]
        for s in range(count):
            slot = slot_of_service[b, s]
            row = nodes[b, slot]
            pods = ready[b, s] + starting[b, s] + pending[b, s]
            cpu = metrics[visible, b, s, SEEN_CPU]
            row[PODS] = pods
            row[DESIRED] = desired[b, s]
            row[CPU] = cpu
            row[MEMORY] = metrics[visible, b, s, SEEN_MEMORY]
            row[RPS_IN] = metrics[visible, b, s, SEEN_RPS_IN]
            row[RPS_OUT] = metrics[visible, b, s, SEEN_RPS_OUT]
            total_pods += pods
            total_cpu += cpu
            total_memory += row[MEMORY]
            if level >= 1:
                row[READY] = ready[b, s]
                row[STARTING] = starting[b, s] + pending[b, s]
                row[REQUEST] = request[b, s]
                row[LIMIT] = limit[b, s]
                row[P95] = metrics[visible, b, s, SEEN_P95]
                row[SINCE_CHANGE] = min(since_change[b, s], LONGEST_UNCHANGED_SECONDS)
                row[BUSY] = cpu / limit[b, s]
                row[ERROR_SHARE] = metrics[visible, b, s, SEEN_ERRORS]
                row[SCALABLE] = 1.0 if scalable_mask[b, s] else 0.0
            if level >= 2:
                busy = row[BUSY]
                row[BUSY_MAX] = history[b, s, HIGHEST] - busy
                row[BUSY_MIN] = busy - history[b, s, LOWEST]
                row[BUSY_JUMP] = history[b, s, JUMP]
                row[BUSY_VOLATILITY] = math.sqrt(history[b, s, MEAN_SQUARED_CHANGE])
                row[BUSY_TREND] = history[b, s, LAST_CHANGE]
            if level >= 3:
                row[AGE] = min(age[b, s], LONGEST_UNCHANGED_SECONDS)
            for k in range(moves.shape[0]):
                target = desired[b, s] + moves[k]
                legal = moves[k] == 0 or (
                    scalable_mask[b, s] and bounds[0] <= target <= bounds[1] and not (held_mask[b, s] and moves[k] < 0)
                )
                action_mask[b, slot, k] = 1 if legal else 0
        for e in range(n_calls[b]):
            edges[b, e, CALL_RPS] = call_metrics[visible, b, e, SEEN_CALL_RPS]
            edges[b, e, CALL_P95] = call_metrics[visible, b, e, SEEN_CALL_P95]
            edges[b, e, CALL_ERRORS] = call_metrics[visible, b, e, SEEN_CALL_ERRORS]
            edges[b, e, CALL_MTLS] = mtls[b, e]
        globals_[b, TOTAL_PODS] = total_pods
        globals_[b, MEAN_CPU] = total_cpu / max(count, 1)
        globals_[b, MEAN_MEMORY] = total_memory / max(count, 1)
        globals_[b, TRAFFIC] = mesh_metrics[visible, b, SEEN_TRAFFIC]
        if level >= 1:
            globals_[b, LOG_WEIGHT] = math.log(violation_weight[b])
            globals_[b, P95_OVER_SLO] = mesh_metrics[visible, b, SEEN_P95_OVER_SLO]
            globals_[b, VIOLATING] = mesh_metrics[visible, b, SEEN_VIOLATING]
            globals_[b, SLO_SECONDS] = slo_ms[b] / 1000.0
        if level >= 3:
            globals_[b, METRICS_AGE] = metrics_age[b]
            globals_[b, SLO_EDGE] = 1.0 / (1.0 + math.exp((1.0 - globals_[b, P95_OVER_SLO]) / EDGE_WIDTH))
            globals_[b, VIOLATING_RECENT] = violating_recent[b]
            _per_mesh(
                nodes[b], edges[b], globals_[b], slot_of_service[b, :count], n_calls[b], limit[b], scalable_mask[b],
                slo_ms[b], total_pods,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def _per_mesh(nodes, edges, globals_, slots, n_calls, limit, scalable_mask, slo_ms, total_pods):  # type: ignore[no-untyped-def]
    """Turn raw units into those of the mesh: the mean limit of a pod that is scaled, the memory of the mean pod, the SLO."""
    total_limit, scaled = 0.0, 0
    for s in range(len(slots)):
        if scalable_mask[s]:
            total_limit += limit[s]
            scaled += 1
    cpu = scaled / total_limit if total_limit > 0.0 else 1.0
    memory = globals_[MEAN_MEMORY] * len(slots)
    per_pod = total_pods / memory if memory > 0.0 else 0.0
    slo_seconds = slo_ms / 1000.0
    for s in range(len(slots)):
        row = nodes[slots[s]]
        row[CPU] *= cpu
        row[MEMORY] *= per_pod
        row[RPS_IN] *= slo_seconds
        row[RPS_OUT] *= slo_seconds
        row[REQUEST] *= cpu
        row[LIMIT] *= cpu
        row[P95] /= slo_ms
    for e in range(n_calls):
        edges[e, CALL_RPS] *= slo_seconds
        edges[e, CALL_P95] /= slo_ms
    globals_[MEAN_CPU] *= cpu
    globals_[MEAN_PODS] = total_pods / max(len(slots), 1)
    globals_[TRAFFIC] *= slo_seconds
