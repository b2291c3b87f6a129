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

__all__ = ["ONLINE_BOUTIQUE_ID", "register", "register_with_gymnasium"]

ONLINE_BOUTIQUE_ID = "gnnrl/OnlineBoutique-v0"


def register() -> None:
    """Register the environments with Gymnasium, by name only; a second call changes nothing."""
    import gymnasium

    if ONLINE_BOUTIQUE_ID not in gymnasium.registry:
        gymnasium.register(
            id=ONLINE_BOUTIQUE_ID,
            entry_point="gnnrl.envs:make_online_boutique",
            vector_entry_point="gnnrl.envs:make_online_boutique_vector",
        )


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
