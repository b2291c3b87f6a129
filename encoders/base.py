"""GraphEncoder: the one interface of every network under a policy, with memory or without."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from encoders.batching import compact
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState, initial_state

__all__ = ["GraphEncoder", "Kernel", "use_numba"]

Kernel = Literal["auto", "numba", "torch"]
"""`numba` compiled kernels (CPU, float32), `torch` the plain path (any device), `auto` numba on the CPU."""


def use_numba(kernel: Kernel, device: torch.device) -> bool:
    """Whether tensors on `device` go through the compiled kernels.

    Raises:
        ValueError: `numba` was asked for off the CPU.
    """
    if kernel == "numba" and device.type != "cpu":
        raise ValueError(f"kernel='numba' runs on the CPU, the tensors are on {device}; use kernel='torch' or 'auto'")
    return kernel != "torch" and device.type == "cpu"


class GraphEncoder(nn.Module):
    """Embeds every real node of an observation; may carry memory per node in an `EncoderState`."""

    out_dim: int
    """D, width of an embedding."""
    memory_dim: int
    """M, width of the memory of a node; 0 = stateless."""
    slots: int | None = None
    """Slots it is bound to; None = any number."""

    def initial_state(self, batch_size: int, max_nodes: int) -> EncoderState:
        """State before the first observation: zeros [B, N, M] and [B, N]."""
        device = next(self.parameters()).device
        return initial_state(batch_size, max_nodes, self.memory_dim, device)

    def step(self, obs: Mapping[str, Any], state: EncoderState, episode_start: Any) -> tuple[Tensor, EncoderState]:
        """One time step.

        Args:
            obs: padded arrays or tensors [B, ...].
            state: state after the observation before.
            episode_start: [B] bool, true where `obs` is the first of an episode.

        Returns:
            Embeddings [B, N, D], zero in empty slots, and the new state.

        Raises:
            KeyError, ValueError: what `compact` does not take; features or a state of other widths than the network's.
        """
        batched = {key: (value if isinstance(value, Tensor) else np.asarray(value))[None] for key, value in obs.items()}
        sequence = self._compact(batched, episode_start)
        rows, state = self.forward_compact(sequence, state)
        return sequence.to_padded(rows)[0], state

    def unroll(self, obs: Mapping[str, Any], state: EncoderState, episode_start: Any) -> tuple[Tensor, EncoderState]:
        """T time steps: obs [T, B, ...], episode_start [T, B] -> embeddings [T, B, N, D], state after the last."""
        sequence = self._compact(obs, episode_start)
        rows, state = self.forward_compact(sequence, state)
        return sequence.to_padded(rows), state

    @abstractmethod
    def forward_compact(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Embeddings [R, D] of the rows of a prepared sequence, and the state after its last step."""

    def forward(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """`forward_compact`, under the name that module hooks and compilers expect."""
        return self.forward_compact(sequence, state)

    def _compact(self, obs: Mapping[str, Any], episode_start: Any) -> SequenceBatch:
        device = next(self.parameters()).device
        if device.type == "cpu":
            return compact(obs, episode_start)
        host = {key: value.cpu() if isinstance(value, Tensor) else value for key, value in obs.items()}
        if isinstance(episode_start, Tensor):
            episode_start = episode_start.cpu()
        return compact(host, episode_start).to(device)
