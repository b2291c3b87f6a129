"""A frozen copy of the policy that PPO is held near to while it learns (KL(policy || clone))."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from encoders.state import EncoderState
from gnnrl.agents.observation_scaler import ObservationScaler
from gnnrl.agents.policy_model import PolicyModel
from gnnrl.rl.distributions import MaskedCategorical
from gnnrl.rl.storage import Array, RolloutStorage
from graph_space.schema import ACTION_MASK

__all__ = ["FrozenClone"]


class FrozenClone:
    """Weights and statistics of the moment of its making, and a memory of its own that runs along with the rollouts."""

    def __init__(self, model: PolicyModel, scaler: ObservationScaler) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.scaler = copy.deepcopy(scaler)
        self.state: EncoderState | None = None

    @torch.no_grad()
    def log_probs(self, storage: RolloutStorage, select: bool) -> Array:
        """Log-probabilities [T, B, N, K] of all moves of a closed rollout, at its temperatures; the clone's memory advances over it."""
        envs, num_moves = storage.num_envs, storage.obs[ACTION_MASK].shape[-1]
        slots = storage.obs[ACTION_MASK].shape[-2]
        device = next(self.model.parameters()).device
        out = np.zeros((storage.length, envs, slots, num_moves), np.float32)
        state = self.state or self.model.initial_state(envs, slots)
        for chunk in range(storage.num_chunks):
            chunks = chunk * envs + np.arange(envs)
            obs = storage.chunk_observations(chunks)
            t, b = storage.chunk_rows(chunks)
            sequence = self.scaler.sequence(obs, storage.episode_start[t, b])
            flat = sequence.flat_slot.numpy()
            mask = torch.from_numpy(obs[ACTION_MASK].reshape(-1, num_moves)[flat].astype(np.bool_)).to(device)
            sequence = sequence.to(device)
            judged = self.model(sequence, state)
            graph = sequence.row_graph if select else None
            logits = judged.logits
            if storage.temperature is not None:
                temperature = torch.from_numpy(storage.temperature[t, b].reshape(-1)).to(device)
                logits = logits / temperature[sequence.row_graph].unsqueeze(-1)
            policy = MaskedCategorical(logits, mask, graph, sequence.num_graphs, check=False)
            rows = out[t[0, 0] : t[-1, 0] + 1].reshape(-1, num_moves)
            rows[flat] = policy.log_probs.cpu().numpy()
            state = judged.state
        self.state = state
        return out

    def state_dict(self) -> dict[str, Any]:
        """Weights, statistics and memory."""
        state = None if self.state is None else list(self.state)
        return {"model": self.model.state_dict(), "scaler": self.scaler.state_dict(), "state": state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.model.load_state_dict(saved["model"])
        self.scaler.load_state_dict(saved["scaler"])
        self.state = None if saved["state"] is None else EncoderState(*saved["state"])
