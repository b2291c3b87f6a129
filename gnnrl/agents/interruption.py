"""Signals that ask a training to stop: Ctrl-C, `kill`, and what Kubernetes, Slurm and spot machines send."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Interruption", "TrainingInterrupted"]

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # no SIGHUP on Windows
)

ECHO_SECONDS = 0.5
"""A second signal within this time is the first one again: `timeout` and job managers send it to the process and to its group."""


class TrainingInterrupted(Exception):
    """A signal has ended a training; what it had come to is saved.

    Args:
        number: of the signal.
        steps: environment steps that are saved.
        checkpoint: where; None = nothing had been learned yet, so nothing is lost.
        go_on: how.

    Attributes:
        exit_code: 128 + the signal's number, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """

    def __init__(self, number: int, steps: int, checkpoint: Path | None, go_on: str) -> None:
        self.number, self.steps, self.checkpoint = number, steps, checkpoint
        self.exit_code = 128 + number
        kept = "nothing had been learned yet" if checkpoint is None else f"saved {checkpoint}"
        how = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        super().__init__(f"interrupted{how} after {steps:,} steps; {kept}. Go on with: {go_on}")

    def with_advice(self, go_on: str) -> TrainingInterrupted:
        """The same, with another way of going on."""
        return TrainingInterrupted(self.number, self.steps, self.checkpoint, go_on)


class Interrupted(BaseException):
    """Raised where a signal comes in work that may stop at once. No error, so that nobody who mends errors swallows it."""


class Interruption:
    """As a context: the first signal is kept, and obeyed at once only inside `at_once`; the second does what it usually does.

    A signal that the process ignores stays ignored where it is SIGHUP (`nohup`). Only the main thread hears signals; elsewhere this
    does nothing.

    Args:
        enabled: False hears nothing.

    Attributes:
        number: of the signal that came; None = none has.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.number: int | None = None
        self._enabled = enabled
        self._at_once = False
        self._since = 0.0
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if self._enabled and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                usual = signal.getsignal(number)
                # None: set by something that is not Python, which could not be put back.
                if usual is not None and not (number != signal.SIGINT and usual is signal.SIG_IGN):
                    self._usual[number] = usual
                    signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Work that a signal ends in the middle.

        Raises:
            Interrupted: a signal came, now or before.
        """
        self._at_once = True
        try:
            if self.number is not None:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.number is not None:
            if time.monotonic() - self._since >= ECHO_SECONDS:
                self._restore()
                signal.raise_signal(number)
            return
        self.number, self._since = number, time.monotonic()
        if self._at_once:
            self._at_once = False
            raise Interrupted

    def _restore(self) -> None:
        while self._usual:
            signal.signal(*self._usual.popitem())
