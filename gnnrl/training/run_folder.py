"""A run's folder: the resolved configuration and the code's revision beside the checkpoints, logs and reports.

runs/NAME/config.yaml      every field, as `load_config` reads it
runs/NAME/revision.json    git revision, whether the tree was modified, versions
runs/NAME/checkpoint.pt    the newest checkpoint
runs/NAME/clone.pt         the policy as the warm start left it, where there was one
runs/NAME/start.safetensors  the pretrained policy that a fine-tuning began from
runs/NAME/best.pt          the better of that one and what became of it, and fine_tuning.json how they were told apart
runs/NAME/tensorboard/     event files
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from gnnrl.agents.archive import write_bytes
from gnnrl.agents.learning import CHECKPOINT
from gnnrl.agents.saved_training import Standing, saved_standing
from gnnrl.config.differences import differences
from gnnrl.config.experiment import Experiment, ExperimentConfig
from gnnrl.config.loader import dump_config, load_experiment
from gnnrl.logs.run_log import TENSORBOARD
from gnnrl.pretrained import SUFFIX
from gnnrl.whole_file import write_text

__all__ = ["BEST", "RunError", "RunFolder", "code_revision"]

START, BEST = f"start{SUFFIX}", "best.pt"


class RunError(Exception):
    """A run folder that cannot be created or continued: says which and what would be right."""


AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


@dataclass(frozen=True)
class RunFolder(Generic[AnyExperiment]):
    """An existing run."""

    path: Path
    config: AnyExperiment
    revision: Mapping[str, Any]

    @classmethod
    def create(cls, path: Path, config: AnyExperiment, start: Path | None = None) -> RunFolder[AnyExperiment]:
        """Starts a run in a new or empty folder.

        Args:
            path: the folder.
            config: of the run.
            start: file of the policy that it is to begin from, which is copied; None = fresh weights.

        Raises:
            RunError: something is there already.
        """
        cls.require_free(path)
        path.mkdir(parents=True, exist_ok=True)
        if start is not None:
            write_bytes(path / START, start.read_bytes())
        revision = code_revision()
        write_text(path / "revision.json", json.dumps(revision, indent=2) + "\n")
        write_text(path / "config.yaml", dump_config(config))
        return RunFolder(path, config, revision)

    @staticmethod
    def require_free(path: Path) -> None:
        """Refuses a folder in which there is something, and says what, and how to go on with it.

        Raises:
            RunError: something is there already.
        """
        if path.is_dir() and not any(path.iterdir()):
            return
        if (path / "config.yaml").is_file():
            raise RunError(RunFolder.open_any(path).standing())
        if path.exists() or path.is_symlink():
            what = "is there already and not empty" if path.is_dir() else "is a file"
            raise RunError(f"{path}: {what}; choose another --out")

    @classmethod
    def open(cls, path: Path, overrides: Sequence[str] = ()) -> RunFolder[ExperimentConfig]:
        """Opens an autoscaling run by its folder, or by a checkpoint in it.

        Args:
            path: of it.
            overrides: `a.b=c`, over its configuration, such as a field that it is too old to have.

        Raises:
            RunError: this is no run, or one of another domain.
            ConfigError: its configuration was damaged, or is that of another version.
        """
        run = cls.open_any(path, overrides)
        if not isinstance(run.config, ExperimentConfig):
            raise RunError(
                f"{run.path}: is a run of another domain ({type(run.config).__name__}); an autoscaling one is needed here"
            )
        return RunFolder(run.path, run.config, run.revision)

    @classmethod
    def open_any(cls, path: Path, overrides: Sequence[str] = ()) -> RunFolder[Experiment]:
        """Opens a run of any domain; arguments as of `open`.

        Raises:
            RunError: this is no run.
            ConfigError: its configuration was damaged, or is that of another version.
        """
        folder = path if path.is_dir() else path.parent
        if not path.exists():
            raise RunError(f"{path}: no such run or checkpoint")
        if not (folder / "config.yaml").is_file():
            raise RunError(f"{folder}: is not a run folder, it has no config.yaml; gnnrl train writes one")
        revision = folder / "revision.json"
        try:
            recorded = json.loads(revision.read_text(encoding="utf-8")) if revision.is_file() else {}
        except ValueError as error:
            raise RunError(f"{revision}: is not JSON ({error})") from error
        if not isinstance(recorded, dict):
            raise RunError(f"{revision}: is no JSON object; delete it, the run then counts as of unknown code")
        return RunFolder(folder, load_experiment(folder / "config.yaml", overrides), recorded)

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.path / CHECKPOINT

    @property
    def start(self) -> Path:
        """The policy that a fine-tuning began from; only where the run is one."""
        return self.path / START

    @property
    def best(self) -> Path:
        """The policy that is to be played: what a fine-tuning kept, once it ended, otherwise the newest checkpoint."""
        kept = self.path / BEST
        return kept if kept.is_file() else self.checkpoint

    @property
    def fine_tuning(self) -> Path:
        """What came of a fine-tuning, as JSON; only where one has ended."""
        return self.path / "fine_tuning.json"

    @property
    def go_on(self) -> str:
        """The command that resumes it."""
        folder = shlex.quote(str(self.path))
        return f"gnnrl train {shlex.quote(str(self.path / 'config.yaml'))} --resume {folder}"

    @property
    def steps(self) -> int:
        """Environment steps of the newest checkpoint; 0 where there is none yet.

        Raises:
            CheckpointError: it is damaged.
        """
        return self._saved().steps

    @property
    def finished(self) -> bool:
        """Whether it has been trained to its end.

        Raises:
            CheckpointError: the checkpoint is damaged.
        """
        saved = self._saved()
        return saved.steps >= self.config.training.total_steps and saved.pending is None

    def _saved(self) -> Standing:
        return saved_standing(self.checkpoint) if self.checkpoint.exists() else Standing()

    def standing(self) -> str:
        """How far it is and how to go on with it, for whoever meant to begin it."""
        total = self.config.training.total_steps
        if self.finished:
            return (
                f"{self.path}: holds a finished run of {self.steps:,} steps; go on with {self.go_on} --extend STEPS, or choose another "
                "--out"
            )
        return (
            f"{self.path}: holds a run that has come to step {self.steps:,} of {total:,}; go on with {self.go_on}, or choose "
            "another --out"
        )

    def extended(self, steps: int) -> RunFolder[AnyExperiment]:
        """The run with so many more steps to train, which its configuration says from now on.

        Raises:
            CheckpointError: its checkpoint is damaged.
        """
        training = self.config.training
        longer = replace(training, total_steps=max(training.total_steps, self.steps) + steps)
        config = replace(self.config, training=longer)
        write_text(self.path / "config.yaml", dump_config(config))
        return RunFolder(self.path, config, self.revision)

    @property
    def clone(self) -> Path:
        """The policy as the warm start left it, before it learned anything of its own; only where there was a warm start."""
        return self.path / "clone.pt"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / TENSORBOARD

    def require_same(self, config: Experiment) -> None:
        """Refuses to continue this run under another configuration.

        Raises:
            RunError: names every field that differs.
        """
        different = list(differences(asdict(self.config), asdict(config)))
        if different:
            lines = "\n".join(
                f"  {path}: {ours!r} in the run, {theirs!r} asked for" for path, ours, theirs in different
            )
            raise RunError(
                f"{self.path}: cannot be resumed with another configuration\n{lines}\n"
                f"resume it with {self.path / 'config.yaml'}, or start a new run with --out"
            )

    def revision_warning(self) -> str | None:
        """What to tell a user who continues or evaluates this run with other code; None if it is the same."""
        now = code_revision()
        if self.revision.get("revision") != now["revision"]:
            return f"{self.path} was made by {_described(self.revision)}, this is {_described(now)}"
        if self.revision.get("modified") or now["modified"]:
            return f"{self.path}: the code had or has uncommitted changes, so it may not be what made this run"
        return None


def code_revision() -> dict[str, Any]:
    """Git revision of the package's source (None outside a checkout), whether it is modified, and versions."""
    source = Path(__file__).parents[2]
    head = _git(source, "rev-parse", "HEAD")
    changes = _git(source, "status", "--porcelain", "--untracked-files=no") if head else None
    return {
        "revision": head,
        "modified": bool(changes),
        "gnnrl": version("gnnrl"),
        "torch": version("torch"),
        "python": platform.python_version(),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _described(revision: Mapping[str, Any]) -> str:
    head = revision.get("revision")
    place = str(head)[:12] if head else "an unknown revision"
    return f"gnnrl {revision.get('gnnrl', '?')} at {place}{' with changes' if revision.get('modified') else ''}"
