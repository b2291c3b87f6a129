"""The features of a row: its node's, and its graph's."""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.sequence import SequenceBatch

__all__ = ["node_features"]


def node_features(sequence: SequenceBatch) -> Tensor:
    """[R, F + G]. A layer on this is the sum of one on the node and one on the graph, at the price of one product."""
    return torch.cat([sequence.nodes, sequence.globals.index_select(0, sequence.row_graph)], dim=1)
