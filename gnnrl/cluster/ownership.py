"""Who scales a Deployment already: HorizontalPodAutoscalers and KEDA's ScaledObjects."""

from __future__ import annotations

from collections.abc import Iterable

from gnnrl.cluster.errors import ClusterAnswerError
from gnnrl.cluster.findings import Findings
from gnnrl.cluster.objects import Object, children, mapping, name_of, text

__all__ = ["owners"]


def owners(autoscalers: Iterable[Object], scaled_objects: Iterable[Object], findings: Findings) -> dict[str, str]:
    """Owner by Deployment, as `HorizontalPodAutoscaler/frontend` or `ScaledObject/frontend`.

    KEDA works through an HPA that it makes: that one counts as its ScaledObject. A paused ScaledObject owns its target all
    the same, and so does one whose scaler is this program.
    """
    found: dict[str, str] = {}
    for item, kind in (
        *((each, "HorizontalPodAutoscaler") for each in autoscalers),
        *((each, "ScaledObject") for each in scaled_objects),
    ):
        try:
            target = mapping(mapping(item, "spec"), "scaleTargetRef")
            # A ScaledObject need not say the kind; Deployment is what KEDA takes then.
            if text(target, "kind", "Deployment" if kind == "ScaledObject" else None) != "Deployment":
                continue
            found[text(target, "name")] = _maker(item) or f"{kind}/{name_of(item)}"
        except ClusterAnswerError as error:
            findings.add("owners", f"a {kind} cannot be understood, it may own any service: {error}")
    return found


def _maker(item: Object) -> str:
    """The ScaledObject that made an HPA; empty = none did."""
    for owner in children(mapping(item, "metadata"), "ownerReferences"):
        if owner.get("kind") == "ScaledObject":
            return f"ScaledObject/{text(owner, 'name')}"
    return ""
