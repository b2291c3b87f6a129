"""The external scaler: what KEDA asks, answered from the loop's last decision.

The loop decides and writes nothing (`gnnrl serve-keda`); KEDA asks this service, gives the number to an HPA, and HPA scales. A missing or
stale decision is an error of GetMetrics, on which HPA leaves the replicas alone and KEDA counts towards its `fallback`. That count only
runs while GetMetricSpec answers (kedacore/keda #8056), so this one depends on nothing but the question.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc

from gnnrl.cluster.clock import Clock
from gnnrl.cluster.guardrails.names import HALF_WINDOW, OWNED, UNTRUSTED
from gnnrl.live.decision import IntervalRecord, ServiceDecision
from gnnrl.live.keda.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    MetricSpec,
    MetricValue,
    ScaledObjectRef,
)
from gnnrl.live.keda.externalscaler_pb2_grpc import ExternalScalerServicer
from gnnrl.live.keda.metric import TARGET, metric_name, metric_value

__all__ = ["KedaScaler", "UnavailableDecisionError"]

SOURCES = ("graph", "metrics")
"""What a decision must have been made from."""


class UnavailableDecisionError(Exception):
    """There is no decision that may be acted upon; the message says why."""


class KedaScaler(ExternalScalerServicer):
    """Answers KEDA's four questions (`externalscaler.proto`).

    Which Deployment a ScaledObject scales: `deployment` in its trigger's metadata, or else the ScaledObject's own name.

    Args:
        latest: the last interval's record, None before the first; called from the server's thread.
        clock: the loop's clock.
        stale_after_seconds: a decision, or data under it, older than this is not handed on.
        namespace: the one that the loop reads; a ScaledObject of another is unknown.
        poll_seconds: how often a stream looks for a change, of the machine's time.
    """

    def __init__(
        self,
        latest: Callable[[], IntervalRecord | None],
        clock: Clock,
        *,
        stale_after_seconds: float,
        namespace: str,
        poll_seconds: float = 1.0,
    ) -> None:
        self.latest = latest
        self.clock = clock
        self.stale_after_seconds = stale_after_seconds
        self.namespace = namespace
        self.poll_seconds = poll_seconds

    def known(self, reference: ScaledObjectRef) -> tuple[IntervalRecord, ServiceDecision]:
        """The last record and what it says of the Deployment, however old.

        Raises:
            UnavailableDecisionError: nothing was decided yet, or the Deployment is not among the services.
        """
        record, deployment = self.latest(), deployment_of(reference)
        if record is None:
            raise UnavailableDecisionError("no decision yet: the first interval has not ended")
        if reference.namespace and reference.namespace != self.namespace:
            raise UnavailableDecisionError(
                f"namespace {reference.namespace!r} is not read here: this scaler serves {self.namespace!r}"
            )
        for decision in record.services:
            if decision.service == deployment:
                return record, decision
        raise UnavailableDecisionError(
            f"no Deployment {deployment!r} among the {len(record.services)} services of namespace {self.namespace!r}; "
            "name it in the trigger's metadata: deployment"
        )

    def fresh(self, reference: ScaledObjectRef) -> ServiceDecision:
        """What was decided for the Deployment, if it may be acted upon.

        Raises:
            UnavailableDecisionError: as `known`, or the decision is stale, was made from stale or missing data, is not valid, or is
                that of a process which does not lead or does not decide for KEDA. So is a Deployment that was held for its data.
        """
        record, decision = self.known(reference)
        since = self.clock.now() - record.seconds
        if since > self.stale_after_seconds:
            raise UnavailableDecisionError(
                f"the last decision is {since:.0f} s old, more than {self.stale_after_seconds:g} s"
            )
        for source in SOURCES:
            age = record.data_age_seconds.get(source)
            if age is None:
                raise UnavailableDecisionError(f"the last decision had no data from {source}{problems_of(record)}")
            if age + since > self.stale_after_seconds:
                raise UnavailableDecisionError(
                    f"the data from {source} is {age + since:.0f} s old, more than {self.stale_after_seconds:g} s"
                )
        if not record.valid:
            raise UnavailableDecisionError(f"the last interval made no valid decision{problems_of(record)}")
        if not record.is_leader:
            raise UnavailableDecisionError("this process is not the leader")
        if OWNED in decision.guardrails:
            raise UnavailableDecisionError(
                f"{decision.service} was held because somebody else scales it: decide for KEDA with gnnrl serve-keda"
            )
        # HPA may have raised it since it was read: to hand on what was there then would lower it.
        if {UNTRUSTED, HALF_WINDOW} & set(decision.guardrails) and decision.final <= decision.current:
            raise UnavailableDecisionError(f"the data of {decision.service} cannot be trusted{problems_of(record)}")
        return decision

    async def GetMetricSpec(self, request: ScaledObjectRef, context: Any) -> GetMetricSpecResponse:  # noqa: ARG002
        """One unit of the metric a replica: a constant, whatever state the loop is in."""
        spec = MetricSpec(metricName=metric_name(deployment_of(request)), targetSize=TARGET, targetSizeFloat=TARGET)
        return GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(self, request: GetMetricsRequest, context: Any) -> GetMetricsResponse:
        """The number decided, or UNAVAILABLE and why not; NOT_FOUND for the metric of another Deployment."""
        reference = request.scaledObjectRef
        name = metric_name(deployment_of(reference))
        if request.metricName and re.sub(r"^s\d+-", "", request.metricName) != name:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"metric {request.metricName!r} is not {name!r}")
        try:
            decision = self.fresh(reference)
        except UnavailableDecisionError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        value = metric_value(decision.final, decision.current)
        return GetMetricsResponse(
            metricValues=[MetricValue(metricName=name, metricValue=decision.final, metricValueFloat=value)]
        )

    async def IsActive(self, request: ScaledObjectRef, context: Any) -> IsActiveResponse:
        """Whether the Deployment is to have replicas. Age is no reason to say no, and of an unknown one nothing is said
        (UNAVAILABLE): KEDA takes a no for leave to scale to zero."""
        try:
            return IsActiveResponse(result=is_active(self.known(request)[1]))
        except UnavailableDecisionError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise

    async def StreamIsActive(self, request: ScaledObjectRef, context: Any) -> AsyncIterator[IsActiveResponse]:  # noqa: ARG002
        """The same, as soon as it is known and whenever it changes."""
        told: bool | None = None
        while True:
            # Nothing is told of what is not known (any more): a client that hears nothing changes nothing.
            with suppress(UnavailableDecisionError):
                active = is_active(self.known(request)[1])
                if active != told:
                    told = active
                    yield IsActiveResponse(result=active)
            await asyncio.sleep(self.poll_seconds)


def deployment_of(reference: ScaledObjectRef) -> str:
    """The Deployment that a ScaledObject is about."""
    return reference.scalerMetadata.get("deployment", "") or reference.name


def is_active(decision: ServiceDecision) -> bool:
    """Whether there are to be replicas."""
    return decision.final >= 1


def problems_of(record: IntervalRecord) -> str:
    """The record's problems, to be put behind a sentence."""
    return f": {'; '.join(record.problems[:3])}" if record.problems else ""
