"""What the faulty answers of each API look like: errors in its own form, and usual answers made stale, empty or false."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from gnnrl.live.sandbox.http_server import Fault, Request, Response

__all__ = ["FrozenAnswers", "error_fault", "rewrite_of"]

Rewrite = Callable[[Request, Response], Response]

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in to continue</form></body></html>"
STATUS = {"http_500": 500, "http_503": 503, "conflict": 409, "expired_token": 401}
KUBERNETES_REASON = {500: "InternalError", 503: "ServiceUnavailable", 409: "Conflict", 401: "Unauthorized"}
MESSAGE = {
    500: "an internal error was injected",
    503: "the service is unavailable: an injected fault",
    409: "the object has been modified; please apply your changes to the latest version and try again",
    401: "Unauthorized",
}
TIME_PARAMETERS = ("time", "queryTime", "timeout")
"""Parameters that differ from one request for the same thing to the next."""


def error_fault(target: str, kinds: Collection[str], delay_seconds: float) -> Fault | None:
    """The gravest of the faults that answer with something else entirely; None if there is none."""
    for kind in ("expired_token", "http_500", "http_503", "conflict"):
        if kind in kinds:
            status = STATUS[kind]
            body, content_type = _error(target, status)
            return Fault(delay_seconds=delay_seconds, status=status, body=body, content_type=content_type)
    if "html" in kinds:
        return Fault(delay_seconds=delay_seconds, status=200, body=PAGE, content_type="text/html; charset=utf-8")
    return None


def _error(target: str, status: int) -> tuple[bytes, str]:
    """Body and content type of an error as this API writes it."""
    message = MESSAGE[status]
    content: dict[str, Any]
    if target == "kubernetes":
        content = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": KUBERNETES_REASON[status], "code": status,
        }  # fmt: skip
    elif status == 401:
        return f"{message}\n".encode(), "text/plain; charset=utf-8"
    elif target == "kiali":
        content = {"error": message}
    else:
        content = {"status": "error", "errorType": "internal", "error": message}
    return json.dumps(content).encode(), "application/json"


class FrozenAnswers:
    """The first answer to each question since a fault began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, Response] = {}

    def first(self, request: Request, response: Response) -> Response:
        """What was answered first; an error is not kept."""
        if response.status != 200 or response.stream is not None:
            return response
        asked = {**request.query, **parse_qs(request.body.decode("utf-8", errors="replace"))}
        question = sorted((name, values) for name, values in asked.items() if name not in TIME_PARAMETERS)
        with self._lock:
            return self._answers.setdefault(f"{request.method} {request.path} {question}", response)

    def forget(self) -> None:
        """Keep nothing any more: the fault is over."""
        if self._answers:
            with self._lock:
                self._answers.clear()


def rewrite_of(target: str, kind: str, value: float, frozen: FrozenAnswers) -> Rewrite:
    """How a fault of this kind changes a usual answer."""
    if kind == "stale":
        return frozen.first
    changes: dict[str, Callable[[Any], Any]] = {
        "empty": EMPTY[target],
        "nan": NAN[target],
        "schema": lambda content: {"version": 3, "payload": {"items": [content]}},
        "clock_skew": lambda content: SKEW[target](content, value),
    }
    change = changes.get(kind)

    def rewrite(_request: Request, response: Response) -> Response:
        if change is None or response.status != 200 or response.content_type != "application/json":
            return response
        return replace(response, body=json.dumps(change(json.loads(response.body)), separators=(",", ":")).encode())

    return rewrite


def _no_pods(content: Any) -> Any:
    return {**content, "items": []} if "items" in content else content


def _no_nodes(content: Any) -> Any:
    return {**content, "elements": {"nodes": [], "edges": []}} if "elements" in content else content


def _no_results(content: Any) -> Any:
    return {**content, "data": {**content["data"], "result": []}} if "data" in content else content


def _nan_usage(content: Any) -> Any:
    for pod in content.get("items", [content]):
        for container in pod.get("containers", [])[:1]:
            container["usage"]["cpu"] = "NaN"
    return content


def _nan_rates(content: Any) -> Any:
    for edge in content.get("elements", {}).get("edges", []):
        rates = edge["data"]["traffic"].get("rates", {})
        for name in rates:
            rates[name] = "NaN"
    return content


def _nan_results(content: Any) -> Any:
    for result in content.get("data", {}).get("result", []):
        result["value"][1] = "NaN"
    return content


def _later_metrics(content: Any, seconds: float) -> Any:
    for pod in content.get("items", [content]):
        if "timestamp" in pod:
            stated = datetime.fromisoformat(pod["timestamp"]).astimezone(UTC)
            pod["timestamp"] = (stated + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return content


def _later_graph(content: Any, seconds: float) -> Any:
    if "timestamp" in content:
        content["timestamp"] += round(seconds)
    return content


def _later_results(content: Any, seconds: float) -> Any:
    for result in content.get("data", {}).get("result", []):
        result["value"][0] += seconds
    return content


EMPTY = {"kubernetes": _no_pods, "kiali": _no_nodes, "prometheus": _no_results}
NAN = {"kubernetes": _nan_usage, "kiali": _nan_rates, "prometheus": _nan_results}
SKEW = {"kubernetes": _later_metrics, "kiali": _later_graph, "prometheus": _later_results}
