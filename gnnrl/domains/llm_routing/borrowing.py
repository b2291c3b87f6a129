"""Arrays without reference counts, for the kernels that slice them millions of times a second.

Counting is atomic, and took half of the simulator's time. A kernel that is called from Python may go without: Python holds the arrays as
long as it runs.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils
from numba.extending import intrinsic

from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.cluster import Cluster
from gnnrl.domains.llm_routing.compilation import inner

__all__ = ["borrow", "borrow_timing"]


def _strip(_: Any, array: Any) -> Any:
    """The same array, without the record by which numba counts who holds it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.return_type)(context, builder, value=arguments[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), generate


_uncounted: Any = intrinsic(_strip)


@inner
def borrow(s: Cluster) -> Cluster:
    """The same cluster, uncounted."""
    return Cluster(
        _uncounted(s.request),
        _uncounted(s.time),
        _uncounted(s.replica),
        _uncounted(s.clock),
        _uncounted(s.resident),
        _uncounted(s.cluster),
        _uncounted(s.change),
        _uncounted(s.now),
        _uncounted(s.report),
        _uncounted(s.random),
    )


@inner
def borrow_timing(timing: Timing) -> Timing:
    """The same timing, uncounted."""
    return Timing(_uncounted(timing.linear), timing.slope, _uncounted(timing.decode), _uncounted(timing.prefill))
