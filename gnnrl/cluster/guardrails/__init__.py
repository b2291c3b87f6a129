"""Guardrails: what stands between a wish and the cluster, the same in the live loop and in `gnnrl evaluate`.

Pure functions over arrays of B meshes and S service columns, applied in one order (`names.GUARDRAILS`), each reported
by name where it changed a number. Fail-safe order: hold.
"""

from gnnrl.cluster.guardrails.annotations import Limits, limits_of
from gnnrl.cluster.guardrails.chain import Guardrails
from gnnrl.cluster.guardrails.names import GUARDRAILS
from gnnrl.cluster.guardrails.proposal import NO_FLOOR, UNLIMITED, Proposal, Verdict

__all__ = ["GUARDRAILS", "NO_FLOOR", "UNLIMITED", "Guardrails", "Limits", "Proposal", "Verdict", "limits_of"]
