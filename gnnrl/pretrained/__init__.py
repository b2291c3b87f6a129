"""Policies that come with the package: NAME.safetensors, the weights and what they were trained for, and NAME.md, the model card.

Written by `gnnrl export RUN --weights gnnrl/pretrained/NAME.safetensors` and read by `PPO_GNN.pretrained(NAME)`; see CONTRIBUTING.md.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FOLDER", "SUFFIX", "is_policy", "shipped_policies"]

FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"


def shipped_policies() -> tuple[str, ...]:
    """Names of the policies that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}")))


def is_policy(name: str | Path) -> bool:
    """Whether a pretrained policy is meant: the name of a shipped one, or a file `*.safetensors`."""
    return str(name).endswith(SUFFIX) or str(name) in shipped_policies()
