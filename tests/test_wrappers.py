"""Stable-Baselines3 trains on the environments through the thin wrapper, and never acts outside the mask."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from gnnrl.envs import OnlineBoutique
from gnnrl.wrappers import DocumentedObservation, StableBaselines3Observation

SHORT: dict[str, Any] = {"episode_decisions": 30, "max_edges": 32}


@pytest.mark.parametrize("documented", [False, True])
def test_only_scalars_change_for_stable_baselines3(documented: bool) -> None:
    def source() -> gymnasium.Env:
        env: gymnasium.Env = OnlineBoutique(**SHORT)
        return DocumentedObservation(env) if documented else env

    plain, wrapped = source(), StableBaselines3Observation(source())
    scalar = "num_nodes" if documented else "elapsed_seconds"
    before, after = plain.reset(seed=0)[0], wrapped.reset(seed=0)[0]
    for _ in range(2):
        assert before.keys() == after.keys()
        assert after[scalar].tolist() == [11 if documented else float(before[scalar])]
        assert wrapped.observation_space[scalar].shape == (1,)
        assert wrapped.observation_space.contains(after)
        for key in before.keys() - {scalar}:
            np.testing.assert_array_equal(after[key], before[key])
            assert wrapped.observation_space[key] == plain.observation_space[key]
        still = np.zeros(20, np.int64)
        before, after = plain.step(still)[0], wrapped.step(still)[0]
    np.testing.assert_array_equal(wrapped.action_masks(), wrapped.unwrapped.action_masks())


def test_a_flat_observation_needs_no_wrapper() -> None:
    with pytest.raises(ValueError, match="use the environment as it is"):
        StableBaselines3Observation(OnlineBoutique(use_graph=False))


@pytest.mark.sb3
@pytest.mark.filterwarnings("ignore:Your observation .* unconventional shape")
@pytest.mark.parametrize("action_mode", ["joint", "select"])
def test_maskable_ppo_trains_and_never_takes_an_illegal_action(action_mode: str) -> None:
    sb3_contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_checker import check_env

    class Watch(BaseCallback):
        illegal: list[float]

        def _on_training_start(self) -> None:
            self.illegal = []

        def _on_step(self) -> bool:
            self.illegal += [float(info["illegal_actions"]) for info in self.locals["infos"]]
            return True

    env = StableBaselines3Observation(OnlineBoutique(action_mode=action_mode, **SHORT))
    check_env(env)
    model = sb3_contrib.MaskablePPO(
        "MultiInputPolicy", env, n_steps=100, batch_size=50, n_epochs=2, seed=0, device="cpu"
    )
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    watch = Watch()
    model.learn(300, callback=watch)
    assert watch.illegal == [0.0] * 300
    assert any(not value.equal(before[name]) for name, value in model.policy.state_dict().items())

    # A policy that does not look at the mask does act outside it, so the count above says something.
    env.action_space.seed(0)
    env.reset(seed=0)
    assert sum(env.step(env.action_space.sample())[4]["illegal_actions"] for _ in range(10)) > 0

    observation, _ = env.reset(seed=1)
    for _ in range(10):
        action, _ = model.predict(observation, action_masks=env.action_masks())
        observation, _, _, _, info = env.step(action)
        assert info["illegal_actions"] == 0
