from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_space import CapacityError, SlotTable
from tests.graph_space.strategies import NAMES

CAPACITY = 6
NodeLists = st.lists(st.sampled_from(NAMES), unique=True, max_size=CAPACITY)
Histories = st.lists(st.tuples(NodeLists, st.booleans()), max_size=12)


def play(table: SlotTable, history: list[tuple[list[str], bool]]) -> list[tuple[list[int], list[int]]]:
    """Update by each list of names, commit where told; slots and prev_slot of every update."""
    answers = []
    for names, commit in history:
        slots, prev_slot = table.update(names)
        answers.append((slots.tolist(), prev_slot.tolist()))
        if commit:
            table.commit()
    return answers


@given(Histories)
def test_survivors_keep_their_slot_and_slots_are_distinct(history: list[tuple[list[str], bool]]) -> None:
    table = SlotTable(CAPACITY)
    before: dict[str, int] = {}
    for names, commit in history:
        slots = table.update(names).slots.tolist()
        now = dict(zip(names, slots, strict=True))
        assert len(set(slots)) == len(slots)
        assert all(0 <= slot < CAPACITY for slot in slots)
        assert {name: now[name] for name in now if name in before} == {
            name: before[name] for name in before if name in now
        }
        assert dict(table.mapping) == now
        assert all(table.slot_of(name) == slot and table.names[slot] == name for name, slot in now.items())
        before = now
        if commit:
            table.commit()


@given(Histories)
def test_prev_slot_is_where_the_node_stood_at_the_last_commit(history: list[tuple[list[str], bool]]) -> None:
    table = SlotTable(CAPACITY)
    committed: dict[str, int] = {}
    for names, commit in history:
        slots, prev_slot = table.update(names)
        expected = np.full(CAPACITY, -1)
        for name, slot in zip(names, slots.tolist(), strict=True):
            expected[slot] = committed.get(name, -1)
        assert prev_slot.tolist() == expected.tolist()
        carried = prev_slot[prev_slot >= 0].tolist()
        assert len(set(carried)) == len(carried)
        if commit:
            table.commit()
            committed = dict(zip(names, slots.tolist(), strict=True))


@given(Histories)
def test_newcomers_take_slots_by_the_documented_policy(history: list[tuple[list[str], bool]]) -> None:
    table = SlotTable(CAPACITY)
    owner: dict[int, str] = {}
    present: set[str] = set()
    held: set[int] = set()
    for names, commit in history:
        slots = dict(zip(names, table.update(names).slots.tolist(), strict=True))
        former = {name: slot for slot, name in owner.items()}
        for name in set(names) - present:
            if name in former:
                assert slots[name] == former[name]
        newcomers = [name for name in names if name not in former]
        settled = {slot for name, slot in slots.items() if name in former}
        free = [slot for slot in range(CAPACITY) if slot not in settled]
        preferred = [slot for slot in free if slot not in held] + [slot for slot in free if slot in held]
        assert [slots[name] for name in newcomers] == preferred[: len(newcomers)]
        owner.update({slot: name for name, slot in slots.items()})
        present = set(names)
        if commit:
            table.commit()
            held = set(slots.values())


@given(Histories, Histories)
def test_a_saved_table_goes_on_as_the_original(
    before: list[tuple[list[str], bool]], after: list[tuple[list[str], bool]]
) -> None:
    table = SlotTable(CAPACITY)
    play(table, before)
    loaded = SlotTable(CAPACITY)
    loaded.load_state_dict(json.loads(json.dumps(table.state_dict())))
    pickled = pickle.loads(pickle.dumps(table))
    expected = play(table, after)
    assert play(loaded, after) == expected
    assert play(pickled, after) == expected


def test_a_held_observation_does_not_move_the_reference() -> None:
    table = SlotTable(4)
    table.update(["a", "b", "c"])
    table.commit()
    table.update(["b", "c", "x"])  # held: a is gone, x stands in slot 3
    table.update(["b", "c", "x", "y"])  # held: y has to take a's slot
    slots, prev_slot = table.update(["a", "b", "c", "x"])
    assert slots.tolist() == [0, 1, 2, 3]
    # a was in the last consumed observation, so its memory is still wanted; x was never consumed
    assert prev_slot.tolist() == [0, 1, 2, -1]
    table.commit()
    assert table.update(["a", "b", "c", "x"]).prev_slot.tolist() == [0, 1, 2, 3]

    committing = SlotTable(4)  # the control: with a commit at every update, a comes back as a stranger
    for names in (["a", "b", "c"], ["b", "c", "x"], ["b", "c", "x", "y"]):
        committing.update(names)
        committing.commit()
    assert committing.update(["a", "b", "c", "x"]).prev_slot.tolist() == [-1, 1, 2, 3]


