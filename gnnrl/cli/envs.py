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

    from gnnrl.registration import ENTRY_POINTS, SUMMARIES

    environments = []
    for name in ENTRY_POINTS:
        env = gymnasium.make(name).unwrapped
        observation = env.observation_space
        assert isinstance(observation, gymnasium.spaces.Dict)
        environments.append(
            {
                "id": gymnasium.spec(name).id,
                "action_space": str(env.action_space),
                "observation_space": {
                    key: {"dtype": str(part.dtype), "shape": list(part.shape or ())}
                    for key, part in observation.spaces.items()
                },
            }
        )
    if args.json:
        print_json({"environments": environments})
        return 0
    for environment in environments:
        name = str(environment["id"])
        print(f"{name}: {SUMMARIES[name]}")
        print(f"  gymnasium.make({name!r})")
        print(f"  gymnasium.make_vec({name!r}, num_envs=64)")
        spaces = environment["observation_space"]
        assert isinstance(spaces, dict)
        print_table(
            f"Observation, by default; action {environment['action_space']}",
            ("key", "dtype", "shape"),
            ((key, part["dtype"], part["shape"]) for key, part in spaces.items()),
        )
    return 0
