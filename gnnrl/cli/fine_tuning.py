"""`gnnrl train --from NAME`: the configuration of a training that begins from a pretrained policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError

if TYPE_CHECKING:
    from gnnrl.config.experiment import ExperimentConfig

__all__ = ["fine_tuned", "refuse_other_training"]


def refuse_other_training(args: argparse.Namespace) -> None:
    """Refuse what goes with `--from` alone, or never with it.

    Raises:
        UserError: says which flag.
    """
    if args.start is None:
        for flag, value in (("--mesh", args.mesh), ("--steps", args.steps)):
            if value is not None:
                raise UserError(
                    f"gnnrl train: {flag} goes with --from NAME; in a CONFIG it is --set environment.mesh=[FILE] and "
                    "--set training.total_steps=N"
                )
    elif args.resume is not None:
        raise UserError("gnnrl train: --from begins a run; --resume DIR goes on with one, and knows where it came from")
    elif args.seeds is not None:
        raise UserError("gnnrl train: --from trains one run at a time; leave --seeds out")
    elif args.config is None and args.mesh is None:
        raise UserError(f"gnnrl train: --from {args.start}: on what? give --mesh FILE, or a CONFIG")


def fine_tuned(args: argparse.Namespace) -> tuple[Path, ExperimentConfig]:
    """File of the policy to start from, and the experiment that trains it further.

    Raises:
        CheckpointError: there is no such policy, or it is damaged.
        ConfigError: every fault of the configuration at once.
        RunError: the configuration is of another network, or of other columns.
    """
    from gnnrl.cli.domains import autoscaling
    from gnnrl.cli.domains.comparing import parse_with_flags
    from gnnrl.config.loader import config_text, dump_config, parse_config
    from gnnrl.domains.autoscaling.trained_ranges import room_for
    from gnnrl.training.fine_tuning import require_same_network, short_experiment
    from gnnrl.training.pretrained_policy import PretrainedPolicy

    policy = PretrainedPolicy.open(args.start)
    source = str(args.config or policy.path)
    base = (
        short_experiment(policy)
        if args.config is None
        else parse_config(config_text(args.config), args.overrides, source=source)
    )
    values: dict[str, tuple[str, object]] = {}
    room: list[str] = []
    if args.mesh is not None:
        values["environment.mesh"] = ("--mesh", [args.mesh])
        values["name"] = ("--mesh", f"{policy.name}_{Path(args.mesh).stem.replace(':', '_')}")
        nodes, edges = room_for(args.mesh, base.environment, gateway=base.environment.telemetry == "kiali")
        room = [f"environment.max_nodes={nodes}", f"environment.max_edges={edges}"]
    if args.steps is not None:
        values["training.total_steps"] = ("--steps", args.steps)
    config: ExperimentConfig = parse_with_flags(
        dump_config(base), values, source, autoscaling.rules(), [*room, *args.overrides, "warm_start.teacher=''"]
    )
    require_same_network(policy, config)
    return policy.path, autoscaling.self_contained(config)
