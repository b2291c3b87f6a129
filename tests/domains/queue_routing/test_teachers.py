"""A teacher chooses from the observation what its router chooses from the queues."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.baselines import router_named
from gnnrl.domains.queue_routing.env import QueueRoutingVectorEnv
from gnnrl.domains.queue_routing.teachers import TEACHERS, taught


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_is_its_router(name: str) -> None:
    config = QueueRoutingConfig(drawn_replicas=(2, 4), max_replicas=4, replica_changes_per_1000=50.0, show_work=True)
    env = QueueRoutingVectorEnv(16, config, strict_actions=True)
    observation, _ = env.reset(seed=1)
    agreed = []
    for _ in range(300):
        chosen = taught(name, observation)
        agreed.append(chosen == env.simulation.choose(router_named(name)))
        observation, *_ = env.step(chosen)
    # Rates and work are seen in single precision, which decides where work is exactly at a threshold, three requests of a type.
    assert np.mean(agreed) > (0.98 if name == "work_gap" else 0.998)


def test_who_cannot_teach() -> None:
    with pytest.raises(ValueError, match="'jsq' is not a teacher; there are jsq_affinity, sed_own_rate"):
        taught("jsq", {})
