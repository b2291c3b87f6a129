"""Measures the queueing tables that the mesh simulator ships (`gnnrl/domains/autoscaling/data/queueing.npz`); run once, offline.

    python -m benchmarks.calibrate_queueing [OUTPUT.npz]

A service is n pods with exponential requirements of mean 1, each pod serving its calls by processor sharing; an arriving call draws two
pods at random (with replacement, as Envoy's least-request balancer does) and joins the one with fewer calls. For one pod the M/M/1-PS
results are exact and used as they are; for more, an event simulation is run over a grid of utilisations and a smooth curve fitted.

Everything is tabulated over q = l / (1 + l), where l is the mean number of calls per pod, on a uniform grid of [0, 1]:

* `efficiency[n, q]` = G / q, where G(l) is the utilisation at which the mean number per pod is l (1 at both ends; 1 throughout for n = 1);
* `fast[n, q]` and `slow[n, q]`: the squared coefficient of variation of the total time of m visits of one request in a row is
  (fast (1 + slow) / m + slow): `slow` is the part that the visits have in common because the number of calls changes slowly.

`gamma_tail[h, y]` = P(X > x) of a gamma variable of mean 1 and squared coefficient of variation c, with h = c / (1 + c), y = x / (1 + x).
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from numba import njit

PODS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 64)
MAX_PODS = 64
RHO = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98])
VISITS = 8
POINTS = 65
TAIL_POINTS = (65, 129)
OUTPUT = Path(__file__).parents[1] / "gnnrl" / "domains" / "autoscaling" / "data" / "queueing.npz"


@njit(cache=True)
def simulate(pods: int, rho: float, visits: int, arrivals: int, seed: int) -> tuple[float, float, float, float]:
    """Mean number per pod, and mean, variance of one visit and variance of `visits` visits in a row, in units of the requirement."""
    np.random.seed(seed)
    capacity = 8192
    count = np.zeros(pods, np.int64)
    joined = np.zeros((pods, capacity))
    entered = np.zeros((pods, capacity))
    left = np.zeros((pods, capacity), np.int64)
    share = rho / visits / (rho / visits + 1.0)
    rate = pods * (rho / visits + 1.0)
    now, area, total = 0.0, 0.0, 0
    n_visits, s1, s2, n_requests, r1, r2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    warm = arrivals // 10
    seen = 0
    start = 0.0
    while seen < arrivals:
        dt = np.random.exponential() / rate
        now += dt
        if seen >= warm:
            area += total * dt
        else:
            start = now
        if np.random.random() < share:
            seen += 1
            remaining, began = visits, now
        else:
            p = np.random.randint(pods)
            if count[p] == 0:
                continue
            j = np.random.randint(count[p])
            sojourn = now - joined[p, j]
            remaining, began = left[p, j] - 1, entered[p, j]
            last = count[p] - 1
            joined[p, j], entered[p, j], left[p, j] = joined[p, last], entered[p, last], left[p, last]
            count[p] = last
            total -= 1
            if seen >= warm:
                n_visits += 1
                s1 += sojourn
                s2 += sojourn * sojourn
            if remaining == 0:
                if seen >= warm:
                    n_requests += 1
                    r1 += now - began
                    r2 += (now - began) ** 2
                continue
        a, b = np.random.randint(pods), np.random.randint(pods)
        p = b if count[b] < count[a] else a
        j = count[p]
        joined[p, j], entered[p, j], left[p, j] = now, began, remaining
        count[p] = j + 1
        total += 1
    mean = s1 / n_visits
    return (
        area / (now - start) / pods,
        s2 / n_visits / mean**2 - 1.0,
        r2 / n_requests / (r1 / n_requests) ** 2 - 1.0,
        mean,
    )


def fitted(
    q: np.ndarray, value: np.ndarray, grid: np.ndarray, ends: tuple[float, float | None], degree: int
) -> np.ndarray:
    """Least-squares polynomial through the given end values (None = free at q = 1)."""
    low, high = ends
    if high is None:
        base, shape = np.full_like(q, low), q
        base_grid, shape_grid = np.full_like(grid, low), grid
    else:
        base, shape = low + (high - low) * q, q * (1.0 - q)
        base_grid, shape_grid = low + (high - low) * grid, grid * (1.0 - grid)
    design = shape[:, None] * np.vander(q, degree + 1)
    coefficients, *_ = np.linalg.lstsq(design, value - base, rcond=None)
    return base_grid + shape_grid * (np.vander(grid, degree + 1) @ coefficients)


def gamma_tail(points: tuple[int, int]) -> np.ndarray:
    """P(X > x) on the (h, y) grid by the incomplete gamma function's series and continued fraction."""
    table = np.zeros(points)
    for i, h in enumerate(np.linspace(0.0, 1.0, points[0])):
        c = min(max(h / max(1.0 - h, 1e-9), 1e-3), 50.0)
        for j, y in enumerate(np.linspace(0.0, 1.0, points[1])):
            table[i, j] = 1.0 if y == 0.0 else 0.0 if y == 1.0 else upper_gamma(1.0 / c, y / (1.0 - y) / c)
    return table


