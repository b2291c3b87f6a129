"""One training from its beginning or from where it was left: the loop of rollouts and updates with all that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnrl.agents.archive import CheckpointError, write_archive
from gnnrl.agents.interruption import Interrupted, Interruption, TrainingInterrupted
from gnnrl.agents.iteration import Collector, Iteration, iterations, prime
from gnnrl.agents.saved_training import Standing, held_training, load_training
from gnnrl.logs import CheckpointTable, RunLog, TrainingProgress
from gnnrl.logs.checkpoint_table import TABLE

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["CHECKPOINT", "Callback", "Learning", "Plan", "Preparation", "crossed"]

CHECKPOINT = "checkpoint.pt"
"""The newest checkpoint in the folder of a training."""

Callback = Callable[["PPO_GNN", Iteration], Mapping[str, float] | bool | None]
"""Called after each update. A mapping that it returns is logged, name -> value at this step; False ends the training."""

Preparation = Callable[[Callable[[str], None]], Mapping[str, float]]
"""What comes before the first rollout, once. It is given what prints a line, and returns what is logged at step 0."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a training is, and how it is kept."""

    total_steps: int
    """Environment steps, rounded up to whole rollouts; the schedules run to it."""
    checkpoint_every_steps: int
    """Environment steps between checkpoints."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the training is made from, plain values: shown beside the logs, and a checkpoint of another is refused."""
    prefix: str = "env"
    """Of the environment's own metrics in the logs."""
    go_on: str = "learn(..., resume=True)"
    """What to do to resume it, said to whoever interrupts it."""


