"""The simulator's arrays as plain bytes and back, for files that know numbers and no records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.layout import ENVIRONMENT, QUEUED, REPLICA, TABLE_ROW, Arrays

__all__ = ["restored", "taken"]

_RECORDS: Mapping[str, np.dtype[Any]] = {
    "environments": ENVIRONMENT,
    "replicas": REPLICA,
    "rings": QUEUED,
    "tables": TABLE_ROW,
}


def taken(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """A copy of every array by name; records as uint8, their bytes along the last axis."""
    return {
        name: array.view(np.uint8).copy() if name in _RECORDS else array.copy()
        for name, array in arrays._asdict().items()
    }


def restored(saved: Mapping[str, NDArray[Any]], like: Arrays) -> Arrays:
    """The arrays that `taken` copied; rings may have another capacity than those of `like`.

    Raises:
        ValueError: an array has not the shape that it has in `like`.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, ours in like._asdict().items():
        array = np.array(saved[name], order="C")
        found[name] = array = array.view(_RECORDS[name]) if name in _RECORDS else array
        theirs, wanted = (array.shape[:2], ours.shape[:2]) if name == "rings" else (array.shape, ours.shape)
        if theirs != wanted:
            raise ValueError(
                f"{name} of the saved simulation have shape {theirs}, here it is {wanted}: it was another model"
            )
    return Arrays(**found)
