"""Memory: against PyG's TGNMemory, one graph at a time and on the disjoint union."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.random_graphs import EDGE_FEATURES, NODE_FEATURES, padded_observations
from benchmarks.timing import alternate
from encoders import EncoderState, compact
from encoders.memory import TemporalMemory

NODES, CALLS, MEMORY, MESSAGE, TIME = 11, 16, 32, 32, 8
BATCHES = (64, 512)


class _Message(nn.Module):
    out_channels = MESSAGE

    def __init__(self, layer: nn.Linear, reverse: bool) -> None:
        super().__init__()
        self.layer = layer
        self.reverse = reverse

    def forward(self, z_src: Tensor, z_dst: Tensor, raw_msg: Tensor, t_enc: Tensor) -> Tensor:
        caller, callee, edge = raw_msg.split([NODE_FEATURES, NODE_FEATURES, EDGE_FEATURES], dim=1)
        own, other = (caller, callee) if self.reverse else (callee, caller)
        flag = torch.full((len(edge), 1), float(self.reverse))
        return torch.relu(self.layer(torch.cat([z_src, z_dst, own, other, edge, flag, t_enc], dim=1)))


def _pyg_memory(ours: TemporalMemory, nodes: int) -> Any:
    from torch_geometric.nn.models.tgn import MeanAggregator, TGNMemory

    message = _Message(ours.message, reverse=True)
    theirs = TGNMemory(nodes, 2 * NODE_FEATURES + EDGE_FEATURES, MEMORY, TIME, message, MeanAggregator())
    theirs.msg_d_module = _Message(ours.message, reverse=False)
    theirs.gru.load_state_dict(ours.gru.state_dict())
    with torch.no_grad():
        theirs.time_enc.lin.weight.copy_(ours.frequency.unsqueeze(1))
        theirs.time_enc.lin.bias.copy_(ours.phase)
    theirs.train()
    return theirs


def measure() -> Iterator[dict[str, Any]]:
    """One step of all environments: update with the calls, then the memory of every node.

    Ours starts from the padded observation, so it pays for the compaction; PyG gets its edges ready.
    """
    torch.set_num_threads(1)
    ours = TemporalMemory(NODE_FEATURES, EDGE_FEATURES, MEMORY, MESSAGE, TIME)
    one = _runs(ours, 1)
    for batch in BATCHES:
        union = _runs(ours, batch)
        spent = alternate({"one": one[1], "union": union[1], "ours": union[0]})
        a_graph = spent["ours"] / batch
        yield {
            "figure": f"PyG one graph / ours a graph, B={batch}",
            "value": spent["one"] / a_graph,
            "unit": "x",
            "aim": ">= 30",
        }
        yield {
            "figure": f"PyG union / ours, B={batch}",
            "value": spent["union"] / spent["ours"],
            "unit": "x",
            "aim": ">= 5",
        }
        yield {"figure": f"ours a graph, B={batch}", "value": 1e6 * a_graph, "unit": "us"}


def _runs(ours: TemporalMemory, batch: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    obs, start = padded_observations(1, batch, NODES, CALLS, slots=20, max_calls=400)
    state = EncoderState(torch.zeros(batch, 20, MEMORY), torch.zeros(batch, 20))
    sequence = compact(obs, start)
    theirs = _pyg_memory(ours, sequence.num_rows)
    caller, callee = sequence.edge_source, sequence.edge_target
    raw = torch.cat([sequence.nodes[caller], sequence.nodes[callee], sequence.edges], dim=1)
    everyone = torch.arange(sequence.num_rows)
    clock = [0]

    @torch.no_grad()
    def run_ours() -> Tensor:
        step = compact(obs, start)
        return ours(step.nodes, step, state)[0]

    @torch.no_grad()
    def run_theirs() -> Tensor:
        clock[0] += 15
        theirs.update_state(caller, callee, torch.full_like(caller, clock[0]), raw)
        memory: Tensor = theirs(everyone)[0]
        return memory

    run_theirs()
    theirs.memory.zero_()
    heard = np.diff(sequence.adjacency_ptr.numpy()) > 0
    torch.testing.assert_close(run_ours()[heard], theirs(everyone)[0][heard], rtol=1e-5, atol=1e-5)
    return run_ours, run_theirs