def upper_gamma(k: float, x: float) -> float:
    """Regularised upper incomplete gamma function Q(k, x) (series below k + 1, Lentz's continued fraction above)."""
    log_front = -x + k * math.log(x) - math.lgamma(k)
    if x < k + 1.0:
        term = total = 1.0 / k
        n = k
        while abs(term) > 1e-14 * abs(total):
            n += 1.0
            term *= x / n
            total += term
        return 1.0 - total * math.exp(log_front)
    b = x + 1.0 - k
    c, d = 1e300, 1.0 / b
    h = d
    for i in range(1, 10_000):
        a = -i * (i - k)
        b += 2.0
        d = 1.0 / (a * d + b)
        c = b + a / c
        h *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return h * math.exp(log_front)


def main() -> None:
    grid = np.linspace(0.0, 1.0, POINTS)
    efficiency, fast, slow = (np.ones((len(PODS), POINTS)) for _ in range(3))
    for row, pods in enumerate(PODS):
        q, e, f, s = (np.zeros(len(RHO)) for _ in range(4))
        for i, rho in enumerate(RHO):
            arrivals = int(1.5e6 + 2e6 * rho / (1.0 - rho) ** 0.5) // 2
            number, _, _, _ = simulate(pods, rho, 1, arrivals, 7 * i + row)
            _, one, many, _ = simulate(pods, rho, VISITS, arrivals // 4, 7 * i + row + 1000)
            if pods == 1:
                number, one = rho / (1.0 - rho), (2.0 + rho) / (2.0 - rho)
            q[i] = number / (1.0 + number)
            e[i] = rho / q[i]
            common = max((VISITS * many - one) / (VISITS - 1.0), 0.0)
            s[i], f[i] = common, (one - common) / (1.0 + common)
        efficiency[row] = fitted(q, e, grid, (1.0, 1.0), 5) if pods > 1 else 1.0
        slow[row] = np.maximum(fitted(q, s, grid, (0.0, 1.0), 5), 0.0)
        fast[row] = fitted(q, f, grid, (1.0, 1.0), 5)
        residual = np.abs(np.interp(q, grid, efficiency[row]) - e).max()
        print(
            f"{pods:3d} pods: residual {residual:.4f}, at rho 0.9 q {q[11]:.3f} slow {s[11]:.3f} fast {f[11]:.3f}",
            flush=True,
        )
    pods_axis = np.log(np.arange(1, MAX_PODS + 1))
    tables = {
        name: np.array([np.interp(pods_axis, np.log(PODS), column) for column in table.T], dtype=np.float32).T
        for name, table in (("efficiency", efficiency), ("fast", fast), ("slow", slow))
    }
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    np.savez_compressed(output, gamma_tail=gamma_tail(TAIL_POINTS).astype(np.float32), **tables)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
