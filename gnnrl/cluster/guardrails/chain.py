"""The guardrails, one after another: from wishes to numbers that may leave the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails import births, integrator, names, per_service, whole_mesh
from gnnrl.cluster.guardrails.memory import Memory
from gnnrl.cluster.guardrails.proposal import NO_FLOOR, UNLIMITED, Bools, Proposal, Replicas, Verdict
from gnnrl.config.live import GuardrailConfig

__all__ = ["Guardrails"]


class _Draft:
    """Numbers under way, and who changed them."""

    def __init__(self, current: Replicas, numbers: Replicas) -> None:
        self.current = current
        self.numbers = numbers
        self.hits: dict[str, Bools] = {}

    def put(self, name: str, numbers: Replicas, found: Bools | None = None) -> None:
        """What guardrail `name` made of the numbers; it acted where they differ, or where it `found` something."""
        self.hits[name] = numbers != self.numbers if found is None else found
        self.numbers = numbers


class _Holds:
    """Who must not be lowered, [B, S] each, by the guardrail that says so, in the order of application.

    Attributes:
        doubt_mask: whose wish rests on data in doubt, and counts as one for at least what is there.
    """

    def __init__(self, config: GuardrailConfig, memory: Memory, proposal: Proposal) -> None:
        nobody, mask = np.zeros_like(proposal.mask), proposal.mask
        ages = np.full(mask.shape, births.ALWAYS) if proposal.age_seconds is None else proposal.age_seconds
        measured_mask = ~nobody if proposal.measured_mask is None else proposal.measured_mask
        behind_mask = nobody if proposal.behind_errors_mask is None else proposal.behind_errors_mask & mask
        self.newborn_mask = births.newborn_mask(ages, mask, config)
        birth_hold_mask = births.birth_hold_mask(memory.since_birth(ages, mask), config)
        self.masks: Mapping[str, Bools] = {
            names.HALF_WINDOW: memory.half_windows(proposal),
            names.YOUNG: births.young_mask(ages, mask, measured_mask, config),
            names.BIRTH_HOLD: mask & birth_hold_mask[:, None],
            names.ERRORS_HOLD: memory.behind_errors(behind_mask),
            names.SLO_VIOLATED: nobody if proposal.violated_mask is None else proposal.violated_mask,
        }
        doubtful = (names.HALF_WINDOW, names.YOUNG, names.ERRORS_HOLD)
        self.doubt_mask = np.logical_or.reduce([proposal.untrusted_mask, *(self.masks[name] for name in doubtful)])


class Guardrails:
    """Applies every guardrail to B meshes at once, and remembers what they need to know of earlier intervals.

    What comes out is always int64, and within a service's limits wherever it differs from what is there; a service that
    cannot be judged keeps what it has. For each interval either `apply` is called once, with or without a decision, or
    `miss` where there was nothing to apply it to.

    Args:
        config: what each of them allows.
        batch_size: B, meshes.
        columns: S, service columns.
        interval_seconds: between two calls of `apply`.

    Raises:
        ValueError: no positive interval.
    """

    def __init__(self, config: GuardrailConfig, batch_size: int, columns: int, interval_seconds: float) -> None:
        if not interval_seconds > 0.0:
            raise ValueError(f"guardrails need an interval above 0 s, not {interval_seconds} s")
        self.config = config
        self._memory = Memory(config, batch_size, columns, interval_seconds)

    def apply(self, proposal: Proposal) -> Verdict:
        """What may be sent.

        Raises:
            ValueError: the proposal has another number of meshes or columns.
        """
        if proposal.current.shape != self._memory.shape:
            raise ValueError(
                f"a proposal for {list(proposal.current.shape)} meshes and services, these guardrails are for "
                f"{list(self._memory.shape)}; call remesh when services come and go"
            )
        wished_mask = per_service.valid_mask(proposal.wish) & proposal.mask
        decided_mask = wished_mask & ~proposal.untrusted_mask
        wishes = np.where(wished_mask, proposal.wish, 0).astype(np.int64)
        undecided = self._memory.undecided(decided_mask | ~proposal.mask)
        fallback_mask = undecided >= self.config.fallback_after_intervals
        holds = _Holds(self.config, self._memory, proposal)
        lowest, highest = self._memory.wishes(proposal, wishes, wished_mask, holds.doubt_mask)

        draft = _Draft(proposal.current, np.where(wished_mask, wishes, proposal.current))
        frozen_mask = self._freeze(draft, proposal)
        draft.put(names.INVALID, draft.numbers, ~wished_mask & ~frozen_mask)
        draft.put(names.UNTRUSTED, per_service.never_lower(draft.numbers, draft.current, proposal.untrusted_mask))
        draft.put(names.DEADBAND, per_service.deadband(draft.numbers, draft.current, self.config.deadband_replicas))
        draft.put(names.STABILISE_UP, per_service.stabilise_up(draft.numbers, draft.current, lowest))
        draft.put(names.STABILISE_DOWN, per_service.stabilise_down(draft.numbers, draft.current, highest))
        self._raise(draft, proposal, fallback_mask & ~frozen_mask, holds.newborn_mask & ~frozen_mask, ~frozen_mask)
        self._limit(draft, proposal, decided_mask, frozen_mask)
        for name, mask in holds.masks.items():
            draft.put(name, per_service.never_lower(draft.numbers, draft.current, mask))
        self._share(draft, proposal, frozen_mask)
        limits = (proposal.min_replicas, proposal.max_replicas)
        draft.put(names.BOUNDS, per_service.bounds(draft.numbers, draft.current, *limits))
        return Verdict(final=draft.numbers, hits=draft.hits, fallback_mask=fallback_mask)

    def miss(self) -> None:
        """An interval in which not even the services could be read: one with an error and without a decision, for all."""
        self._memory.miss()

    def remesh(self, b: int, source: NDArray[np.int64]) -> None:
        """Column `i` of mesh `b` was column `source[i]` before, -1 = a new service. More columns than there were are added."""
        self._memory.remesh(b, source)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """What is remembered."""
        return self._memory.state_dict()

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up where `state_dict` was called.

        Raises:
            ValueError: it comes from other windows, another mesh, or no guardrails at all.
        """
        self._memory.load_state_dict(state)

    def _freeze(self, draft: _Draft, proposal: Proposal) -> Bools:
        """Hold what must not be touched; returns which services that is, padding included."""
        frozen_mask = ~proposal.mask
        contradictory_mask = per_service.contradictory_mask(
            proposal.current, proposal.min_replicas, proposal.max_replicas
        )
        for name, mask, is_fault in (
            (names.NOT_SCALABLE, ~proposal.scalable_mask, False),
            (names.OWNED, proposal.owned_mask, False),
            (names.PAUSED, proposal.paused_mask, False),
            (names.CONTRADICTORY, contradictory_mask, True),
            (names.SCALED_TO_ZERO, proposal.current == 0, False),
        ):
            found = mask & ~frozen_mask if is_fault else None
            draft.put(name, per_service.held(draft.numbers, draft.current, mask), found)
            frozen_mask = frozen_mask | mask
        return frozen_mask

    def _raise(
        self, draft: _Draft, proposal: Proposal, fallback_mask: Bools, newborn_mask: Bools, movable_mask: Bools
    ) -> None:
        """The floors: of the fallback, of what has just come, of what is violated too often."""
        config, shape = self.config, draft.current.shape
        least = np.full(shape, config.newborn_replicas, dtype=np.int64)
        needed = np.full(shape, NO_FLOOR, dtype=np.int64)
        if config.slo_integrator:
            share, busy = proposal.violating_share, proposal.busy
            factor = self._memory.slo_factor(np.full(shape[:1], np.nan) if share is None else share)
            if busy is not None:
                needed = integrator.busy_floor(busy, factor, config.slo_utilisation)
        for name, floor, mask in (
            (names.FALLBACK_FLOOR, proposal.floor, fallback_mask),
            (names.NEWBORN, least, newborn_mask),
            (names.SLO_INTEGRATOR, needed, movable_mask),
        ):
            draft.put(name, per_service.at_least(draft.numbers, floor, mask))

    def _limit(self, draft: _Draft, proposal: Proposal, decided_mask: Bools, frozen_mask: Bools) -> None:
        """How fast, how far, and not below a disruption budget."""
        config, current = self.config, draft.current
        up, down = (config.max_up_replicas, config.max_up_share), (config.max_down_replicas, config.max_down_share)
        draft.put(names.RATE_UP, per_service.rate_up(draft.numbers, current, *up))
        draft.put(names.RATE_DOWN, per_service.rate_down(draft.numbers, current, *down))
        limits = (proposal.min_replicas, proposal.max_replicas)
        limited = per_service.min_max(draft.numbers, current, *limits, decided_mask)
        draft.put(names.MIN_MAX, per_service.held(limited, current, frozen_mask))
        budgeted = per_service.disruption_budget(draft.numbers, current, proposal.min_available)
        draft.put(names.DISRUPTION_BUDGET, budgeted)

    def _share(self, draft: _Draft, proposal: Proposal, frozen_mask: Bools) -> None:
        """What the services of a mesh may do together. What is not lowered after all spends nothing of the budget."""
        current, low, high = draft.current, proposal.min_replicas, proposal.max_replicas
        asked = whole_mesh.brake_mask(draft.numbers, current, ~frozen_mask, self.config.brake_share)
        for name, mask in (
            (names.BRAKE, self._memory.braking(asked)),
            (names.COOLDOWN, self._memory.cooling(proposal.error_mask)),
        ):
            draft.put(name, per_service.never_lower(draft.numbers, current, mask[:, None]))
        columns = np.broadcast_to(np.arange(current.shape[1]), current.shape)
        rank = columns if proposal.rank is None else proposal.rank
        headroom = proposal.quota_headroom
        if headroom is None:
            headroom = np.full(len(current), UNLIMITED, dtype=np.int64)
        draft.put(names.QUOTA, whole_mesh.quota(draft.numbers, current, low, headroom, rank))
        budget = self.config.change_budget_replicas
        draft.put(names.CHANGE_BUDGET, whole_mesh.change_budget(draft.numbers, current, low, high, budget, rank))
