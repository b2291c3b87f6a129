"""The tick of the mesh simulator in NumPy, vectorised over environments and classes: what the compiled kernel is compared with.

It takes over the state of a `MeshSimulation` and computes the same, one array operation at a time; the tests hold the two together.
Pods do not change while it runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling import kernel as k
from gnnrl.domains.autoscaling.physics import MeshSimulation

__all__ = ["NumpyMeshes"]

Floats = NDArray[np.float32]


def _environments_last(array: Floats, batch: int) -> Floats:
    """[blocks, ..., lanes] as [..., batch]."""
    moved = np.moveaxis(array, 0, -2)
    return np.ascontiguousarray(moved.reshape(*moved.shape[:-2], -1)[..., :batch])


class NumpyMeshes:
    """The meshes of a simulation, from its present state on."""

    def __init__(self, simulation: MeshSimulation) -> None:
        state, batch = simulation._state, simulation.batch_size
        rows = int(state.n_rows.max())
        self.service = _environments_last(state.service[:, :rows], batch)  # [S, columns, B]
        self.element = _environments_last(state.element[:, :rows], batch)  # [S, C, columns, B]
        self.phase = _environments_last(state.phase[:, :rows], batch)  # [S, C, P, columns, B]
        self.klass = _environments_last(state.klass, batch)  # [C, columns, B]
        self.mesh = _environments_last(state.mesh, batch)  # [columns, B]
        self.phases = (self.phase[:, :, :, k.SHARE] > 0).any((1, 3)).sum(-1)  # [S]
        self.pods_table, self.tail_table, self.expiry = simulation._tables
        self.timeout = simulation.settings.request_timeout_seconds

    def advance(self, rps: Floats) -> None:
        """Advance by k ticks at the rates [B, k]."""
        for t in range(rps.shape[1]):
            self._tick(rps[:, t])

    def _tick(self, rps: Floats) -> None:
        mesh, klass = self.mesh, self.klass
        mesh[k.SECONDS] += 1.0
        mesh[k.EXTERNAL] += rps
        flow = rps * klass[:, k.WEIGHT]  # [C, B]
        age, square, total, squares = (np.zeros_like(flow) for _ in range(4))
        failed = np.zeros_like(rps)
        for r in range(len(self.service)):
            sv, el, ph = self.service[r], self.element[r], self.phase[r, :, : self.phases[r]]
            before = sv[k.CALLS].copy()
            expired = self._expire(sv, ph)
            share = el[:, k.PROBABILITY] * flow
            entering, demand = share.sum(0), (share * el[:, k.VISITS]).sum(0)
            on, lost, done, fast, common, wait, foreseen = self._rates(sv, entering, demand)
            arriving = np.stack([flow, age, square])
            enter = el[:, k.PROBABILITY] * arriving
            first = enter.copy()
            leave = np.zeros_like(arriving)
            calls, ages, rest = np.zeros_like(rps), np.zeros_like(rps), np.zeros_like(rps)
            for stage in range(ph.shape[1]):
                ps = ph[:, stage]
                scale = 1.0 / (ps[:, k.SHARE] * (1.0 + lost) + on + 1e-20)
                hold, go = ps[:, k.SHARE] * scale, on * scale
                waiting, waiting_age = ps[:, k.REQUESTS].copy(), ps[:, k.AGES].copy()
                requests = waiting + enter[0]
                held = requests * hold
                older = waiting_age + enter[1] + k.OLD_SHARE * waiting + (1.0 - k.OLD_SHARE) * held
                held_age = older * hold
                olders = (
                    ps[:, k.AGES_SQUARED]
                    + enter[2]
                    + 2.0 * (k.OLD_SHARE * waiting_age + (1.0 - k.OLD_SHARE) * held_age)
                )
                ps[:, k.REQUESTS], ps[:, k.AGES], ps[:, k.AGES_SQUARED] = held, held_age, olders * hold
                out = np.stack([requests, older, olders]) * go
                calls += held.sum(0)
                ages += held_age.sum(0)
                rest += (held * ps[:, k.REMAINING]).sum(0)
                leave += (1.0 - ps[:, k.CONTINUE]) * out
                enter = ps[:, k.CONTINUE] * out
            visits, natural = el[:, k.VISITS], el[:, k.NATURAL]
            wanted = visits * fast + el[:, k.SPREAD] + visits * visits * common
            corrected = leave[2] + leave[0] * wait**2 * (wanted - natural)
            if ph.shape[1] == self.phase.shape[2]:
                corrected = np.where(
                    visits > k.MAX_PHASES + 0.01, self._rescaled(wanted / natural, first, leave), corrected
                )
            flow, age = flow - first[0] + leave[0], age - first[1] + leave[1]
            square = square - first[2] + corrected
            together = el[:, k.TOGETHER] * wait
            total, squares = total + together, squares + together**2
            failed += expired + lost * calls
            given_up = (lost + on - done) * calls
            misfit = np.clip(calls / (foreseen + 1e-9), 0.25, 4.0)
            sv[k.MISFIT] = np.where(calls > 1e-6, misfit, 1.0)
            sv[k.CALLS], sv[k.DEMAND], sv[k.AGE] = calls, rest, ages
            sv[k.DONE] += done * calls
            sv[k.LOST] += given_up + expired
            sv[k.ARRIVED] += np.maximum(done * calls + given_up + expired + calls - before, 0.0)
            sv[k.LOAD] += 0.5 * (before + calls)
            sv[k.SOJOURN_SQUARED] += (done * calls + given_up) * wait**2 * (1.0 + fast + common)
        self._leave(np.maximum(flow, 0.0), age, square, np.maximum(total**2 - squares, 0.0), failed)

    def _expire(self, sv: Floats, ph: Floats) -> Floats:
        old = sv[k.AGE] > sv[k.CALLS] * (k.YOUNG * self.timeout) + 1e-3
        none: Floats = np.zeros_like(sv[k.CALLS])
        if not old.any():
            return none
        requests, ages, squares = ph[:, :, k.REQUESTS], ph[:, :, k.AGES], ph[:, :, k.AGES_SQUARED]
        scale = 1.0 / self.timeout / (requests + 1e-9)
        mean = np.clip(ages * scale, 0.0, 0.999)
        spread = (squares * scale / self.timeout - mean**2) / (mean * (1.0 - mean) + 1e-6)
        share = _bilinear(self.expiry, mean, np.clip(spread, 0.0, 0.999))
        gone = np.where(old, share * requests, 0.0)
        ph[:, :, k.AGES] = np.where(old, np.maximum(ages - gone * self.timeout, 0.0), ages)
        ph[:, :, k.AGES_SQUARED] = np.where(old, np.maximum(squares - gone * self.timeout**2, 0.0), squares)
        ph[:, :, k.REQUESTS] = requests - gone
        total: Floats = gone.sum((0, 1))
        sv[k.DEMAND] = np.maximum(sv[k.DEMAND] - (gone * ph[:, :, k.REMAINING]).sum((0, 1)), 0.0)
        sv[k.VARIANCE] /= 1.0 + 4.0 * total / (sv[k.CALLS] + 1e-9)
        sv[k.CALLS] -= total
        return total

    def _rates(self, sv: Floats, entering: Floats, demand: Floats) -> tuple[Floats, ...]:
        points = self.pods_table.shape[1]
        rate, served, calls = sv[k.RATE], sv[k.PODS], sv[k.CALLS]
        total = calls + entering
        per_visit = (total + 1e-12) / (sv[k.DEMAND] + demand + 1e-12)
        alive = served > 0.5
        give_up = np.where(alive, sv[k.GIVE_UP], k.NO_POD_RATE)
        z = sv[k.MISFIT] * total / np.maximum(served, 1e-6)
        beta, e = rate * per_visit, 1.0 + give_up * per_visit
        row = sv[k.TABLE_ROW].astype(np.intp)
        p = sv[k.FREE]
        for _ in range(2):
            q = 1.0 - p
            u = q * points
            cell = np.minimum(u, points - 1).astype(np.intp)
            step = self.pods_table[row, cell, 1]
            efficiency = self.pods_table[row, cell, 0] + step * (u - cell)
            slope = efficiency + q * step * points
            b = z + e - beta * (q * efficiency + slope * p)
            bend = beta * slope
            root = np.sqrt(b * b + 4.0 * bend * e)
            p = np.where(b > 0, 2.0 * e / np.maximum(b + root, 1e-30), (root - b) / (2.0 * bend))
            p = np.clip(p, 1e-7, 1.0)
        sv[k.FREE] = p
        q = 1.0 - p
        u = q * points
        cell = np.minimum(u, points - 1).astype(np.intp)
        part = u - cell
        cells = self.pods_table[row, cell].T
        efficiency = cells[0] + cells[1] * part
        done = np.where(alive, rate * p * efficiency, 0.0)
        limited = sv[k.TIMEOUT] < k.LONGEST
        if limited.any():
            ratio = np.minimum(done * sv[k.TIMEOUT], 80.0)
            renege = np.where(ratio > 1e-3, ratio / np.expm1(np.maximum(ratio, 1e-3)), 1.0) / sv[k.TIMEOUT]
            sv[k.GIVE_UP] = np.where(limited, 0.5 * (sv[k.GIVE_UP] + renege), sv[k.GIVE_UP])
            give_up = np.where(alive, sv[k.GIVE_UP], k.NO_POD_RATE)
        drain = rate * (efficiency + q * cells[1] * points) * p * p
        flow = done * calls
        variance = (sv[k.VARIANCE] + 2.0 * flow * per_visit) / (1.0 + 2.0 * drain * per_visit)
        sv[k.VARIANCE] = variance
        common = (cells[4] + cells[5] * part) * np.minimum(variance * drain / (flow + 1e-6), 2.0)
        fast = (cells[2] + cells[3] * part) * (1.0 + common)
        on = done + (1.0 - sv[k.FATAL]) * give_up
        wait = 1.0 / np.maximum(on, 0.01)
        return on, sv[k.FATAL] * give_up, done, fast, common, wait, total / (1.0 + (done + give_up) * per_visit)

    @staticmethod
    def _rescaled(ratio: Floats, first: Floats, leave: Floats) -> Floats:
        per_entry, per_exit = 1.0 / (first[0] + 1e-9), 1.0 / (leave[0] + 1e-9)
        mean_in, mean_out = first[1] * per_entry, leave[1] * per_exit
        variance_in = np.maximum(first[2] * per_entry - mean_in**2, 0.0)
        added = leave[2] * per_exit - mean_out**2 - variance_in
        scaled: Floats = np.where(added > 0, leave[0] * (mean_out**2 + variance_in + added * ratio), leave[2])
        return scaled

    def _leave(self, flow: Floats, age: Floats, square: Floats, shared: Floats, failed: Floats) -> None:
        klass, mesh = self.klass, self.mesh
        some = flow > 1e-6
        per_request = 1.0 / np.maximum(flow, 1e-6)
        last_mean, last_square = klass[:, k.LAST_MEAN].copy(), klass[:, k.LAST_SQUARE].copy()
        mean = np.where(some, age * per_request + 1e-6, last_mean)
        square = np.where(some, square * per_request + shared, last_square)
        klass[:, k.LAST_MEAN], klass[:, k.LAST_SQUARE] = mean, square
        known = last_mean > 0
        mean = np.where(known, 0.5 * (mean + last_mean), mean)
        square = np.where(known, 0.5 * (square + last_square), square)
        base, slo = klass[:, k.BASE], mesh[k.SLO]
        total, latency = flow.sum(0), (flow * (mean + base)).sum(0)
        spread = np.maximum(square / (mean * mean + 1e-12) - 1.0, 0.0)
        x = np.maximum(slo - base, 0.0) / (mean + 1e-6)
        tail = _bilinear(self.tail_table, spread / (1.0 + spread), x / (1.0 + x))
        exceeding = (flow * tail).sum(0)
        average = latency / (total + 1e-9)
        is_slow = average > slo
        for column, value in enumerate((flow, flow * mean, flow * square)):
            klass[:, k.FLOW + column] += np.where(is_slow, 0.0, value)
            klass[:, k.FLOW + k.SLOW + column] += np.where(is_slow, value, 0.0)
        mesh[k.MEAN_LATENCY] = np.where(total > 1e-6, average, mesh[k.MEAN_LATENCY])
        mesh[k.FAILED] += failed
        finished = total + failed
        excess = np.maximum(exceeding - k.EXCEEDING_SHARE * finished, failed - k.FAILING_SHARE * finished)
        mesh[k.VIOLATING] += (finished > 1e-6) & (excess > 0)


def _bilinear(table: Floats, first: Floats, second: Floats) -> Any:
    """`table` [i, j, 4] of bilinear cells at positions in [0, 1]."""
    u, v = np.minimum(first, 0.9999) * table.shape[0], np.minimum(second, 0.9999) * table.shape[1]
    i, j = u.astype(np.intp), v.astype(np.intp)
    cell = np.moveaxis(table[i, j], -1, 0)
    return cell[0] + cell[1] * (v - j) + (cell[2] + cell[3] * (v - j)) * (u - i)
