"""Makes `gymnasium.make("gnnrl/OnlineBoutique-v0")` work after `import gnnrl`, whichever of the two is imported first.

Gymnasium 1.x loads no plugins by itself, and `import gnnrl` must not cost an import of Gymnasium (the command line
answers at once): so the environments are registered at once where Gymnasium is loaded, and otherwise the moment it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

__all__ = [
    "ENTRY_POINTS",
    "LLM_ROUTING_ID",
    "ONLINE_BOUTIQUE_ID",
    "QUEUE_ROUTING_ID",
    "SUMMARIES",
    "register",
    "register_with_gymnasium",
]

ONLINE_BOUTIQUE_ID = "gnnrl/OnlineBoutique-v0"
QUEUE_ROUTING_ID = "gnnrl/QueueRouting-v0"
LLM_ROUTING_ID = "gnnrl/LLMRouting-v0"

ENTRY_POINTS = {
    ONLINE_BOUTIQUE_ID: ("gnnrl.envs:make_online_boutique", "gnnrl.envs:make_online_boutique_vector"),
    QUEUE_ROUTING_ID: (
        "gnnrl.domains.queue_routing.env:QueueRoutingEnv",
        "gnnrl.domains.queue_routing.env:QueueRoutingVectorEnv",
    ),
    LLM_ROUTING_ID: (
        "gnnrl.domains.llm_routing.env:LLMRoutingEnv",
        "gnnrl.domains.llm_routing.env:LLMRoutingVectorEnv",
    ),
}
"""Id -> what makes one environment, what makes a batch."""
SUMMARIES = {
    ONLINE_BOUTIQUE_ID: "a simulated Online Boutique; each service is told how many replicas to add or remove",
    QUEUE_ROUTING_ID: "typed requests and replicas with queues; each request is sent to one",
    LLM_ROUTING_ID: "a fleet of LLM inference replicas; each request is sent to one, or waits at the router",
}
"""Id -> what it is."""


def register() -> None:
    """Register the environments with Gymnasium, by name only; a second call changes nothing."""
    import gymnasium

    for name, (single, vector) in ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=single, vector_entry_point=vector)


def register_with_gymnasium() -> None:
    """Register now if Gymnasium is loaded, else when it will be."""
    if "gymnasium" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _WaitForGymnasium())


class _WaitForGymnasium(MetaPathFinder):
    """Finds nothing itself; has the environments registered once Gymnasium has been executed, then is gone."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
