"""Which nodes of a graph are one workload.

A metric that does not name its cluster (an older Istio, a proxy without the label, the idle nodes that Kiali adds from another
source) is reported under the cluster "" or "unknown". That names no other cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from kiali_client.models import NodeKey

__all__ = ["UNNAMED_CLUSTERS", "one_identity"]

UNNAMED_CLUSTERS = ("", "unknown")


def one_identity(keys: Iterable[NodeKey]) -> dict[NodeKey, NodeKey]:
    """Key of an unnamed cluster -> the key that the same workload has under its own cluster's name.

    Two clusters that both have one of that namespace, name and kind leave open whose it is: it keeps its key, and of two
    unnamed keys the first.
    """
    named: dict[tuple[str, str, str], list[NodeKey]] = {}
    unnamed: dict[tuple[str, str, str], list[NodeKey]] = {}
    for key in dict.fromkeys(keys):
        found = unnamed if key.cluster in UNNAMED_CLUSTERS else named
        found.setdefault((key.namespace, key.name, key.kind), []).append(key)
    same: dict[NodeKey, NodeKey] = {}
    for what, twins in unnamed.items():
        own = named.get(what, [])
        target = own[0] if len(own) == 1 else twins[0]
        same |= {twin: target for twin in twins if twin != target}
    return same
