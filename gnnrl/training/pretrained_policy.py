"""A policy without its run: the agent, and the experiment that it was trained in, out of one file (`agents/policy_file.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnrl.agents.archive import CheckpointError
from gnnrl.agents.policy_file import find_policy, read_policy, write_policy
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
from gnnrl.config.loader import dump_config, parse_config
from gnnrl.pretrained import SUFFIX
from gnnrl.training.run_folder import RunFolder
from graph_space import autoscaling_schema

__all__ = ["PretrainedPolicy"]

EXPERIMENT, COLUMNS, STEPS, REVISION = "experiment", "columns", "steps", "revision"


@dataclass(frozen=True, kw_only=True, eq=False)
class PretrainedPolicy:
    """An autoscaling policy that is ready to be played or trained further."""

    name: str
    """As it is called in messages and tables."""
    path: Path
    """Of its file, or of the checkpoint that it is to be written from."""
    agent: PPO_GNN
    config: ExperimentConfig
    """What it was trained in, and what it is compared on where nothing else is asked for."""
    steps: int
    """Environment steps of its training."""
    revision: Mapping[str, Any]
    """Of the code that trained it."""

    @classmethod
    def open(cls, name: str | Path, overrides: Sequence[str] = ()) -> PretrainedPolicy:
        """A shipped policy by its name, or a file `*.safetensors`.

        Args:
            name: as `PPO_GNN.pretrained` takes it.
            overrides: `a.b=c`, over the experiment in the file, such as a field that it is too old to have.

        Raises:
            CheckpointError: there is none, or it is damaged, or of another version, or shows a policy other columns than this code.
        """
        path = find_policy(name)
        about = read_policy(path).about
        text = about.get(EXPERIMENT)
        if not isinstance(text, str):
            raise CheckpointError(
                f"{path}: its header has no {EXPERIMENT!r}; write it with: gnnrl export RUN --weights FILE{SUFFIX}"
            )
        try:
            config = parse_config(text, overrides, source=f"{path}: {EXPERIMENT}")
        except ConfigError as error:
            raise CheckpointError(
                f"{error}\n{path}: was written by a gnnrl with another configuration; use that one, or name what it lacks: "
                f"gnnrl export {path} --weights {path} --set FIELD=VALUE"
            ) from error
        _require_columns(about.get(COLUMNS), config.environment, path)
        steps, revision = about.get(STEPS), about.get(REVISION)
        return cls(
            name=path.stem,
            path=path,
            agent=PPO_GNN.pretrained(path),
            config=config,
            steps=steps if isinstance(steps, int) else config.training.total_steps,
            revision=revision if isinstance(revision, dict) else {},
        )

    @classmethod
    def of_run(cls, run: Path, overrides: Sequence[str] = ()) -> PretrainedPolicy:
        """The policy of a run's folder, or of a checkpoint in one; `overrides` as in `open`.

        Raises:
            RunError, ConfigError, CheckpointError: it cannot be read, or is none of autoscaling.
        """
        folder = RunFolder.open(run, overrides)
        checkpoint = folder.best if run.is_dir() else run
        return cls(
            name=folder.config.name,
            path=checkpoint,
            agent=PPO_GNN.load(checkpoint).train(False),
            config=folder.config,
            steps=folder.steps,
            revision=folder.revision,
        )

    def write(self, path: Path) -> None:
        """Write it as a file that `open` reads.

        Raises:
            CheckpointError: it cannot be written.
        """
        about = {
            EXPERIMENT: dump_config(self.config),
            COLUMNS: _columns(self.config.environment),
            STEPS: self.steps,
            REVISION: dict(self.revision),
        }
        write_policy(path, self.agent, about)

    @property
    def weights(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.agent.model.parameters())


def _columns(environment: AutoscalingConfig) -> dict[str, list[str]]:
    """Names of all that a policy is shown, in order."""
    schema = autoscaling_schema(environment.node_columns)
    parts = {"nodes": schema.nodes, "edges": schema.edges, "globals": schema.globals}
    return {key: [feature.name for feature in features] for key, features in parts.items()}


def _require_columns(saved: Any, environment: AutoscalingConfig, path: Path) -> None:
    """Whether the columns that it learned from are the ones that it would be shown."""
    ours = _columns(environment)
    if saved == ours:
        return
    for key, names in ours.items():
        theirs = saved.get(key, []) if isinstance(saved, dict) else []
        if theirs != names:
            place = next(
                (i for i, (a, b) in enumerate(zip(theirs, names, strict=False)) if a != b), min(len(theirs), len(names))
            )
            was, now = (those[place] if place < len(those) else "none" for those in (theirs, names))
            raise CheckpointError(
                f"{path}: learned from other columns: column {place} of {key} was {was!r}, here it is {now!r}; use the gnnrl that wrote it"
            )
    raise CheckpointError(f"{path}: learned from other columns than there are; use the gnnrl that wrote it")
