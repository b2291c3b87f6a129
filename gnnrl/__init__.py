"""Graph-neural reinforcement learning for systems whose topology changes while you control them.

What a user needs is here, loaded when it is first asked for, so that `import gnnrl` and `gnnrl --help` cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gnnrl.registration import register_with_gymnasium

if TYPE_CHECKING:
    from encoders import DynamicTGNEncoder, GNNEncoder, to_batch, to_data
    from gnnrl.agents import PPO_GNN, PolicyHead
    from gnnrl.config.errors import ConfigError
    from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig, PPOConfig
    from gnnrl.config.loader import load_config
    from gnnrl.domains.autoscaling.mesh import Mesh
    from gnnrl.domains.autoscaling.mesh_file import load_mesh
    from gnnrl.envs import OnlineBoutique
    from gnnrl.evaluation.comparison import compare
    from gnnrl.live.llm_router import IncomingRequest, LLMRouter, ReplicaReport
    from graph_space import DynamicGraphConfig, DynamicGraphSpace, Topology

_HOMES = {
    "AutoscalingConfig": "gnnrl.config.experiment",
    "ConfigError": "gnnrl.config.errors",
    "DynamicGraphConfig": "graph_space",
    "DynamicGraphSpace": "graph_space",
    "DynamicTGNEncoder": "encoders",
    "ExperimentConfig": "gnnrl.config.experiment",
    "GNNEncoder": "encoders",
    "IncomingRequest": "gnnrl.live.llm_router",
    "LLMRouter": "gnnrl.live.llm_router",
    "Mesh": "gnnrl.domains.autoscaling.mesh",
    "OnlineBoutique": "gnnrl.envs",
    "PPOConfig": "gnnrl.config.experiment",
    "PPO_GNN": "gnnrl.agents",
    "PolicyHead": "gnnrl.agents",
    "ReplicaReport": "gnnrl.live.llm_router",
    "Topology": "graph_space",
    "compare": "gnnrl.evaluation.comparison",
    "load_config": "gnnrl.config.loader",
    "load_mesh": "gnnrl.domains.autoscaling.mesh_file",
    "to_batch": "encoders",
    "to_data": "encoders",
}

__all__ = [
    "PPO_GNN",
    "AutoscalingConfig",
    "ConfigError",
    "DynamicGraphConfig",
    "DynamicGraphSpace",
    "DynamicTGNEncoder",
    "ExperimentConfig",
    "GNNEncoder",
    "IncomingRequest",
    "LLMRouter",
    "Mesh",
    "OnlineBoutique",
    "PPOConfig",
    "PolicyHead",
    "ReplicaReport",
    "Topology",
    "compare",
    "load_config",
    "load_mesh",
    "to_batch",
    "to_data",
]

__version__: str

register_with_gymnasium()


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("gnnrl")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'gnnrl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
