"""PPO_GNN: proximal policy optimisation on graphs whose nodes come and go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from encoders import GraphEncoder
from encoders.state import EncoderState
from gnnrl.agents.archive import CheckpointError, read_archive, write_archive
from gnnrl.agents.clone import FrozenClone
from gnnrl.agents.divergence import DivergenceError
from gnnrl.agents.learner import Learner
from gnnrl.agents.networks import build_model
from gnnrl.agents.observation_scaler import ObservationScaler
from gnnrl.agents.own_environment import learn, play_episodes
from gnnrl.agents.policy_file import find_policy, read_policy
from gnnrl.agents.recorder import Recorder
from gnnrl.agents.saved_agent import check_agent_state, check_policy_state, described_agent
from gnnrl.agents.saved_state import field
from gnnrl.agents.spaces import action_mode, check_observation_of, saved_sizes
from gnnrl.agents.update import run_update
from gnnrl.config.experiment import EncoderConfig, PPOConfig
from gnnrl.rl.distributions import EmptyMaskError, mode_action, sample_action
from gnnrl.rl.normaliser import ReturnScale
from gnnrl.rl.storage import Array, Observation
from gnnrl.rl.temperature import divisors
from graph_space.schema import ACTION_MASK, NODE_MASK

__all__ = ["PPO_GNN"]


class PPO_GNN:
    """An agent for any environment whose observation is a `DynamicGraphSpace`.

    `act` decides; after `train()` it also notes the decision, `store_transition` notes what came of it, and `update`
    learns once `ready`. `learn` does all of that on a vector environment.

    Args:
        observation_space: of a single environment.
        action_space: of a single environment: MultiDiscrete([K] * N), a move per node, or Discrete(N * K), one (node,
            move) pair.
        use_tgn: memory per node and attention, or attention alone; only read where `encoder` is None.
        config: hyper-parameters.
        encoder: another network, described, or a ready-made encoder.
        seed: of weights, sampling and minibatches.
        device: where the network lives; compiled kernels run on the CPU.

    Raises:
        ValueError: the spaces do not describe a graph environment, or the network has no value per node although credit is `node`.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        use_tgn: bool = True,
        *,
        config: PPOConfig | None = None,
        encoder: EncoderConfig | GraphEncoder | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.mode, self.num_moves = action_mode(observation_space, action_space)
        self.config = config or PPOConfig()
        self.seed = seed
        self.device = torch.device(device)
        self.encoder_config = EncoderConfig(kind="tgn+gnn" if use_tgn else "gnn") if encoder is None else encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model(self.encoder_config, observation_space, self.num_moves, self.config.credit == "node")
        self.model = model.to(self.device)
        threads = self.config.threads if self.device.type == "cpu" else 1
        self.learner = Learner(self.model, self.config.learning_rate, self.config.max_grad_norm, threads)
        self.scaler = ObservationScaler(observation_space)
        self.return_scale = ReturnScale()
        self.clone: FrozenClone | None = None
        self.clone_coef = 0.0
        self.clone_schedule = (0.0, 0)
        self.rng = np.random.default_rng(seed)
        self.progress = 0.0
        self.training = False
        self.replay_checked = False
        self.recorder: Recorder | None = None

    @property
    def max_nodes(self) -> int:
        """N of the observation space."""
        shape = self.observation_space[NODE_MASK].shape
        return shape[0] if shape else 0

    def initial_state(self, batch_size: int = 1, max_nodes: int | None = None) -> EncoderState:
        """State before the first observation."""
        return self.model.initial_state(batch_size, max_nodes or self.max_nodes)

    def train(self, mode: bool = True) -> PPO_GNN:
        """Whether `act` notes decisions for `update`."""
        self.training = mode
        return self

    def act(
        self,
        obs: Observation,
        state: EncoderState | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
        temperature: float | Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, EncoderState]:
        """Decide.

        Args:
            obs: numpy arrays of one observation, or of a batch of them with a leading B.
            state: what the last call returned; None = nothing is remembered.
            episode_start: [B] bool, true where `obs` is the first of an episode; None = nowhere, while training as
                tracked.
            deterministic: the likeliest action instead of a draw.
            temperature: of the draw, one or [B]: logits are divided by it. Below 1 the draw keeps to the likelier actions, yet makes
                a move that is due now and then, which the likeliest action alone never makes. While training it is noted, and
                `update` learns about the policy at this temperature. None = 1, and while training `config.temperature`'s.
            rng: generator of the draw; None = the agent's own.

        Returns:
            Action int64 [N] or [B, N] (`joint`; 0 in empty slots), [] or [B] (`select`), and the new state.

        Raises:
            EmptyMaskError: a real node (`joint`) or a graph (`select`) has no legal move.
            DivergenceError: the network's logits are not finite.
            ValueError: an observation or a state of another shape, a feature that is not finite, a temperature that is not above 0
                or of another shape, or a deterministic action while training.
        """
        if self.training and deterministic:
            raise ValueError("a deterministic action cannot be learned from; call train(False) first")
        obs, single = self._batched(obs)
        batch, slots = obs[NODE_MASK].shape
        if state is None:
            state = self.initial_state(batch, slots)
        if self.training and (self.recorder is None or self.recorder.num_envs != batch):
            self.record(batch)
        if temperature is None and self.training and self.recorder is not None:
            temperature = self.recorder.controlled_temperature
        heat = divisors(temperature, batch)
        if episode_start is None:
            tracked = self.recorder if self.training else None
            episode_start = np.zeros(batch, np.bool_) if tracked is None else tracked.episode_start
        sequence = self.scaler.sequence(obs, np.atleast_1d(episode_start))
        flat = sequence.flat_slot.numpy()
        pointer = sequence.graph_ptr.numpy() if self.mode == "select" else None
        if self.device.type != "cpu":
            sequence = sequence.to(self.device)
        value = None
        with torch.inference_mode():
            if self.training:
                scores, value, after = self.model(sequence, state)
            else:
                scores, after = self.model.decide(sequence, state)
        logits = scores.cpu().numpy()
        if not np.isfinite(logits).all():
            raise DivergenceError("the network's logits are not finite", self.learner.learning_rate)
        mask = obs[ACTION_MASK].reshape(-1, self.num_moves)[flat]
        try:
            if deterministic:
                row, move, log_prob = mode_action(logits, mask, pointer)
            else:
                uniform = (self.rng if rng is None else rng).random(len(flat) if pointer is None else batch)
                tempered = logits if heat is None else logits / heat[flat // slots, None]
                row, move, log_prob = sample_action(tempered, mask, pointer, uniform)
        except EmptyMaskError as error:
            where = flat[error.index] if pointer is None else error.index * slots
            place = (
                f"slot {where % slots} of environment {where // slots}"
                if pointer is None
                else f"environment {error.index}"
            )
            raise EmptyMaskError(f"{ACTION_MASK}, {place}: {error}", error.index) from None
        action: Array
        if pointer is None:
            padded = np.zeros(batch * slots, np.int64)
            padded[flat] = move
            action = padded.reshape(batch, slots)
        else:
            action = flat[row] % slots * self.num_moves + move
        if value is not None:
            self._note(obs, episode_start, state, action, log_prob, value.cpu().numpy(), flat, heat)
        return (action[0] if single else action), after

    def _batched(self, obs: Observation) -> tuple[Observation, bool]:
        """The observation with its leading B, and whether it came without."""
        check_observation_of(obs, self.observation_space)
        single = np.ndim(obs[NODE_MASK]) == 1
        return ({key: np.asarray(array)[None] for key, array in obs.items()} if single else obs), single

    def _note(
        self,
        obs: Observation,
        start: Array,
        state: EncoderState,
        action: Array,
        log_prob: Array,
        value: Array,
        flat: NDArray[np.int64],
        temperature: Array | None,
    ) -> None:
        assert self.recorder is not None
        self.scaler.frozen = True
        shape = obs[NODE_MASK].shape
        self.recorder.storage.stage(
            obs,
            start,
            self.recorder.live,
            state.memory.cpu().numpy(),
            state.age_seconds.cpu().numpy(),
            action,
            _padded(log_prob, flat, shape) if self.mode == "joint" else log_prob,
            _padded(value, flat, shape) if self.config.credit == "node" else value,
            temperature,
        )

    def store_transition(
        self,
        reward: Array | float,
        terminated: Array | bool,
        truncated: Array | bool,
        infos: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what the environment answered to the last `act`.

        Args:
            reward: [B] or scalar.
            terminated: [B] or scalar.
            truncated: [B] or scalar.
            infos: of the step; `node_reward` [B, N] is read under `credit="node"`.

        Raises:
            RuntimeError: `act` noted nothing; call `train()` first.
            ValueError: the reward is not split by node although `credit="node"`, or is not finite.
        """
        if self.recorder is None or not self.training:
            raise RuntimeError("nothing to store: call train(), then act(), then store_transition()")
        self.recorder.commit(self.recorder.storage, reward, terminated, truncated, infos)

    def record(self, num_envs: int) -> Recorder:
        """Begin to note: the next observations are the first of their episodes. A rollout in progress is dropped."""
        slots, width = self.initial_state().memory.shape[1:]
        self.recorder = Recorder(self.observation_space, self.mode, self.config, (slots, width), num_envs)
        return self.recorder

    @property
    def ready(self) -> bool:
        """True when a whole rollout is stored and `update` is due."""
        return self.recorder is not None and self.recorder.storage.full

    def update(self, obs: Observation, state: EncoderState) -> dict[str, float]:
        """Learn from the stored rollout.

        Args:
            obs: the observation after it, from whose value it is bootstrapped.
            state: as the last `act` returned it.

        Returns:
            Statistics of the update, named as in the logs without `train/`.

        Raises:
            RuntimeError: the rollout is not full.
            DivergenceError: loss, gradient or weights are not finite.
            ValueError: an observation or a state of another shape, or a feature that is not finite.
            ReplayError: at unchanged weights the replay does not give the rollout's own probabilities.
        """
        recorder = self.recorder
        if recorder is None or not recorder.storage.full:
            raise RuntimeError("update() needs a whole rollout; see `ready`")
        obs, _ = self._batched(obs)
        statistics = run_update(self, recorder, obs, state)
        self.absorb()
        return statistics

    def absorb(self) -> None:
        """Take the stored rollout into the observation statistics and make room for the next."""
        assert self.recorder is not None
        storage = self.recorder.storage
        self.scaler.frozen = False
        self.scaler.update({key: array[:-1] for key, array in storage.obs.items()})
        storage.clear()

    # Methods like the others, which stand in a module of their own.
    learn = learn
    evaluate = play_episodes

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what the agent does next, but for a rollout in progress."""
        return {
            **self.policy_state(),
            "optimiser": self.learner.optimiser.state_dict(),
            "clone": None if self.clone is None else self.clone.state_dict(),
            "clone_schedule": list(self.clone_schedule),
            "rng": json.dumps(self.rng.bit_generator.state),
            "progress": self.progress,
            "recorder": None if self.recorder is None else self.recorder.state_dict(),
        }

    def policy_state(self) -> dict[str, Any]:
        """What of `state_dict` decides how it acts, and in which units it learns: weights and statistics."""
        return {
            "model": self.model.state_dict(),
            "scaler": self.scaler.state_dict(),
            "return_scale": self.return_scale.state_dict(),
        }

    def load_policy_state(self, saved: Mapping[str, Any], place: str = "policy") -> None:
        """Take over weights and statistics; optimiser, generator and all else stay as they are.

        Args:
            saved: by `policy_state`, perhaps of an agent for more or fewer slots.
            place: begins every error.

        Raises:
            CheckpointError: as `load_state_dict`; the agent is as it was.
        """
        check_policy_state(self, saved, place)
        self._take(saved)

    def _take(self, saved: Mapping[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.scaler.load_state_dict(saved["scaler"])
        self.return_scale.load_state_dict(saved["return_scale"])
        self.replay_checked = False

    def load_state_dict(self, saved: Mapping[str, Any], place: str = "agent_state") -> None:
        """Continue where `state_dict` was taken; the replay is checked again before the next optimiser step.

        Args:
            saved: by `state_dict`.
            place: begins every error, as the file that it comes from.

        Raises:
            CheckpointError: something in it is missing, of another shape or type, not finite, or out of its range; the agent is as it
                was.
        """
        check_agent_state(self, saved, place)
        self._take(saved)
        self.learner.load_state_dict(saved["optimiser"])
        self.clone = None
        if saved["clone"] is not None:
            self.clone = FrozenClone(self.model, self.scaler)
            self.clone.load_state_dict(saved["clone"])
        self.clone_schedule = (saved["clone_schedule"][0], saved["clone_schedule"][1])
        self.rng.bit_generator.state = json.loads(saved["rng"])
        self.progress = saved["progress"]
        self.recorder = None
        if saved["recorder"] is not None:
            self.record(saved["recorder"]["num_envs"]).load_state_dict(saved["recorder"])

    def save(self, path: str | Path) -> None:
        """Write the agent to one file, atomically.

        Raises:
            CheckpointError: the file cannot be written; what stood there is kept.
        """
        write_archive(path, {"agent": self.description(), "agent_state": self.state_dict()})

    def description(self) -> dict[str, Any]:
        """What `load` builds the same agent from: sizes, mode and hyper-parameters."""
        encoder = asdict(self.encoder_config) if isinstance(self.encoder_config, EncoderConfig) else None
        return {
            "sizes": saved_sizes(self.observation_space, self.mode),
            "config": asdict(self.config),
            "encoder": encoder,
            "seed": self.seed,
        }

    @classmethod
    def load(
        cls, path: str | Path, *, encoder: GraphEncoder | None = None, device: str | torch.device = "cpu"
    ) -> PPO_GNN:
        """Read an agent written by `save` or by the trainer.

        Args:
            path: the file.
            encoder: a module of the same shape, where the agent was made with a ready-made one.
            device: where the network shall live.

        Raises:
            CheckpointError: the file is damaged, foreign, of another version, or needs `encoder`.
        """
        tree = read_archive(path)
        if "agent" not in tree:
            raise CheckpointError(f"{path}: holds no agent")
        state = field(tree, "agent_state", f"{path}: agent_state")
        agent = described_agent(cls, tree["agent"], state, str(path), encoder=encoder, device=device)
        agent.load_state_dict(state, f"{path}: agent_state")
        return agent

    @classmethod
    def pretrained(cls, name: str | Path, *, device: str | torch.device = "cpu") -> PPO_GNN:
        """An agent that is ready to act: one that comes with the package, or one that `gnnrl export RUN --weights` wrote.

        Args:
            name: of a shipped policy, or a file `*.safetensors`.
            device: where the network shall live.

        Raises:
            CheckpointError: there is none of this name, or the file is damaged, foreign or of another version.
        """
        path = find_policy(name)
        saved = read_policy(path)
        agent = described_agent(cls, saved.description, saved.state, str(path), held="weights", device=device)
        agent.load_policy_state(saved.state, f"{path}: weights")
        return agent


def _padded(values: Array, flat: NDArray[np.int64], shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape, np.float32)
    out.reshape(-1)[flat] = values
    return out
