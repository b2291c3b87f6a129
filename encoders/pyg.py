"""Observations as `torch_geometric.data.Data` and `Batch`, and back: only what is real, edges between rows instead of slots.

PyTorch Geometric is imported where it is used, so that reading this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    FLOAT,
    GLOBALS,
    INDEX,
    KEYS,
    MASK,
    NODE_MASK,
    NODES,
    PREV_SLOT,
    GraphObservation,
    GraphSchema,
)

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

__all__ = ["to_batch", "to_data", "to_observation"]

Observation = Mapping[str, Any]

_NAMES = {"x_names": NODES, "edge_attr_names": EDGES, "u_names": GLOBALS}
_OF_DATA = ("x", "edge_index", "edge_attr", "u", "slot", "prev_slot", "elapsed_seconds", "action_mask")


def to_data(observation: Observation, schema: GraphSchema | None = None) -> Data:
    """One observation as a PyG graph of its n real nodes and e real edges.

    Args:
        observation: arrays without a leading axis, keys of `graph_space.schema`.
        schema: also puts the names of the columns into `x_names`, `edge_attr_names` and `u_names`.

    Returns:
        `Data` with tensors of its own: `x` float32 [n, F], rows in the order of the slots; `edge_index` int64 [2, e],
        source row and target row; `edge_attr` float32 [e, Fe]; `u` float32 [1, G], the graph's features; `slot` int64
        [n], where each row stood; `prev_slot` int64 [n] (slots, not rows); `elapsed_seconds` float32 [1]; `action_mask`
        bool [n, K].

    Raises:
        KeyError: a key is missing.
        ValueError: the observation is a batch, an edge ends at an empty slot, or the schema has other columns.
    """
    from torch_geometric.data import Data

    arrays = _arrays(observation, leading=0)
    slots = np.flatnonzero(arrays[NODE_MASK])
    real = np.flatnonzero(arrays[EDGE_MASK])
    max_nodes = len(arrays[NODE_MASK])
    row_of_slot = np.full(max_nodes, -1, dtype=np.int64)
    row_of_slot[slots] = np.arange(len(slots))
    ends = arrays[EDGE_INDEX][:, real]
    inside = (ends >= 0) & (ends < max_nodes)
    rows = np.where(inside, row_of_slot[np.where(inside, ends, 0)], -1)
    if (rows < 0).any():
        stray = int(np.flatnonzero((rows < 0).any(0))[0])
        raise ValueError(
            f"{EDGE_INDEX}: edge {int(real[stray])} joins slots {ends[:, stray].tolist()}, of which at least one holds no "
            f"node ({NODE_MASK}); mask the edge or add the node"
        )
    data = Data(
        x=_tensor(arrays[NODES][slots], np.float32),
        edge_index=_tensor(rows, np.int64),
        edge_attr=_tensor(arrays[EDGES][real], np.float32),
        u=_tensor(arrays[GLOBALS][None], np.float32),
        slot=_tensor(slots, np.int64),
        prev_slot=_tensor(arrays[PREV_SLOT][slots], np.int64),
        elapsed_seconds=_tensor(arrays[ELAPSED_SECONDS].reshape(1), np.float32),
        action_mask=_tensor(arrays[ACTION_MASK][slots] != 0, np.bool_),
    )
    if schema is not None:
        for attribute, key in _NAMES.items():
            names, columns = schema.names(key), arrays[key].shape[-1]
            if len(names) != columns:
                raise ValueError(f"{key} has {columns} columns, the schema names {len(names)}: {', '.join(names)}")
            data[attribute] = list(names)
    return data


def to_batch(observations: Observation | Sequence[Observation], schema: GraphSchema | None = None) -> Batch:
    """Observations as one disjoint PyG graph, in their order.

    Args:
        observations: arrays with one leading axis, as a vector environment gives them; or single observations, which
            may be padded to different sizes.
        schema: as in `to_data`.

    Raises:
        KeyError, ValueError: as `to_data`; also where there is no observation at all.
    """
    from torch_geometric.data import Batch

    if isinstance(observations, Mapping):
        arrays = _arrays(observations, leading=1)
        singles: Sequence[Observation] = [
            {key: value[b] for key, value in arrays.items()} for b in range(len(arrays[NODE_MASK]))
        ]
    else:
        singles = observations
    if not singles:
        raise ValueError("to_batch: there is no observation; give at least one")
    return Batch.from_data_list([to_data(single, schema) for single in singles])


def to_observation(data: Data | Batch, max_nodes: int, max_edges: int) -> GraphObservation:
    """The padded arrays of what `to_data` or `to_batch` made; a batch has a leading axis.

    Args:
        data: with all attributes of `to_data`; features may have been changed.
        max_nodes: N, slots.
        max_edges: E.

    Raises:
        ValueError: an attribute is missing, or the graph does not fit.
    """
    from torch_geometric.data import Batch

    if isinstance(data, Batch):
        graphs = [to_observation(graph, max_nodes, max_edges) for graph in data.to_data_list()]
        return {key: np.array([graph[key] for graph in graphs]) for key in KEYS}
    missing = [name for name in _OF_DATA if name not in data]
    if missing:
        raise ValueError(f"Data without {', '.join(missing)}; give one that to_data made")
    values = {name: data[name].detach().cpu().numpy() for name in _OF_DATA}
    slot, edges = values["slot"], values["edge_attr"]
    if len(slot) and int(slot.max()) >= max_nodes:
        raise ValueError(f"a node stands in slot {int(slot.max())}, but max_nodes is {max_nodes}")
    if len(edges) > max_edges:
        raise ValueError(f"the graph has {len(edges)} edges, but max_edges is {max_edges}")
    observation: GraphObservation = {
        NODES: np.zeros((max_nodes, values["x"].shape[1]), FLOAT),
        EDGE_INDEX: np.zeros((2, max_edges), INDEX),
        EDGES: np.zeros((max_edges, edges.shape[1]), FLOAT),
        GLOBALS: values["u"][0].astype(FLOAT),
        NODE_MASK: np.zeros(max_nodes, MASK),
        EDGE_MASK: np.zeros(max_edges, MASK),
        PREV_SLOT: np.full(max_nodes, -1, INDEX),
        ELAPSED_SECONDS: np.asarray(values["elapsed_seconds"][0], FLOAT),
        ACTION_MASK: np.zeros((max_nodes, values["action_mask"].shape[1]), MASK),
    }
    observation[NODES][slot] = values["x"]
    observation[NODE_MASK][slot] = 1
    observation[PREV_SLOT][slot] = values["prev_slot"]
    observation[ACTION_MASK][slot] = values["action_mask"]
    observation[EDGE_INDEX][:, : len(edges)] = slot[values["edge_index"]]
    observation[EDGES][: len(edges)] = edges
    observation[EDGE_MASK][: len(edges)] = 1
    return observation


def _arrays(observation: Observation, leading: int) -> dict[str, NDArray[Any]]:
    """Every key as an array, checked for the number of leading axes."""
    missing = [key for key in KEYS if key not in observation]
    if missing:
        raise KeyError(f"the observation has no {', '.join(missing)}; it has {', '.join(observation)}")
    arrays = {key: np.asarray(observation[key]) for key in KEYS}
    shape = arrays[NODE_MASK].shape
    if len(shape) != 1 + leading:
        what = "to_data takes one observation, to_batch a batch" if leading == 0 else "to_batch takes one leading axis"
        raise ValueError(f"{NODE_MASK} has shape {shape}, expected {1 + leading} axes: {what}")
    return arrays


def _tensor(array: NDArray[Any], dtype: Any) -> torch.Tensor:
    """A copy: the arrays of an observation may be overwritten by the next step."""
    return torch.from_numpy(np.array(array, dtype=dtype))
