"""Training and playing on an environment that is not one of ours: what is asked of it, and episodes played to their ends."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gnnrl.agents.episode_statistics import EpisodeStatistics
from gnnrl.agents.iteration import Collector, Iteration
from gnnrl.agents.learning import CHECKPOINT, Callback, Learning, Plan, crossed
from gnnrl.agents.spaces import action_mode, saved_sizes
from gnnrl.agents.step_answer import step_answer
from graph_space.schema import KEYS

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["EvaluateEvery", "PlayedEpisodes", "learn", "play_episodes", "require_environment"]

CHECKPOINTS = 10
"""A training is saved so often where nothing else is asked for."""


def require_environment(agent: PPO_GNN, env: Any) -> None:
    """Checks that the agent can be trained and played on an environment.

    Raises:
        TypeError: it is no vector environment.
        ValueError: its spaces are not those that the agent was made for.
    """
    if not isinstance(env, VectorEnv):
        what = "a single environment" if isinstance(env, gymnasium.Env) else f"a {type(env).__name__}"
        raise TypeError(
            f"env is {what}; a vector environment is needed, such as gymnasium.vector.SyncVectorEnv([make_one] * 8)"
        )
    space = env.single_observation_space
    missing = [key for key in KEYS if not isinstance(space, spaces.Dict) or key not in space.spaces]
    if missing or not isinstance(space, spaces.Dict):
        raise ValueError(
            f"the environment's observation space is no DynamicGraphSpace: it has no {', '.join(missing)}; "
            "see docs/own_environment.md"
        )
    ours = saved_sizes(agent.observation_space, agent.mode)
    theirs = saved_sizes(space, action_mode(space, env.single_action_space)[0])
    different = [f"{key} is {theirs[key]}, the agent's {ours[key]}" for key in ours if ours[key] != theirs[key]]
    if different:
        raise ValueError(
            f"the environment's spaces are not those that the agent was made for: {'; '.join(different)}; make the agent "
            "with env.single_observation_space and env.single_action_space"
        )


def learn(
    agent: PPO_GNN,
    env: VectorEnv,
    total_steps: int,
    *,
    callback: Callback | None = None,
    log_dir: str | Path | None = None,
    progress: bool = False,
    resume: bool = False,
    checkpoint_every_steps: int | None = None,
) -> PPO_GNN:
    """Train on a vector environment; `gnnrl train` does the same with all that a configuration names.

    Args:
        agent: that learns.
        env: with NEXT_STEP autoreset and the agent's spaces: one of ours, Gymnasium's SyncVectorEnv or AsyncVectorEnv, your own.
        total_steps: environment steps (over all environments), rounded up to whole rollouts; the schedules run to it.
        callback: called after each update with the agent and an `Iteration`: a mapping that it returns is logged, False ends the
            training. `EvaluateEvery` is one.
        log_dir: a new folder for logs and checkpoints; with one, a signal (Ctrl-C, SIGTERM, SIGHUP) saves before it ends the training.
        progress: show how far it is, on standard error.
        resume: go on from the checkpoint in `log_dir`; start where there is none, so that a job that is restarted is the same program.
            Bit for bit where the environment has `state_dict` and `load_state_dict`; otherwise new episodes begin, which is warned of.
        checkpoint_every_steps: a tenth of the training where it is left out.

    Returns:
        The agent, which no longer notes what it decides.

    Raises:
        TypeError: a number of steps is no whole number, `env` no vector environment, or `callback` no function.
        ValueError: a number of steps is not above 0, the environment's spaces or autoreset are others, or `log_dir` is missing.
        FileExistsError: `log_dir` holds something and `resume` is false.
        NotADirectoryError: `log_dir` is a file.
        CheckpointError: what is in `log_dir` cannot be gone on with, or a checkpoint cannot be written.
        TrainingInterrupted: a signal came; everything is saved.
    """
    total_steps = _whole("total_steps", total_steps)
    tenth = -(-total_steps // CHECKPOINTS)
    every = _whole("checkpoint_every_steps", tenth if checkpoint_every_steps is None else checkpoint_every_steps)
    require_environment(agent, env)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {callback!r}; a function of the agent and the iteration is needed")
    if resume and log_dir is None:
        raise ValueError("resume=True needs log_dir=, the folder of the training to go on with")
    folder = None if log_dir is None else _folder(Path(log_dir), resume)
    collector = Collector(env, agent.seed)
    if folder is not None and resume and (folder / CHECKPOINT).exists() and not collector.savable:
        warnings.warn(
            f"{type(env.unwrapped).__name__} has no state_dict(), so new episodes begin here: the training goes on from its "
            "weights, optimiser and statistics, but not bit for bit as if it had not been interrupted",
            stacklevel=3,
        )
    about = {**agent.description(), "num_envs": env.num_envs, "total_steps": total_steps}
    plan = Plan(
        total_steps=total_steps,
        checkpoint_every_steps=every,
        about=about,
        go_on=f"agent.learn(env, {total_steps}, log_dir={str(log_dir)!r}, resume=True)",
    )
    threads = torch.get_num_threads()
    # Small work: torch's own threads would only wait for each other beside those of the learner.
    torch.set_num_threads(1)
    try:
        Learning(agent, collector, plan, folder=folder, callback=callback, progress=progress).run(resume)
    finally:
        torch.set_num_threads(threads)
        agent.train(False)
    return agent


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} is not a whole number; write it as one, such as 1_000_000")
    if value < 1:
        raise ValueError(f"{name}={value} is not above 0")
    return int(value)


def _folder(path: Path, resume: bool) -> Path:
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"log_dir {path}: is a file; name a folder")
    if not resume and path.exists() and any(path.iterdir()):
        raise FileExistsError(
            f"log_dir {path}: is not empty; go on with the training in it by resume=True, or name another folder"
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass(frozen=True, eq=False)
class PlayedEpisodes:
    """What whole episodes came to, one entry each."""

    returns: NDArray[np.float64]
    """[M], undiscounted sums of rewards."""
    lengths: NDArray[np.int64]
    """[M], steps."""

    @property
    def mean_return(self) -> float:
        """Mean of the returns."""
        return float(self.returns.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean return; nan of a single episode."""
        count = len(self.returns)
        return float(self.returns.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan


def play_episodes(
    agent: PPO_GNN,
    env: VectorEnv,
    episodes: int = 32,
    *,
    deterministic: bool = False,
    temperature: float | None = None,
    seed: int = 0,
) -> PlayedEpisodes:
    """Play whole episodes without learning.

    Args:
        agent: that plays.
        env: as in `learn`, but not the one of a training that goes on.
        episodes: rounded up to as many in each environment.
        deterministic: the likeliest action instead of a draw.
        temperature: of the draws; None = 1.
        seed: of episodes and draws.

    Raises:
        TypeError: `env` is no vector environment, or `episodes` no whole number.
        ValueError: `episodes` is not above 0, or the environment's spaces or autoreset are others.
    """
    episodes = _whole("episodes", episodes)
    require_environment(agent, env)
    Collector(env, seed)  # refuses another way of starting anew
    was_training = agent.training
    agent.train(False)
    rng = np.random.default_rng(seed)
    # As many of each environment: the first ones to end anywhere would be the short ones.
    each = -(-episodes // env.num_envs)
    ended = EpisodeStatistics(env.num_envs)
    obs, _ = env.reset(seed=seed)
    state, live = agent.initial_state(env.num_envs), np.ones(env.num_envs, np.bool_)
    starts, counts = np.ones(env.num_envs, np.bool_), np.zeros(env.num_envs, np.int64)
    while counts.min() < each:
        action, state = agent.act(obs, state, starts, deterministic=deterministic, temperature=temperature, rng=rng)
        obs, reward, terminated, truncated, _ = env.step(action)
        reward, terminated, truncated = step_answer(reward, terminated, truncated, env.num_envs)
        done = (terminated | truncated) & live
        ended.add(reward, live, done)
        # NEXT_STEP: the observation after an end is final, and the one after that starts the next episode.
        starts, live = ~live, ~done
        counts += done
    agent.train(was_training)
    order = np.array(ended.environments)
    kept = np.concatenate([np.flatnonzero(order == b)[:each] for b in range(env.num_envs)])
    return PlayedEpisodes(np.array(ended.returns)[kept], np.array(ended.lengths)[kept])


@dataclass(frozen=True, kw_only=True)
class EvaluateEvery:
    """A callback of `learn` that plays episodes now and then, and logs `eval/return` and `eval/length`, their means."""

    env: VectorEnv
    """Another than that of the training, whose episodes it would cut off."""
    steps: int
    """Environment steps of the training between two evaluations."""
    episodes: int = 32
    """Played each time, the same ones."""
    temperature: float | None = None
    """Of the draws; None = 1."""
    seed: int = 1_000_003
    """Of episodes and draws."""

    def __call__(self, agent: PPO_GNN, iteration: Iteration) -> dict[str, float] | None:
        """Plays where it is time."""
        if not crossed(iteration.steps - iteration.new_steps, iteration.steps, self.steps):
            return None
        played = play_episodes(agent, self.env, self.episodes, temperature=self.temperature, seed=self.seed)
        return {"eval/return": played.mean_return, "eval/length": float(played.lengths.mean())}
