"""Where both are defined, the memory is that of PyG's `TGNMemory` with the same weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn.models.tgn import MeanAggregator, TGNMemory

from encoders import EncoderState, compact
from encoders.memory import TemporalMemory

NODES, FEATURES, EDGE_FEATURES, MEMORY, MESSAGE, TIME = 6, 3, 2, 5, 4, 3


class Message(nn.Module):
    """The message layer on PyG's arguments. A raw message is [features of the caller, of the callee, edge]."""

    out_channels = MESSAGE

    def __init__(self, layer: nn.Linear, reverse: bool) -> None:
        super().__init__()
        self.layer = layer
        self.reverse = reverse

    def forward(self, z_src: Tensor, z_dst: Tensor, raw_msg: Tensor, t_enc: Tensor) -> Tensor:
        caller, callee, edge = raw_msg.split([FEATURES, FEATURES, EDGE_FEATURES], dim=1)
        # PyG's src is the node that keeps the message: the callee of calls it hears along, the caller of those in reverse.
        own, other = (caller, callee) if self.reverse else (callee, caller)
        flag = torch.full((len(edge), 1), float(self.reverse))
        return torch.relu(self.layer(torch.cat([z_src, z_dst, own, other, edge, flag, t_enc], dim=1)))


def pyg_memory(ours: TemporalMemory) -> TGNMemory:
    theirs = TGNMemory(
        NODES, 2 * FEATURES + EDGE_FEATURES, MEMORY, TIME, Message(ours.message, reverse=True), MeanAggregator()
    )
    theirs.msg_d_module = Message(ours.message, reverse=False)
    theirs.gru.load_state_dict(ours.gru.state_dict())
    with torch.no_grad():
        theirs.time_enc.lin.weight.copy_(ours.frequency.unsqueeze(1))
        theirs.time_enc.lin.bias.copy_(ours.phase)
    theirs.train()
    return theirs


def test_equal_to_tgn_memory() -> None:
    """Every node has a call at every step: PyG would also feed the GRU an empty message of a node that has none."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ours = TemporalMemory(FEATURES, EDGE_FEATURES, MEMORY, MESSAGE, TIME, kernel="numba")
    theirs = pyg_memory(ours)
    state = EncoderState(torch.zeros(1, NODES, MEMORY), torch.zeros(1, NODES))
    clock = 0
    for t in range(5):
        elapsed = 0 if t == 0 else int(rng.choice([5, 15, 60]))
        clock += elapsed
        extra = rng.integers(0, NODES, size=(2, 5))
        ring = np.stack([np.arange(NODES), np.roll(np.arange(NODES), 1)])
        edge_index = np.concatenate([ring, extra], axis=1)
        nodes = rng.normal(size=(NODES, FEATURES)).astype(np.float32)
        edges = rng.normal(size=(edge_index.shape[1], EDGE_FEATURES)).astype(np.float32)
        obs = {
            "nodes": nodes[None],
            "edges": edges[None],
            "edge_index": edge_index[None],
            "globals": np.zeros((1, 0), dtype=np.float32),
            "node_mask": np.ones((1, NODES), dtype=np.int8),
            "edge_mask": np.ones((1, edge_index.shape[1]), dtype=np.int8),
            "prev_slot": np.arange(NODES)[None] if t else np.full((1, NODES), -1),
            "elapsed_seconds": np.full(1, elapsed, dtype=np.float32),
        }
        sequence = compact(obs)
        memory, state = ours(sequence.nodes, sequence, state)

        caller, callee = torch.from_numpy(edge_index)
        features = torch.from_numpy(nodes)
        raw = torch.cat([features[caller], features[callee], torch.from_numpy(edges)], dim=1)
        theirs.update_state(caller, callee, torch.full_like(caller, clock), raw)
        if t == 0:
            # That call fed the empty message of before the first event to the GRU; take its effect back.
            theirs.memory.zero_()
        expected, last_update = theirs(torch.arange(NODES))
        torch.testing.assert_close(memory, expected, rtol=1e-5, atol=1e-6)
        assert last_update.tolist() == [clock] * NODES
        assert state.age_seconds.tolist() == [[0.0] * NODES]
        theirs.detach()
    assert float(memory.detach().abs().max()) > 0.1
    # Negative control: the direction of a call matters to the numbers compared here.
    theirs.msg_s_module.reverse, theirs.msg_d_module.reverse = False, True
    wrong, _ = theirs(torch.arange(NODES))
    assert float((wrong - memory).detach().abs().max()) > 1e-3
