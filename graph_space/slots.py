"""`SlotTable`: which node stands in which slot, and where it stood when the policy last looked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_SIZE", "Assignment", "CapacityError", "SlotTable"]

LARGEST_SIZE = 1_000_000
"""Slots of a table, and of nodes, edges, features or moves of an observation: more is a slip of the pen, and would fill the memory."""


class CapacityError(ValueError):
    """More nodes or edges than there are slots."""


class Assignment(NamedTuple):
    """Where the nodes of one observation stand. Both arrays are read-only and may be shared by later calls."""

    slots: NDArray[np.int64]
    """[n], slot of each node, in the order of the names given."""
    prev_slot: NDArray[np.int64]
    """[capacity], by slot: where the same node stood in the last committed observation; -1 = new, and in padding."""


class SlotTable:
    """A stable mapping of node names to slots `0 .. capacity - 1`.

    The policy of reuse, in this order:

    1. A surviving node keeps its slot.
    2. A node that comes back takes the slot it had, if nobody took it meanwhile.
    3. A new node takes the lowest free slot that no node of the last committed observation held, so that a slot
       seldom changes hands between two looks of the policy.
    4. Where there is none (a node replaced at full capacity), the lowest free slot.

    Rule 3 is a courtesy to readers that compare slots across time; what is safe rests on `prev_slot` alone: a node
    absent from the last committed observation has `prev_slot` -1 in whatever slot, so it starts without memory.

    `update` proposes an observation, `commit` says that the policy consumed it. An observation that was made and then
    held back (a live interval without a decision) is not committed and leaves the reference where it was: the encoder
    has not advanced its memory either. Several updates between two commits are legal; the last one counts.

    The same sequence of calls gives the same slots. Names new in one update are placed in the order given.
    """

    def __init__(self, capacity: int) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise ValueError(f"SlotTable: capacity {capacity!r} is not an integer >= 1")
        if capacity > LARGEST_SIZE:
            raise ValueError(f"SlotTable: capacity {capacity} is above {LARGEST_SIZE}")
        self._capacity = capacity
        self.reset()

    def reset(self) -> None:
        """Forget every node, as at the start of an episode: the next update has `prev_slot` -1 throughout."""
        self._slots: dict[str, int] = {}
        self._former: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        self._names: tuple[str, ...] = ()
        self._assignment: Assignment | None = None

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self._capacity

    @property
    def mapping(self) -> Mapping[str, int]:
        """Name -> slot of the nodes of the last update, in the order of their names there. A read-only snapshot."""
        return MappingProxyType(self._slots)

    @property
    def names(self) -> tuple[str | None, ...]:
        """[capacity], by slot: the node of the last update that stands there, or None."""
        by_slot: list[str | None] = [None] * self._capacity
        for name, slot in self._slots.items():
            by_slot[slot] = name
        return tuple(by_slot)

    def slot_of(self, name: str) -> int:
        """Slot of a node of the last update.

        Raises:
            KeyError: the node is not there.
        """
        if name not in self._slots:
            raise KeyError(f"{name!r} is not among the {len(self._slots)} nodes of the last update")
        return self._slots[name]

    def update(self, names: Iterable[str]) -> Assignment:
        """Place the nodes of the next observation.

        Args:
            names: every node of the observation, each once.

        Raises:
            ValueError: a name is repeated, or no string. The table is unchanged.
            CapacityError: more names than slots. The table is unchanged.
        """
        if isinstance(names, str):
            raise ValueError(f"names: {names!r:.80} is one name; give a list of them")
        names = tuple(names)
        if self._assignment is not None and names == self._names:
            return self._assignment
        misnamed = [name for name in names if not isinstance(name, str)]
        if misnamed:
            raise ValueError(f"node names are strings, not {misnamed[0]!r:.80}")
        present = dict.fromkeys(names)
        if len(present) != len(names):
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"node names must differ; repeated: {', '.join(map(repr, repeated))}")
        if len(names) > self._capacity:
            raise CapacityError(
                f"{len(names)} nodes do not fit in {self._capacity} slots; raise max_nodes to {len(names)} or more"
            )
        if names != self._names:
            self._place(names, present)
            self._names = names
        self._assignment = self._describe(names)
        return self._assignment

    def commit(self) -> None:
        """Make the last update the reference of `prev_slot`: the policy has consumed that observation."""
        # `_place` builds a new dict whenever the nodes change, so sharing it here is a snapshot
        if self._committed is not self._slots:
            self._committed = self._slots
            self._assignment = None

    def state_dict(self) -> dict[str, Any]:
        """Everything the table knows, as plain JSON types."""
        return {
            "capacity": self._capacity,
            "slots": dict(self._slots),
            "former": dict(self._former),
            "committed": dict(self._committed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next calls answer as those of the saved table would.

        Raises:
            ValueError: keys missing, another capacity, or two nodes in one slot. The table is unchanged.
        """
        missing = sorted({"capacity", "slots", "former", "committed"} - set(state))
        if missing:
            raise ValueError(f"SlotTable state lacks {', '.join(missing)}; give what state_dict() returned")
        if state["capacity"] != self._capacity:
            raise ValueError(f"SlotTable state is of {state['capacity']} slots, this table has {self._capacity}")
        for part in ("slots", "former", "committed"):
            if not isinstance(state[part], Mapping):
                raise ValueError(f"SlotTable state, {part}: {state[part]!r:.80} is no mapping of names to slots")
            slots = list(state[part].values())
            if any(type(slot) is not int or not 0 <= slot < self._capacity for slot in slots) or len(set(slots)) != len(
                slots
            ):
                raise ValueError(
                    f"SlotTable state, {part}: slots {slots} are not distinct numbers in 0 .. {self._capacity - 1}"
                )
        self._slots = dict(state["slots"])
        self._former = dict(state["former"])
        committed = dict(state["committed"])
        self._committed = self._slots if committed == self._slots else committed
        self._names = tuple(self._slots)
        self._assignment = None

    def _place(self, names: tuple[str, ...], present: Mapping[str, None]) -> None:
        for name, slot in self._slots.items():
            if name not in present:
                self._former[name] = slot
        placed = {name: self._slots[name] for name in names if name in self._slots}
        for name in names:
            if name not in placed and name in self._former:
                placed[name] = self._former.pop(name)
        newcomers = [name for name in names if name not in placed]
        if newcomers:
            taken = set(placed.values())
            held = set(self._committed.values())
            free = sorted(
                (slot for slot in range(self._capacity) if slot not in taken), key=lambda slot: (slot in held, slot)
            )
            placed.update(zip(newcomers, free, strict=False))
            given = set(free[: len(newcomers)])
            self._former = {name: slot for name, slot in self._former.items() if slot not in given}
        self._slots = {name: placed[name] for name in names}

    def _describe(self, names: tuple[str, ...]) -> Assignment:
        slots = np.fromiter(self._slots.values(), dtype=np.int64, count=len(names))
        prev_slot = np.full(self._capacity, -1, dtype=np.int64)
        prev_slot[slots] = [self._committed.get(name, -1) for name in names]
        slots.setflags(write=False)
        prev_slot.setflags(write=False)
        return Assignment(slots, prev_slot)
