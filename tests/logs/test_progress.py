"""A training that nobody watches says now and then how far it is."""

from __future__ import annotations

import io

from rich.console import Console

from gnnrl.logs import TrainingProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def statistics(rate: float = 100.0, reward: float = -1.25) -> dict[str, float]:
    return {"steps_per_second": rate, "reward": reward}


def test_a_line_at_the_first_update_every_ten_seconds_and_at_the_last() -> None:
    out, clock = io.StringIO(), Clock()
    with TrainingProgress(10_000, 1_000, Console(file=out), clock=clock) as progress:
        progress.say("cloning hpa")
        for steps in range(1_100, 10_001, 100):  # a second each
            clock.now += 1.0
            progress.advance_to(steps, statistics(), {"violating_share": 0.021})
    said = out.getvalue().splitlines()
    assert said[0] == "cloning hpa"
    assert said[1] == "1,100 of 10,000 steps (11 %), reward -1.25, violating 2.1%, 100 steps/s, 1 min 29 s left"
    assert [line.split(" of ")[0] for line in said[1:]] == [
        *(f"{steps:,}" for steps in range(1_100, 10_000, 1_000)),
        "10,000",
    ]
    assert said[-1].endswith("100 steps/s, 0 s left")


def test_time_left_follows_from_what_was_done_since_the_resumption() -> None:
    out, clock = io.StringIO(), Clock()
    with TrainingProgress(1_000_000, 500_000, Console(file=out), clock=clock) as progress:
        clock.now += 50.0
        progress.advance_to(501_000, statistics(20.0), {})
        clock.now += 150.0  # validation: slower than the updates say
        progress.advance_to(502_000, statistics(20.0), {})
    assert out.getvalue().splitlines()[0].endswith("6 h 55 min left")
    assert out.getvalue().splitlines()[1].endswith("13 h 50 min left")


def test_it_is_silent_where_nothing_is_asked_for_and_where_nobody_reads_any_more() -> None:
    out = io.StringIO()
    with TrainingProgress(100, console=Console(file=out), enabled=False) as progress:
        progress.say("no")
        progress.advance_to(100, statistics(), {})
    assert out.getvalue() == ""

    class Gone(io.StringIO):
        tries = 0

        def write(self, text: str) -> int:  # noqa: ARG002
            Gone.tries += 1
            raise BrokenPipeError(32, "Broken pipe")

    with TrainingProgress(100, console=Console(file=Gone())) as progress:
        progress.say("one")
        progress.advance_to(100, statistics(), {})
    assert Gone.tries == 1


def test_on_a_terminal_there_is_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with TrainingProgress(100, console=Console(file=out, force_terminal=True, width=120)) as progress:
        progress.say("[cloning]")
        progress.advance_to(50, statistics(), {})
    assert "[cloning]" in out.getvalue()
    assert "50 of 100 steps" in out.getvalue()
