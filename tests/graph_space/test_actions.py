"""What is in an action space passes, as int64; nothing else does, and the first wrong number is named."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from graph_space.actions import ActionCheck, ActionError

JOINT = ActionCheck(spaces.MultiDiscrete([15] * 4), 2, "Env.step")
ONE = ActionCheck(spaces.Discrete(5), None, "Env.step")


def test_an_action_of_the_space_passes_without_a_copy() -> None:
    actions = np.array([[0, 14, 3, 7], [1, 2, 3, 4]])
    assert np.shares_memory(JOINT(actions), actions) and JOINT(actions).tolist() == actions.tolist()
    assert JOINT(actions.astype(np.uint8)).tolist() == actions.tolist()
    assert JOINT(actions.tolist()).dtype == np.int64
    mirrored = actions[:, ::-1]
    taken = JOINT(mirrored)
    assert taken.flags.c_contiguous and taken.tolist() == mirrored.tolist()
    for four in (4, np.int32(4), np.array(4)):
        assert ONE(four).shape == () and int(ONE(four)) == 4


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 3), int), r"shape \(2, 3\), expected \(2, 4\)"),
        (np.zeros(8, int), r"shape \(8,\), expected \(2, 4\)"),
        (np.zeros((4, 2), int), r"shape \(4, 2\)"),
        (np.full((2, 4), 15), r"action\[0, 0\] 15 is not in 0 .. 14"),
        (np.array([[0, 0, 0, 0], [0, 0, -1, 0]]), r"action\[1, 2\] -1 is not in 0 .. 14"),
        (np.array([[0, 0, 0, 2**63]] * 2, np.uint64), r"action\[0, 3\] 9223372036854775808 is not in"),
        (np.array([[0.0, np.nan, 1.0, 2.0]] * 2), r"action\[0, 1\] nan is not an integer"),
        (np.zeros((2, 4)), "dtype float64, expected integers"),
        (np.zeros((2, 4), bool), "dtype bool, expected integers"),
        ([[0, 1], [2]], "no array of integers"),
        ("up", "expected integers"),
        (None, "expected integers"),
    ],
)
def test_all_else_is_refused_by_name(actions: object, message: str) -> None:
    with pytest.raises(ActionError, match=f"Env.step: .*{message}"):
        JOINT(actions)


def test_only_a_number_out_of_range_is_forgiven_where_nobody_reads_it() -> None:
    actions = np.array([[0, 99, -3, 1], [1, 2, 3, 4]])
    with pytest.raises(ActionError, match=r"action\[0, 1\] 99"):
        JOINT(actions, np.array([False, True]))
    assert JOINT(actions, np.array([True, False])).tolist() == [[0, 0, 0, 1], [1, 2, 3, 4]]
    with pytest.raises(ActionError, match="shape"):
        JOINT(actions[:, :2], np.array([True, True]))


def test_a_space_that_no_graph_has_is_refused() -> None:
    for space in (spaces.Box(0, 1), spaces.MultiDiscrete([2, 3]), spaces.Discrete(3, start=1)):
        with pytest.raises(ValueError, match="Discrete"):
            ActionCheck(space, 2, "Env.step")
