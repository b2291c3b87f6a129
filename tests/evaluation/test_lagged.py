"""Each mesh is shown the window that is as old as its metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from gnnrl.evaluation.lagged import Lagged, lag_windows


@dataclass
class Sample:
    load: NDArray[np.float64]  # [B]
    cpu: NDArray[np.float64]  # [B, S]


def pushed(lags: list[float], windows: int, before: int = 0) -> Lagged[Sample]:
    lagged = Lagged[Sample](max(lags), 15, before)
    lagged.start(lags)
    for k in range(windows):
        mesh = np.arange(len(lags), dtype=np.float64)
        lagged.push(Sample(load=10.0 * k + mesh, cpu=np.stack([10.0 * k + mesh, 100.0 + 10.0 * k + mesh], axis=1)))
    return lagged


def test_each_mesh_has_its_own_age() -> None:
    shown = pushed([0.0, 15.0, 45.0], 6).shown()
    assert shown.load.tolist() == [50.0, 41.0, 22.0]
    assert shown.cpu.tolist() == [[50.0, 150.0], [41.0, 141.0], [22.0, 122.0]]
    assert pushed([30.0, 30.0], 6).shown().load.tolist() == [30.0, 31.0]


def test_one_before_and_the_oldest_there_is() -> None:
    assert pushed([0.0, 45.0], 6, before=1).shown(before=1).load.tolist() == [40.0, 11.0]
    assert pushed([0.0, 45.0], 2).shown().load.tolist() == [10.0, 1.0], "nothing is as old as that"
    assert len(pushed([0.0, 45.0], 9)) == 4, "no longer than it may be shown"


@pytest.mark.parametrize(("lag", "period", "windows"), [(15, 15, 1), (15, 2, 8), (16, 15, 2), (0, 15, 0)])
def test_a_lag_reaches_back_whole_windows(lag: float, period: int, windows: int) -> None:
    assert lag_windows(lag, period) == windows
