"""Some of the calls that `benchmarks/fuzz_arguments.py` makes: what is legal is taken, all else is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.drawn_arguments import CASES, Call, drawn_call, outcome


@pytest.mark.parametrize("case", sorted(CASES))
def test_what_is_legal_is_taken_and_all_else_is_refused_in_words(case: str) -> None:
    made = [0, 0]

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(drawn_call((case,)))
    def run(call: Call) -> None:
        made[call.legal] += 1
        assert outcome(call) == "right", call.told

    run()
    assert made[False] > 5  # the oracle sees both kinds


def test_the_judgement_of_an_outcome_sees_each_fault() -> None:
    def refuses() -> None:
        raise ValueError("no")

    def breaks() -> None:
        np.zeros(2)[5]

    assert outcome(Call("x", "", True, lambda: None)) == "right"
    assert outcome(Call("x", "", False, refuses)) == "right"
    assert outcome(Call("x", "", False, lambda: None)) == "silently taken"
    assert outcome(Call("x", "", True, refuses)).startswith("refused")
    assert outcome(Call("x", "", False, breaks)).startswith("raw IndexError")