class Learning:
    """A training of an agent.

    With a folder it holds `checkpoint.pt`, `checkpoints.csv`, `training.jsonl` and TensorBoard's files, and a signal ends it without loss:
    after every update a copy of the training is held in memory, and written when a signal comes. Rollout, update, callback and
    preparation end at once, so that it takes no longer than writing a file; a callback that was ended is called again at the resumption.

    Args:
        agent: that learns.
        collector: of its environment.
        plan: how long, and how it is kept.
        folder: where; None = nothing is kept, and signals do what they usually do.
        callback: called after each update.
        preparations: what comes first, in order.
        progress: show how far it is, on standard error.

    Attributes:
        steps: environment steps done.
        signal: that came, obeyed or too late; None = none.
    """

    def __init__(
        self,
        agent: PPO_GNN,
        collector: Collector,
        plan: Plan,
        *,
        folder: Path | None = None,
        callback: Callback | None = None,
        preparations: Sequence[Preparation] = (),
        progress: bool = False,
    ) -> None:
        self.agent, self.collector, self.plan, self.folder = agent, collector, plan, folder
        self._callback, self._preparations, self._shows = callback, preparations, progress
        self._standing = Standing()
        self._held: Mapping[str, Any] | None = None
        self.signal: int | None = None

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return self._standing.steps

    def run(self, resume: bool = False) -> None:
        """Train to the end.

        Args:
            resume: go on from the folder's checkpoint; from the beginning where the training ended before it had one.

        Raises:
            CheckpointError: the checkpoint cannot be used, or one cannot be written.
            TrainingInterrupted: a signal came; everything is saved. A second one stops at once and saves nothing.
            ReplayError: the agent's replay does not reproduce its rollout.
        """
        began = self._restored() if resume else None
        with (
            Interruption(self.folder is not None) as self._signals,
            TrainingProgress(self.plan.total_steps, self.steps, enabled=self._shows) as self._progress,
        ):
            if began is not None:
                self._progress.say(f"resuming {self.folder} from step {self.steps:,} of {self.plan.total_steps:,}")
            elif resume:
                self._progress.say(f"{self.folder} holds no checkpoint yet: from the beginning")
            self._keep_logs(-1 if resume and began is None else began)

    def _restored(self) -> int | None:
        """Steps of the checkpoint, None where there has been none."""
        assert self.folder is not None
        path = self.folder / CHECKPOINT
        if not path.exists() and not (self.folder / TABLE).exists():
            return None
        self._standing = load_training(path, self.plan.about, self.agent, self.collector)
        return self.steps

    def _keep_logs(self, resume_step: int | None) -> None:
        if self.folder is None:
            self._until_signal(None, None)
            return
        table = CheckpointTable(self.folder, resume_step)
        table.newest |= self._standing.newest
        per_rollout = self.collector.env.num_envs * self.agent.config.rollout_length
        if self.steps and self._standing.pending is None and self._due(per_rollout) and not table.has(self.steps):
            table.add(self.steps)  # the process was killed between checkpoint and row
        with closing(RunLog(self.folder, resume_step, self.plan.about)) as log:
            self._until_signal(log, table)

    def _until_signal(self, log: RunLog | None, table: CheckpointTable | None) -> None:
        try:
            self._learn(log, table)
        # Environments in processes of their own hear the signal too, and their pipes break.
        except (Interrupted, EOFError, OSError) as error:
            if self._signals.number is None:
                raise
            checkpoint = self._write() if self._held is not None else None
            raise TrainingInterrupted(self._signals.number, self.steps, checkpoint, self.plan.go_on) from error
        finally:
            self.signal = self._signals.number

    def _learn(self, log: RunLog | None, table: CheckpointTable | None) -> None:
        self._prepare(log)
        rounds = iterations(self.agent, self.collector.env, self.plan.total_steps, self.collector, self.steps)
        iteration = self._standing.pending
        while True:
            if iteration is None:
                with self._signals.at_once():
                    iteration = next(rounds, None)
                if iteration is None:
                    return
                self._note(iteration, log, table)
            goes_on = self._call_back(iteration, log, table)
            if (not goes_on or self._due(iteration.new_steps)) and log is not None and table is not None:
                log.flush()
                self._write()
                table.add(self.steps)
            if not goes_on or self.steps >= self.plan.total_steps:
                return
            iteration = None

    def _due(self, new_steps: int) -> bool:
        """Whether a checkpoint is due after so many new steps."""
        last = self.steps >= self.plan.total_steps
        return last or crossed(self.steps - new_steps, self.steps, self.plan.checkpoint_every_steps)

    def _prepare(self, log: RunLog | None) -> None:
        for number, preparation in enumerate(
            self._preparations[self._standing.prepared :], self._standing.prepared + 1
        ):
            with self._signals.at_once():
                values = preparation(self._progress.say)
            if log is not None and values:
                log.scalars(0, values)
            self._stand(Standing(prepared=number))
        if self.agent.scaler.count == 0:
            with self._signals.at_once():
                prime(self.agent, self.collector)
            self._stand(Standing(prepared=self._standing.prepared))

    def _note(self, iteration: Iteration, log: RunLog | None, table: CheckpointTable | None) -> None:
        newest: Mapping[str, str] = {}
        if log is not None and table is not None:
            scalars = {f"train/{name}": value for name, value in iteration.statistics.items()}
            scalars |= {f"{self.plan.prefix}/{name}": value for name, value in iteration.metrics.items()}
            log.scalars(iteration.steps, scalars)
            table.note({"reward": iteration.statistics["reward"]})
            newest = table.newest
        self._progress.advance_to(iteration.steps, iteration.statistics, iteration.metrics)
        pending = None if self._callback is None else iteration
        self._stand(Standing(steps=iteration.steps, prepared=self._standing.prepared, pending=pending, newest=newest))

    def _call_back(self, iteration: Iteration, log: RunLog | None, table: CheckpointTable | None) -> bool:
        """Whether the training goes on."""
        if self._callback is None:
            return True
        with self._signals.at_once():
            self.agent.train(False)
            answer = _answer(self._callback(self.agent, iteration))
        newest: Mapping[str, str] = {}
        if log is not None and table is not None:
            if isinstance(answer, Mapping):
                log.scalars(iteration.steps, answer)
                table.note({name.removeprefix("eval/"): value for name, value in answer.items()})
            newest = table.newest
        self._stand(Standing(steps=iteration.steps, prepared=self._standing.prepared, newest=newest))
        return answer is not False

    def _stand(self, standing: Standing) -> None:
        self._standing = standing
        if self.folder is not None:
            self._held = held_training(self.plan.about, self.agent, self.collector, standing)

    def _write(self) -> Path:
        assert self.folder is not None
        assert self._held is not None
        path = self.folder / CHECKPOINT
        try:
            write_archive(path, self._held)
        except CheckpointError as error:
            raise CheckpointError(f"{error}. Make room, then go on with: {self.plan.go_on}") from error
        return path


def _answer(answer: Any) -> Mapping[str, float] | bool | None:
    """What a callback returned, in plain numbers.

    Raises:
        TypeError: it is neither a mapping of names to numbers, nor True, False or None.
    """
    if answer is None or isinstance(answer, bool | np.bool_):
        return None if answer is None else bool(answer)
    if not isinstance(answer, Mapping):
        raise TypeError(
            f"the callback returned {answer!r:.80}; a mapping of names to numbers is logged, False ends the training, None goes on"
        )
    return {_name(name): _number(name, value) for name, value in answer.items()}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise TypeError(
            f"the callback returned {name!r:.80} as the name of a number; it is text without control characters"
        )
    if name.removeprefix("eval/") == "step":
        raise TypeError(f"the callback returned a number named {name!r}; the step is a column of its own in the logs")
    return name


def _number(name: str, value: Any) -> float:
    # A number of numpy or torch counts as one.
    plain = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    if not isinstance(plain, Real):
        raise TypeError(f"the callback returned {name!r}: {value!r:.80}, which is not a number")
    return float(plain)


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]; 0 = never."""
    return every > 0 and after // every > before // every
