"""What was seen once must be remembered: memory learns it, no memory cannot."""

import pytest

from gnnrl.agents.iteration import iterations
from tests.agents.small import small_agent
from tests.toy_mesh import ToyMesh


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["joint", "select"])
def test_memory_beats_no_memory_where_it_is_needed(mode):
    def final_reward(kind):
        env = ToyMesh(num_envs=16, recall=True, mode=mode)
        agent = small_agent(env, kind, rollout_length=32, learning_rate=5e-3, target_kl=0.0)
        rewards = [iteration.statistics["reward"] for iteration in iterations(agent, env, 512 * 40)]
        return sum(rewards[-5:]) / 5

    with_memory, without = final_reward("tgn+gnn"), final_reward("gnn")
    assert without < 0.6
    assert with_memory > without + 0.2