def test_a_node_moved_by_a_held_update_is_followed_to_its_old_slot() -> None:
    table = SlotTable(2)
    table.update(["a", "b"])
    table.commit()
    table.update(["b", "x"])  # held: x takes slot 0 at full capacity
    table.update(["b"])
    slots, prev_slot = table.update(["b", "a"])
    assert slots.tolist() == [1, 0]
    assert prev_slot.tolist() == [0, 1]

    table = SlotTable(3)
    table.update(["a", "b", "c"])
    table.commit()
    table.update(["b", "c", "x"])  # x in slot 0
    table.update(["c", "x"])
    slots, prev_slot = table.update(["a", "c", "x"])  # a in slot 1 now, which b held
    assert slots.tolist() == [1, 2, 0]
    assert prev_slot.tolist() == [-1, 0, 2]


def test_a_slot_reused_in_one_step_belongs_to_a_new_node() -> None:
    table = SlotTable(2)
    table.update(["a", "b"])
    table.commit()
    slots, prev_slot = table.update(["b", "c"])
    assert slots.tolist() == [1, 0]
    assert prev_slot.tolist() == [-1, 1]


def test_a_freed_slot_rests_while_another_is_free() -> None:
    table = SlotTable(4)
    table.update(["a", "b"])
    table.commit()
    assert table.update(["b", "c"]).slots.tolist() == [1, 2]
    table.commit()
    assert table.update(["b", "c", "d"]).slots.tolist() == [1, 2, 0]


def test_a_node_that_left_a_consumed_observation_starts_anew_in_its_old_slot() -> None:
    table = SlotTable(4)
    for names in (["a", "b"], ["b"]):
        table.update(names)
        table.commit()
    slots, prev_slot = table.update(["b", "z", "a"])
    assert slots.tolist() == [1, 2, 0]
    assert prev_slot.tolist() == [-1, 1, -1, -1]


def test_unchanged_names_cost_nothing() -> None:
    table = SlotTable(4)
    first = table.update(["a", "b"])
    assert table.update(("a", "b")) is first
    table.commit()
    second = table.update(["a", "b"])
    assert second.prev_slot.tolist() == [0, 1, -1, -1]
    table.commit()
    assert table.update(["a", "b"]) is second
    with pytest.raises(ValueError, match="read-only"):
        second.slots[0] = 3


def test_the_order_of_names_changes_the_order_of_slots_alone() -> None:
    table = SlotTable(4)
    table.update(["a", "b", "c"])
    assert table.update(["c", "a", "b"]).slots.tolist() == [2, 0, 1]


def test_reset_forgets_every_node() -> None:
    table = SlotTable(3)
    table.update(["a", "b"])
    table.commit()
    table.reset()
    slots, prev_slot = table.update(["b", "a"])
    assert slots.tolist() == [0, 1]
    assert prev_slot.tolist() == [-1, -1, -1]


def test_refused_updates_leave_the_table_as_it_was() -> None:
    table = SlotTable(2)
    table.update(["a", "b"])
    with pytest.raises(CapacityError, match="3 nodes do not fit in 2 slots; raise max_nodes to 3 or more"):
        table.update(["a", "b", "c"])
    with pytest.raises(ValueError, match="repeated: 'c'"):
        table.update(["c", "c"])
    assert dict(table.mapping) == {"a": 0, "b": 1}
    with pytest.raises(KeyError, match="'c' is not among the 2 nodes"):
        table.slot_of("c")


@pytest.mark.parametrize("capacity", [0, -1, True, 2.0])
def test_capacity_is_a_positive_integer(capacity: int) -> None:
    with pytest.raises(ValueError, match="is not an integer >= 1"):
        SlotTable(capacity)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": 3}, "of 3 slots, this table has 2"),
        ({"slots": {"a": 0, "b": 0}}, "not distinct numbers"),
        ({"former": {"a": 2}}, "not distinct numbers in 0 .. 1"),
        ({"committed": None}, "lacks committed"),
    ],
)
def test_damaged_states_are_refused(change: dict[str, object], message: str) -> None:
    state = {**SlotTable(2).state_dict(), **change}
    state = {key: value for key, value in state.items() if value is not None}
    table = SlotTable(2)
    table.update(["k"])
    with pytest.raises(ValueError, match=message):
        table.load_state_dict(state)
    assert dict(table.mapping) == {"k": 0}


@pytest.mark.parametrize("names", ["ab", [1], [None], [["a"]], [b"a"]])
def test_names_are_a_list_of_texts(names: object) -> None:
    with pytest.raises(ValueError, match="name"):
        SlotTable(3).update(names)  # type: ignore[arg-type]


@pytest.mark.parametrize("slots", [None, [0], {"a": True}, {"a": 0.5}, {"a": "0"}, {"a": []}, {"a": 3}])
def test_a_state_of_other_kinds_is_refused(slots: object) -> None:
    table = SlotTable(3)
    with pytest.raises(ValueError, match="SlotTable state, slots"):
        table.load_state_dict(table.state_dict() | {"slots": slots})
