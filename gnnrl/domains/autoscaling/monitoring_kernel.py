"""The loops under `KialiMonitoring` and the live reader: from measurements to the window that is shown."""

from __future__ import annotations

import math

from numba import njit

__all__ = [
    "RING_CALL",
    "RING_MESH",
    "RING_SERVICE",
    "assemble_calls",
    "measure_pods",
    "pod_sums",
    "rounded",
    "smooth_calls",
    "store_window",
]

RING_SERVICE = 3  # rps in, mean ms, P95 ms: of the service's own work
RING_CALL = 2  # rps, error share
RING_MESH = 6  # external rps, seconds, P50, P95, P99 in ms, error share
RATE_DECIMALS, PERCENT_DECIMALS = 2, 1
BYTES_PER_CALL = 1024.0  # of a call over tcp [cal]: shown, never decided on
FAILING_SHARE = 0.01
P50, P95, P99 = math.log(0.5), math.log(0.05), math.log(0.01)


@njit(cache=True, nogil=True)
def rounded(value, decimals):  # type: ignore[no-untyped-def]
    """The nearest number of so many decimals, as it is read back from text."""
    scale = 10.0**decimals
    return math.floor(value * scale + 0.5) / scale


@njit(cache=True, nogil=True)
def store_window(  # type: ignore[no-untyped-def]
    head, count, active, n_services, n_calls, service_ring, call_ring, mesh_ring, rps_in, mean_ms, p95_ms, call_rps,
    call_error, external_rps, seconds, e2e_p50, e2e_p95, e2e_p99, e2e_errors,
):  # fmt: skip
    """Write the newest window into the rings."""
    windows = service_ring.shape[0]
    for b in range(head.shape[0]):
        if not active[b]:
            continue
        if count[b] == 0:
            service_ring[:, b] = 0.0
            call_ring[:, b] = 0.0
            mesh_ring[:, b] = 0.0
        new = (head[b] + 1) % windows
        head[b] = new
        count[b] = min(count[b] + 1, windows)
        for s in range(n_services[b]):
            service_ring[new, b, s, 0] = rps_in[b, s]
            service_ring[new, b, s, 1] = mean_ms[b, s]
            service_ring[new, b, s, 2] = p95_ms[b, s]
        for e in range(n_calls[b]):
            call_ring[new, b, e, 0] = call_rps[b, e]
            call_ring[new, b, e, 1] = call_error[b, e]
        row = mesh_ring[new, b]
        row[0] = external_rps[b]
        row[1] = seconds[b]
        row[2] = e2e_p50[b]
        row[3] = e2e_p95[b]
        row[4] = e2e_p99[b]
        row[5] = e2e_errors[b]


@njit(cache=True, nogil=True)
def _log_survival(x, p50, p95, p99):  # type: ignore[no-untyped-def]
    """Logarithm of the share of requests slower than x, piecewise linear through the percentiles."""
    if x <= p50:
        return P50 * x / max(p50, 1e-9)
    if x <= p95:
        return P50 + (P95 - P50) * (x - p50) / max(p95 - p50, 1e-9)
    return P95 + (P99 - P95) * (x - p95) / max(p99 - p95, 1e-9)


@njit(cache=True, nogil=True)
def _merged_p95(windows, b, ring):  # type: ignore[no-untyped-def]
    """95th percentile of all requests of the windows; of a single one, its own."""
    total, highest = 0.0, 0.0
    for w in range(windows):
        total += ring[w, b, 0] * ring[w, b, 1]
        if ring[w, b, 0] > 0.0:
            highest = max(highest, ring[w, b, 3])
    if total <= 0.0:
        return 0.0
    low = 0.0
    for _ in range(40):
        x = 0.5 * (low + highest)
        above = 0.0
        for w in range(windows):
            row = ring[w, b]
            if row[0] > 0.0:
                above += row[0] * row[1] * math.exp(max(_log_survival(x, row[2], row[3], row[4]), -50.0))
        if above > 0.05 * total:
            low = x
        else:
            highest = x
    return highest


@njit(cache=True, nogil=True)
def smooth_calls(  # type: ignore[no-untyped-def]
    head, count, active, n_services, n_calls, n_entries, target, entry_share, tcp_mask, inclusive, service_ring,
    call_ring, mesh_ring, out_rps, out_p95, out_error, out_bytes,
):  # fmt: skip
    """Each call's figures over the window, rounded as Kiali writes them.

    The response time of a call is its target's own plus those of the calls made downstream, in a row: means and variances add along
    (I - R)^-1. P95 = mean + 2 deviations, which is exact for exponential times.
    """
    for b in range(head.shape[0]):
        if not active[b]:
            continue
        k = count[b]  # unfilled windows are 0
        n = n_services[b]
        mean = [0.0] * n
        variance = [0.0] * n
        for s in range(n):
            weight, first, second = 0.0, 0.0, 0.0
            for w in range(service_ring.shape[0]):
                r, m = service_ring[w, b, s, 0], service_ring[w, b, s, 1]
                deviation = 0.5 * (service_ring[w, b, s, 2] - m)
                weight += r
                first += r * m
                second += r * (deviation * deviation + m * m)
            if weight > 0.0:
                mean[s] = first / weight
                variance[s] = max(second / weight - mean[s] * mean[s], 0.0)
        for e in range(n_calls[b]):
            rate, failed = 0.0, 0.0
            for w in range(call_ring.shape[0]):
                rate += call_ring[w, b, e, 0]
                failed += call_ring[w, b, e, 0] * call_ring[w, b, e, 1]
            share = failed / rate if rate > 0.0 else 0.0
            rate /= k
            if tcp_mask[b, e]:
                out_rps[b, e], out_p95[b, e], out_error[b, e] = 0.0, 0.0, 0.0
                out_bytes[b, e] = rounded(rate * BYTES_PER_CALL, RATE_DECIMALS)
                continue
            m, v = 0.0, 0.0
            for s in range(n):
                m += inclusive[b, target[b, e], s] * mean[s]
                v += inclusive[b, target[b, e], s] * variance[s]
            out_rps[b, e] = rounded(rate, RATE_DECIMALS)
            out_p95[b, e] = rounded(m + 2.0 * math.sqrt(v), 0) if out_rps[b, e] > 0.0 else 0.0
            out_error[b, e] = rounded(100.0 * share, PERCENT_DECIMALS) / 100.0 if out_rps[b, e] > 0.0 else 0.0
            out_bytes[b, e] = 0.0
        p95 = rounded(_merged_p95(mesh_ring.shape[0], b, mesh_ring), 0)
        external, failing = 0.0, 0.0
        for w in range(mesh_ring.shape[0]):
            external += mesh_ring[w, b, 0]
            failing += mesh_ring[w, b, 0] * mesh_ring[w, b, 5]
        share = failing / external if external > 0.0 else 0.0
        for e in range(n_calls[b], n_calls[b] + n_entries[b]):
            out_rps[b, e] = rounded(external / k * entry_share[b, e], RATE_DECIMALS)
            out_p95[b, e] = p95 if out_rps[b, e] > 0.0 else 0.0
            out_error[b, e] = rounded(100.0 * share, PERCENT_DECIMALS) / 100.0 if out_rps[b, e] > 0.0 else 0.0
            out_bytes[b, e] = 0.0


