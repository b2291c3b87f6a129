"""Graph encoders with memory per node, for graphs whose nodes come and go."""

from encoders.base import GraphEncoder, Kernel
from encoders.batching import compact
from encoders.combined import SummedEncoder, build_encoder
from encoders.dynamic_tgn import DynamicTGNEncoder
from encoders.gnn import GNNEncoder
from encoders.mlp import MLPEncoder
from encoders.pyg import to_batch, to_data, to_observation
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState, initial_state, remap

__all__ = [
    "DynamicTGNEncoder",
    "EncoderState",
    "GNNEncoder",
    "GraphEncoder",
    "Kernel",
    "MLPEncoder",
    "SequenceBatch",
    "SummedEncoder",
    "build_encoder",
    "compact",
    "initial_state",
    "remap",
    "to_batch",
    "to_data",
    "to_observation",
]
