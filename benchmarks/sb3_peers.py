"""Stable-Baselines3's PPO on the same vector environment: with its MLP on the flattened observation, or with the encoder built from PyG.

Comes with `pip install gnnrl[bench]`. Both peers are given the environment's action mask in the observation and nothing else of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor, nn

from gnnrl.config.experiment import AutoscalingConfig, EncoderConfig, PPOConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from graph_space.schema import ACTION_MASK, EDGES, ELAPSED_SECONDS, GLOBALS, NODE_MASK, NODES, GraphObservation

__all__ = ["Encoder", "Meshes", "Peer"]

Encoder = Literal["pyg", "mlp"]
FEATURES = (NODES, EDGES, GLOBALS, ELAPSED_SECONDS)
"""What is normalised; masks and indices are left as they are."""


class PyGEncoder(nn.Module):
    """The `tgn+gnn` encoder in PyG, on padded observations: messages, mean, GRU, attention; plus two attention layers.

    Stable-Baselines3 hands no memory from step to step, so every observation starts from zeros, at the same price.
    """

    def __init__(self, space: spaces.Dict, settings: EncoderConfig) -> None:
        from torch_geometric.nn import TransformerConv

        super().__init__()
        node, edge, whole = (space[key].shape[-1] for key in (NODES, EDGES, GLOBALS))
        self.hidden, self.memory = settings.hidden, settings.memory_dim
        self.features_dim = space[NODE_MASK].shape[0] * self.hidden
        features, edge_dim = node + whole, edge + 1
        self.message = nn.Linear(2 * self.memory + 2 * features + edge_dim + 8, self.memory)
        self.clock = nn.Linear(1, 8)
        self.gru = nn.GRUCell(self.memory, self.memory)
        width, heads = self.hidden // settings.heads, settings.heads
        self.temporal = TransformerConv(self.memory + features, width, heads, edge_dim=edge_dim)
        self.first = TransformerConv(features, width, heads, edge_dim=edge_dim)
        self.second = TransformerConv(self.hidden, width, heads, edge_dim=edge_dim)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        from torch_geometric.utils import scatter

        batch, slots, _ = obs[NODES].shape
        real, calls = obs["node_mask"].bool(), obs["edge_mask"].bool()
        place = torch.full((batch * slots,), -1, dtype=torch.long)
        place[real.flatten()] = torch.arange(int(real.sum()))
        x = torch.cat([obs[NODES], obs[GLOBALS].unsqueeze(1).expand(-1, slots, -1)], dim=2)[real]
        offset = (torch.arange(batch) * slots).unsqueeze(1)
        source, target = (place[(obs["edge_index"][:, end].long() + offset)[calls]] for end in (0, 1))
        features = obs[EDGES][calls]
        one = torch.ones(len(features), 1)
        index = torch.stack([torch.cat([source, target]), torch.cat([target, source])])
        edges = torch.cat([torch.cat([features, 0 * one], 1), torch.cat([features, one], 1)])
        memory = x.new_zeros(len(x), self.memory)
        age = torch.cos(self.clock(obs[ELAPSED_SECONDS].reshape(-1, 1).expand(-1, slots)[real].unsqueeze(1)))
        speaker, hearer = index
        said = torch.cat([memory[hearer], memory[speaker], x[hearer], x[speaker], edges, age[hearer]], dim=1)
        heard = scatter(torch.relu(self.message(said)), hearer, dim_size=len(x), reduce="mean")
        memory = self.gru(heard, memory)
        rows = torch.relu(self.temporal(torch.cat([memory, x], dim=1), index, edges))
        rows = rows + torch.relu(self.second(torch.relu(self.first(x, index, edges)), index, edges))
        padded = rows.new_zeros(batch * slots, self.hidden)
        padded[real.flatten()] = rows
        return padded.view(batch, -1)


class _Extractor(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Dict, settings: EncoderConfig) -> None:
        encoder = PyGEncoder(observation_space, settings)
        super().__init__(observation_space, encoder.features_dim)
        self.encoder = encoder

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        encoded: Tensor = self.encoder(observations)
        return encoded


class Meshes(VecEnv):
    """`MeshVectorEnv` under the interface of Stable-Baselines3.

    All episodes are equally long, so they end together, and the step in which ours restarts them is taken at once.
    """

    def __init__(self, num_envs: int, config: AutoscalingConfig, seed: int = 0) -> None:
        self.inner = MeshVectorEnv(num_envs, config, copy=True)
        self._seed = seed
        # A plain Dict without scalars, as Stable-Baselines3 flattens it.
        members = dict(self.inner.single_observation_space.spaces)
        members[ELAPSED_SECONDS] = spaces.Box(0.0, np.inf, (1,), np.float32)
        super().__init__(num_envs, spaces.Dict(members), self.inner.single_action_space)

    def reset(self) -> Any:
        return self._plain(self.inner.reset(seed=self._seed)[0])

    def _plain(self, obs: GraphObservation) -> dict[str, NDArray[Any]]:
        return {**obs, ELAPSED_SECONDS: obs[ELAPSED_SECONDS].reshape(-1, 1)}

    def step_async(self, actions: NDArray[Any]) -> None:
        self._chosen = actions

    def step_wait(self) -> Any:
        obs, reward, terminated, truncated, _ = self.inner.step(self._chosen)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        plain = self._plain(obs)
        if done.any():
            if not done.all():
                raise RuntimeError(
                    "episodes of different lengths: Stable-Baselines3's buffer has no step that counts for none"
                )
            for b, info in enumerate(infos):
                info["terminal_observation"] = {key: value[b] for key, value in plain.items()}
                info["TimeLimit.truncated"] = bool(truncated[b])
            plain = self._plain(self.inner.step(np.zeros_like(self._chosen))[0])
        return plain, reward, done, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, *_: Any, **__: Any) -> list[Any]:
        return [None] * self.num_envs

    def env_is_wrapped(self, *_: Any, **__: Any) -> list[bool]:
        return [False] * self.num_envs

    env_method = get_attr
    set_attr = get_attr


@dataclass
class Peer:
    """One training; `advance` is a rollout and its update, `act` what `PolicyController` plays."""

    env: VecEnv
    model: PPO
    rollout_steps: int

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        environment: AutoscalingConfig,
        *,
        num_envs: int,
        ppo: PPOConfig,
        network: EncoderConfig,
        normalised: bool = False,
        seed: int = 0,
    ) -> Peer:
        """The peer at the settings of ours that it has a place for.

        Args:
            encoder: `pyg`, or `mlp` on everything flattened.
            environment: of the training.
            num_envs: environments.
            ppo: step size, discount, clip, entropy, epochs, rollout and minibatch.
            network: widths.
            normalised: whether features and rewards are standardised (`VecNormalize`).
            seed: of everything.
        """
        env: VecEnv = Meshes(num_envs, environment, seed)
        if normalised:
            env = VecNormalize(env, norm_obs_keys=list(FEATURES), gamma=ppo.gamma)
        policy: dict[str, Any] = {"net_arch": [network.hidden, network.hidden]}
        if encoder == "pyg":
            policy = {
                "features_extractor_class": _Extractor,
                "features_extractor_kwargs": {"settings": network},
                "net_arch": [network.hidden],
            }
        model = PPO(
            "MultiInputPolicy",
            env,
            learning_rate=ppo.learning_rate,
            n_steps=ppo.rollout_length,
            batch_size=ppo.minibatch_rows,
            n_epochs=ppo.epochs,
            gamma=ppo.gamma,
            gae_lambda=ppo.gae_lambda,
            clip_range=ppo.clip,
            ent_coef=ppo.entropy_coef,
            vf_coef=ppo.value_coef,
            max_grad_norm=ppo.max_grad_norm,
            target_kl=ppo.target_kl or None,
            policy_kwargs=policy,
            device="cpu",
            seed=seed,
        )
        return cls(env, model, num_envs * ppo.rollout_length)

    def advance(self) -> None:
        """A rollout and its update."""
        self.model.learn(self.rollout_steps, reset_num_timesteps=False)

    def act(
        self,
        obs: GraphObservation,
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002
        deterministic: bool = False,
        temperature: float = 1.0,  # noqa: ARG002
        rng: np.random.Generator | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.int64], Any]:
        """The likeliest of the moves or a draw; what is illegal becomes no move, as the environment takes it."""
        plain = {**obs, ELAPSED_SECONDS: obs[ELAPSED_SECONDS].reshape(-1, 1)}
        if isinstance(self.env, VecNormalize):
            plain = self.env.normalize_obs(plain)
        moves, _ = self.model.predict(plain, deterministic=deterministic)
        legal = np.take_along_axis(obs[ACTION_MASK], moves[..., None], axis=2)[..., 0]
        return np.where(legal == 1, moves, 0), state
