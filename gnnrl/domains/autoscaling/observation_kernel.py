"""The loops under `ObservationBuilder`: one window into the ring of lagged metrics, one observation into padded arrays."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["push_window", "write_observation"]

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
            metrics[new, b, s, 0] = cpu[b, s]
            metrics[new, b, s, 1] = memory[b, s]
            metrics[new, b, s, 2] = rps_in[b, s]
            metrics[new, b, s, 3] = rps_out[b, s]
            metrics[new, b, s, 4] = p95[b, s]
            metrics[new, b, s, 5] = error_share[b, s]
            busy = metrics[visible, b, s, 0] / limit[b, s]
            # The history begins with the first work seen: before it nothing was visible yet, or nothing was there.
            begun = history_begun[b, s]
            history_begun[b, s] = begun or busy > 0.0
            if not begun:
                history[b, s, 0] = busy
                history[b, s, 1] = busy
                history[b, s, 2] = 0.0
                history[b, s, 3] = 0.0
                history[b, s, 5] = 0.0
            else:
                change = busy - history[b, s, 4]
                history[b, s, 0] = max(busy, busy + (history[b, s, 0] - busy) * decay)
                history[b, s, 1] = min(busy, busy + (history[b, s, 1] - busy) * decay)
                history[b, s, 2] = max(change, history[b, s, 2] * decay)
                history[b, s, 3] = volatility_decay * history[b, s, 3] + (1.0 - volatility_decay) * change * change
                history[b, s, 5] = change
            history[b, s, 4] = busy
        violating = mesh_metrics[visible, b, 2]
        violating_recent[b] = volatility_decay * violating_recent[b] + (1.0 - volatility_decay) * violating
        for e in range(n_calls[b]):
            call_metrics[new, b, e, 0] = call_rps[b, e]
            call_metrics[new, b, e, 1] = call_p95[b, e]
            call_metrics[new, b, e, 2] = call_error[b, e]
        mesh_metrics[new, b, 0] = external_rps[b]
        mesh_metrics[new, b, 1] = min(latency_p95[b] / slo_ms[b], LARGEST_P95_OVER_SLO)
        mesh_metrics[new, b, 2] = violating_seconds[b] / max(seconds[b], 1.0)


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
            cpu = metrics[visible, b, s, 0]
            row[0] = pods
            row[1] = desired[b, s]
            row[2] = cpu
            row[3] = metrics[visible, b, s, 1]
            row[4] = metrics[visible, b, s, 2]
            row[5] = metrics[visible, b, s, 3]
            total_pods += pods
            total_cpu += cpu
            total_memory += row[3]
            if level >= 1:
                row[6] = ready[b, s]
                row[7] = starting[b, s] + pending[b, s]
                row[8] = request[b, s]
                row[9] = limit[b, s]
                row[10] = metrics[visible, b, s, 4]
                row[11] = min(since_change[b, s], LONGEST_UNCHANGED_SECONDS)
                row[12] = cpu / limit[b, s]
                row[13] = metrics[visible, b, s, 5]
                row[14] = 1.0 if scalable_mask[b, s] else 0.0
            if level >= 2:
                busy = row[12]
                row[15] = history[b, s, 0] - busy
                row[16] = busy - history[b, s, 1]
                row[17] = history[b, s, 2]
                row[18] = math.sqrt(history[b, s, 3])
                row[19] = history[b, s, 5]
            if level >= 3:
                row[20] = min(age[b, s], LONGEST_UNCHANGED_SECONDS)
            for k in range(moves.shape[0]):
                target = desired[b, s] + moves[k]
                legal = moves[k] == 0 or (
                    scalable_mask[b, s] and bounds[0] <= target <= bounds[1] and not (held_mask[b, s] and moves[k] < 0)
                )
                action_mask[b, slot, k] = 1 if legal else 0
        for e in range(n_calls[b]):
            edges[b, e, 0] = call_metrics[visible, b, e, 0]
            edges[b, e, 1] = call_metrics[visible, b, e, 1]
            edges[b, e, 2] = call_metrics[visible, b, e, 2]
            edges[b, e, 3] = mtls[b, e]
        globals_[b, 0] = total_pods
        globals_[b, 1] = total_cpu / max(count, 1)
        globals_[b, 2] = total_memory / max(count, 1)
        globals_[b, 3] = mesh_metrics[visible, b, 0]
        if level >= 1:
            globals_[b, 4] = math.log(violation_weight[b])
            globals_[b, 5] = mesh_metrics[visible, b, 1]
            globals_[b, 6] = mesh_metrics[visible, b, 2]
            globals_[b, 7] = slo_ms[b] / 1000.0
        if level >= 3:
            globals_[b, 7] = metrics_age[b]
            globals_[b, 8] = 1.0 / (1.0 + math.exp((1.0 - globals_[b, 5]) / EDGE_WIDTH))
            globals_[b, 9] = violating_recent[b]
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
    memory = globals_[2] * len(slots)
    per_pod = total_pods / memory if memory > 0.0 else 0.0
    slo_seconds = slo_ms / 1000.0
    for s in range(len(slots)):
        row = nodes[slots[s]]
        row[2] *= cpu
        row[3] *= per_pod
        row[4] *= slo_seconds
        row[5] *= slo_seconds
        row[8] *= cpu
        row[9] *= cpu
        row[10] /= slo_ms
    for e in range(n_calls):
        edges[e, 0] *= slo_seconds
        edges[e, 1] /= slo_ms
    globals_[1] *= cpu
    globals_[2] = total_pods / max(len(slots), 1)
    globals_[3] *= slo_seconds
