"""From the JSON that Prometheus answers to an instant query to its samples. Pure: no network, no clock."""

from __future__ import annotations

from typing import Any

from kiali_client.document import one_line, read_document, shown
from kiali_client.errors import KialiPayloadError, KialiSchemaError, KialiUnavailableError
from kiali_client.istio_queries import Sample
from kiali_client.parse import number

__all__ = ["read_vector"]

SHOWN_FAULTS = 3
LATEST_SECONDS = 1e11
"""A time after this (the year 5138) is none."""
PARTIAL_FLAGS = ("isPartial", "partial")
"""True where a store did not answer."""
OWN_NOTES = ("PromQL warning", "PromQL info")
"""Prefixes of warnings about the query; any other says that data is missing (a store that did not answer Thanos)."""


def read_vector(body: bytes) -> list[Sample]:
    """The series in an answer of /api/v1/query.

    Raises:
        KialiPayloadError: Prometheus answers with an error.
        KialiUnavailableError: it says that data is missing.
        KialiSchemaError: it is no instant vector.
    """
    document = read_document(body, "Prometheus")
    if document.get("status") != "success":
        raise KialiPayloadError(
            f"Prometheus answered with an error: {one_line(document.get('error', 'without a text'))}"
        )
    missing = _missing(document)
    if missing:
        raise KialiUnavailableError(f"a part of the data is missing ({missing}); look at its stores")
    data = document.get("data")
    result = data.get("result") if isinstance(data, dict) and data.get("resultType") == "vector" else None
    if not isinstance(result, list):
        raise KialiSchemaError([f"data: is no instant vector but {shown(data)}; check that this is a Prometheus"])
    samples: list[Sample] = []
    problems: list[str] = []
    for i, series in enumerate(result):
        sample = _sample(series)
        if sample is None and len(problems) < SHOWN_FAULTS:
            problems.append(f"data.result[{i}]: {shown(series)} has no labels with one value and its time")
        elif sample is not None:
            samples.append(sample)
    if problems:
        raise KialiSchemaError(problems)
    return samples


def _missing(document: dict[str, Any]) -> str:
    """What the answer says that it lacks; empty = it says that it is whole.

    Thanos, Mimir, Promxy and Prometheus' own remote reads warn; a cluster of VictoriaMetrics sets `isPartial`. `infos` are notes on the
    query. What is no list of texts, or no yes or no, is taken for the worse.
    """
    for name in PARTIAL_FLAGS:
        if document.get(name) not in (None, False):
            return f"{name}: {shown(document[name])}"
    warnings = document.get("warnings") or []
    listed = warnings if isinstance(warnings, list) else [warnings]
    return next((one_line(warning) for warning in listed if not str(warning).startswith(OWN_NOTES)), "")


def _sample(series: object) -> Sample | None:
    if not isinstance(series, dict):
        return None
    labels, pair = series.get("metric"), series.get("value")
    if not isinstance(labels, dict) or not isinstance(pair, list) or len(pair) != 2:
        return None
    value, seconds = number(pair[1]), number(pair[0])
    if seconds is None or not 0.0 <= seconds <= LATEST_SECONDS:
        return None
    printable = all(isinstance(text, str) and text.isprintable() for text in labels.values())
    return None if value is None or not printable else Sample(labels, value, seconds)
