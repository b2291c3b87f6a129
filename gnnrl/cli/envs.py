"""List the environments that `gymnasium.make` knows by name, with the shape of what they show and take."""

from __future__ import annotations

import argparse

from gnnrl.cli.arguments import add_json, print_json, print_table

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "list the environments"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl envs [--json]`."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the environments and, of each, the observation's arrays."""
    import gymnasium

    from gnnrl.config.experiment import AutoscalingConfig
    from gnnrl.domains.autoscaling.env import action_space, graph_config
    from gnnrl.registration import ONLINE_BOUTIQUE_ID
    from graph_space import DynamicGraphSpace

    config = AutoscalingConfig()
    space = DynamicGraphSpace(graph_config(config))
    environment = {
        "id": gymnasium.spec(ONLINE_BOUTIQUE_ID).id,
        "action_space": str(action_space(config)),
        "observation_space": {
            key: {"dtype": str(part.dtype), "shape": list(part.shape or ())} for key, part in space.spaces.items()
        },
    }
    if args.json:
        print_json({"environments": [environment]})
        return 0
    print(f"{environment['id']}: a simulated Online Boutique; each service is told how many replicas to add or remove")
    print(f"  gymnasium.make({environment['id']!r})")
    print(f"  gymnasium.make_vec({environment['id']!r}, num_envs=64)")
    print_table(
        "Observation (N service slots, E call slots, K moves; by default "
        f"N={config.max_nodes}, E={config.max_edges}, K={space.config.num_moves})",
        ("key", "dtype", "shape"),
        ((key, part.dtype, list(part.shape or ())) for key, part in space.spaces.items()),
    )
    return 0
