"""Returns and lengths of episodes, step by step by hand."""

from __future__ import annotations

import numpy as np

from gnnrl.agents.episode_statistics import EpisodeStatistics


def bools(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)


def test_an_episode_is_what_was_earned_in_it() -> None:
    found = EpisodeStatistics(2)
    assert found.means() == {}
    found.add(np.array([1.0, 10.0]), bools(1, 1), bools(0, 0))
    found.add(np.array([2.0, 20.0]), bools(1, 1), bools(1, 0))
    # The first one begins anew: what is said of that step, and its end, is none of an episode's.
    found.add(np.array([99.0, 30.0]), bools(0, 1), bools(1, 0))
    found.add(np.array([4.0, 40.0]), bools(1, 1), bools(0, 1))
    assert (found.environments, found.returns, found.lengths) == ([0, 1], [3.0, 100.0], [2, 4])
    assert found.means() == {"episode_return": 51.5, "episode_length": 3.0}
    found.clear()
    assert found.means() == {}
    restored = EpisodeStatistics(2)
    restored.load_state_dict(found.state_dict())
    for each in (found, restored):
        each.add(np.array([5.0, 7.0]), bools(1, 0), bools(1, 0))
        assert each.means() == {"episode_return": 9.0, "episode_length": 2.0}, "it went on over the rollout's end"