@njit(cache=True, nogil=True)
def measure_pods(  # type: ignore[no-untyped-def]
    active, n_services, cpu, app_cpu, memory, ready, starting, draining, app_nanocores, proxy_nanocores, memory_bytes,
    metric_ready,
):  # fmt: skip
    """What the metrics API measures of one ready pod of each service."""
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        for s in range(ready.shape[1]):
            pods = ready[b, s]
            metric_ready[b, s] = pods
            if pods == 0 or s >= n_services[b]:
                app_nanocores[b, s], proxy_nanocores[b, s], memory_bytes[b, s] = 0, 0, 0
                continue
            app_nanocores[b, s] = int(rounded(app_cpu[b, s] * 1e6 / pods, 0))
            proxy_nanocores[b, s] = int(rounded((cpu[b, s] - app_cpu[b, s]) * 1e6 / pods, 0))
            alive = pods + starting[b, s] + draining[b, s]
            memory_bytes[b, s] = int(rounded(memory[b, s] * 1048576.0 / alive, 0))


@njit(cache=True, nogil=True)
def pod_sums(  # type: ignore[no-untyped-def]
    active, app_nanocores, proxy_nanocores, memory_bytes, metric_ready, out_app_cpu, out_cpu, out_memory,
):  # fmt: skip
    """A service's CPU and memory: what one of its pods uses, times those that were ready when it was measured."""
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        for s in range(metric_ready.shape[1]):
            pods = metric_ready[b, s]
            out_app_cpu[b, s] = app_nanocores[b, s] * pods / 1e6
            out_cpu[b, s] = (app_nanocores[b, s] + proxy_nanocores[b, s]) * pods / 1e6
            out_memory[b, s] = memory_bytes[b, s] * pods / 1048576.0


@njit(cache=True, nogil=True)
def assemble_calls(  # type: ignore[no-untyped-def]
    active, n_calls, source, target, outside_mask, slo_ms, call_rps, call_p95, call_error, out_call_rps, out_call_p95,
    out_call_error, rps_in, rps_out, p95_ms, error_share, external_rps, latency_p95_ms, violating_seconds, out_seconds,
    seconds,
):  # fmt: skip
    """From the calls' figures to those of services and mesh.

    A service's response time is the mean of its incoming calls', weighted by their rates; end to end, that of the calls from outside. A
    window counts as violating, whole, if its P95 exceeds the SLO or more than 1 % of its requests fail.
    """
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        services = rps_in.shape[1]
        received = [0.0] * services
        sent = [0.0] * services
        slow = [0.0] * services
        failed = [0.0] * services
        timed = [0.0] * services
        external, external_slow, external_timed, external_failed = 0.0, 0.0, 0.0, 0.0
        for e in range(out_call_rps.shape[1]):
            if e >= n_calls[b]:
                out_call_rps[b, e], out_call_p95[b, e], out_call_error[b, e] = 0.0, 0.0, 0.0
                continue
            s, t, rate, p95 = source[b, e], target[b, e], call_rps[b, e], call_p95[b, e]
            out_call_rps[b, e], out_call_p95[b, e], out_call_error[b, e] = rate, p95, call_error[b, e]
            sent[s] += rate
            received[t] += rate
            failed[t] += rate * call_error[b, e]
            if p95 > 0.0:
                timed[t] += rate
                slow[t] += rate * p95
            if outside_mask[b, s] and not outside_mask[b, t]:
                external += rate
                external_failed += rate * call_error[b, e]
                if p95 > 0.0:
                    external_timed += rate
                    external_slow += rate * p95
        for s in range(services):
            rps_in[b, s] = received[s]
            rps_out[b, s] = sent[s]
            p95_ms[b, s] = slow[s] / timed[s] if timed[s] > 0.0 else 0.0
            error_share[b, s] = failed[s] / received[s] if received[s] > 0.0 else 0.0
        external_rps[b] = external
        latency_p95_ms[b] = external_slow / external_timed if external_timed > 0.0 else 0.0
        too_many = external > 0.0 and external_failed > FAILING_SHARE * external
        out_seconds[b] = seconds[b]
        violating_seconds[b] = seconds[b] if latency_p95_ms[b] > slo_ms[b] or too_many else 0.0
