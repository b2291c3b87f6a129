"""ActorCritic: the recurrent network on a flat state, as documented for routing; what the graph network is compared with."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gnnrl.rl.distributions import MaskedCategorical

__all__ = ["ActorCritic"]

LOGIT_BOUND = 5.0
"""Logits lie within +- this, so that no action is ever out of reach: at most e^10 times likelier than another."""


class ActorCritic(nn.Module):
    """Projection, MLP and GRU under an actor and a critic.

    Projection: LayerNorm, Linear, GELU, Linear. MLP: 1 + `layers` times Linear, LayerNorm, ReLU. Then, time first, a GRU.
    Decoupled: the actor branch (twice Linear, LayerNorm, ReLU; Linear to the actions) stands on that GRU; the critic branch
    (twice Linear, ReLU; a GRU of its own; Linear to 1) on the MLP, so that the value shapes no memory that the policy reads.
    Not decoupled: both last layers stand on the one GRU. Logits are bounded by `LOGIT_BOUND` tanh(x / `LOGIT_BOUND`).

    `hxs` [`state_layers`, N, hidden] holds the layers of the GRU under the actor first and, where decoupled, those of the
    critic's after them.

    Args:
        state_dim: S, width of the state.
        num_actions: A.
        hidden: width of everything inside.
        layers: of the MLP, beside its first.
        gru_layers: of each GRU.
        decoupled: whether actor and critic have branches of their own.
    """

    def __init__(
        self,
        state_dim: int,
        num_actions: int,
        *,
        hidden: int = 128,
        layers: int = 2,
        gru_layers: int = 2,
        decoupled: bool = True,
    ) -> None:
        super().__init__()
        self.hidden, self.gru_layers, self.decoupled = hidden, gru_layers, decoupled
        self.projection = nn.Sequential(
            nn.LayerNorm(state_dim), nn.Linear(state_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.mlp = nn.Sequential(*(_block(hidden) for _ in range(1 + layers)))
        self.gru = nn.GRU(hidden, hidden, gru_layers)
        self.actor = nn.Sequential(*(_block(hidden) for _ in range(2))) if decoupled else nn.Identity()
        self.logits = nn.Linear(hidden, num_actions)
        self.critic: nn.Module = nn.Identity()
        self.critic_gru: nn.GRU | None = None
        if decoupled:
            self.critic = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
            self.critic_gru = nn.GRU(hidden, hidden, gru_layers)
        self.value = nn.Linear(hidden, 1)
        self.reset_parameters()

    @property
    def state_layers(self) -> int:
        """Layers of `hxs`."""
        return self.gru_layers * (2 if self.decoupled else 1)

    def reset_parameters(self) -> None:
        """Draw the weights anew: orthogonal, the last layers small."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.orthogonal_(parameter, 1.0 if "gru" in name else math.sqrt(2.0))
            elif name.endswith("bias") or "bias_" in name:
                nn.init.zeros_(parameter)
        nn.init.orthogonal_(self.logits.weight, 0.01)
        nn.init.orthogonal_(self.value.weight, 0.1)

    def judge(self, s: Tensor, hxs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [T * N, A], values [T * N] and the state after the last step.

        Args:
            s: [T * N, S], time first; T is what N, read from `hxs`, leaves.
            hxs: [state_layers, N, hidden], before the first step.
            masks: [T * N, 1], 0 where an episode starts: nothing is remembered there.

        Raises:
            ValueError: shapes that do not fit each other.
        """
        layers, envs, width = hxs.shape
        if (layers, width) != (self.state_layers, self.hidden):
            raise ValueError(f"hxs has shape {tuple(hxs.shape)}; expected ({self.state_layers}, N, {self.hidden})")
        if len(s) % envs or masks.shape != (len(s), 1):
            raise ValueError(
                f"s has {len(s)} rows, masks the shape {tuple(masks.shape)}, hxs {envs} environments; expected T * N rows, "
                "masks [T * N, 1]"
            )
        steps = len(s) // envs
        kept = masks.view(steps, envs) != 0
        shared = self.mlp(self.projection(s)).view(steps, envs, width)
        remembered, after = _recur(self.gru, shared, hxs[: self.gru_layers], kept)
        valued = remembered
        if self.critic_gru is not None:
            valued, own = _recur(self.critic_gru, self.critic(shared), hxs[self.gru_layers :], kept)
            after = torch.cat([after, own])
        raw = self.logits(self.actor(remembered)).view(steps * envs, -1)
        return LOGIT_BOUND * torch.tanh(raw / LOGIT_BOUND), self.value(valued).view(-1), after

    @torch.no_grad()
    def act_value(
        self,
        s: Tensor,
        hxs: Tensor,
        masks: Tensor,
        temperature: float = 1.0,
        legal_mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw an action a row: action [N], its log-probability [N] under the tempered distribution, value [N], next `hxs`.

        Args:
            s: [N, S].
            hxs: [state_layers, N, hidden].
            masks: [N, 1], 0 where an episode starts.
            temperature: logits are divided by it.
            legal_mask: [N, A] bool, true = legal; None = every action is.
            generator: of the draw; None = torch's own.

        Raises:
            ValueError: shapes that do not fit, or a temperature that is not above 0.
            EmptyMaskError: a row has no legal action.
        """
        logits, value, after = self.judge(s, hxs, masks)
        policy = _policy(logits, temperature, legal_mask)
        action = torch.multinomial(policy.log_probs.exp(), 1, generator=generator).squeeze(1)
        return action, _log_prob(policy, action), value, after

    def evaluate_actions(
        self,
        s: Tensor,
        hxs: Tensor,
        masks: Tensor,
        a: Tensor,
        temperature: float = 1.0,
        legal_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probability, entropy and value [T * N] of actions taken, and `hxs` after the last step; with gradient.

        Args:
            s: [T * N, S], time first.
            hxs: [state_layers, N, hidden], before the first step.
            masks: [T * N, 1], 0 where an episode starts.
            a: [T * N] int64.
            temperature: that the actions were drawn at.
            legal_mask: [T * N, A] bool; None = every action is legal.

        Raises:
            ValueError: as `act_value`.
            EmptyMaskError: a row has no legal action.
        """
        logits, value, after = self.judge(s, hxs, masks)
        policy = _policy(logits, temperature, legal_mask)
        return _log_prob(policy, a), policy.entropy(), value, after


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())


def _recur(gru: nn.GRU, x: Tensor, state: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """A GRU over x [T, N, H] from `state` [layers, N, H], forgotten where `kept` [T, N] is false; cut where any episode starts."""
    starts = (~kept[1:]).any(dim=1).nonzero().view(-1) + 1
    parts = []
    for first, end in pairwise([0, *starts.tolist(), len(x)]):
        # A choice, not a product: what a finished episode left behind may be anything.
        state = torch.where(kept[first].view(1, -1, 1), state, 0.0)
        part, state = gru(x[first:end], state)
        parts.append(part)
    return torch.cat(parts), state


def _policy(logits: Tensor, temperature: float, legal_mask: Tensor | None) -> MaskedCategorical:
    if not temperature > 0.0:
        raise ValueError(f"temperature {temperature} is not above 0")
    return MaskedCategorical(
        logits / temperature, torch.ones_like(logits, dtype=torch.bool) if legal_mask is None else legal_mask
    )


def _log_prob(policy: MaskedCategorical, action: Tensor) -> Tensor:
    rows, actions = policy.log_probs.shape
    return policy.log_prob(torch.arange(rows, device=action.device) * actions + action)
