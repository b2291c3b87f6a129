"""The query parameters of requests, read and checked as the API server does (k8s.io/apimachinery, pkg/apis/meta)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.bodies import Expected, read_object
from gnnrl.live.sandbox.kube.field_errors import FieldErrors

__all__ = [
    "EXACT", "DeleteOptions", "ListOptions", "WriteOptions", "read_delete_options", "read_list_options", "read_write_options",
]  # fmt: skip

META = "meta.k8s.io"
LONGEST_MANAGER = 128
VALIDATIONS = ("", "Ignore", "Strict", "Warn")
PROPAGATIONS = ("Foreground", "Background", "Orphan")
EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"
APPLY = "application/apply-patch+yaml"
KINDS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """Of a create, an update or a patch."""

    dry_run: bool = False
    manager: str = ""
    validation: str = "Warn"
    """What happens to fields that are unknown or stand there twice: Ignore, Warn or Strict."""
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class DeleteOptions:
    """Of a delete."""

    dry_run: bool = False
    uid: str | None = None
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Of a list or a watch."""

    watch: bool = False
    labels: str = ""
    fields: str = ""
    limit: int = 0
    """0 or less = no limit."""
    token: str = ""
    """To go on with."""
    revision: str = ""
    match: str = ""
    seconds: int = 0
    bookmarks: bool = False
    sends_initial: bool = False


def read_write_options(request: Request, media_type: str = "") -> WriteOptions:
    """The options of a write; `media_type` is that of a patch.

    Raises:
        ApiError: 422, a value that is not allowed.
    """
    errors = FieldErrors()
    manager, force = request.first("fieldManager"), _flag(request, "force")
    if request.method == "PATCH":
        if media_type == APPLY and not manager:
            errors.required("fieldManager", "is required for apply patch")
        if media_type != APPLY and force is not None:
            errors.forbidden("force", "may not be specified for non-apply patch")
    if len(manager.encode()) > LONGEST_MANAGER:
        errors.too_long("fieldManager", LONGEST_MANAGER)
    for place, letter in enumerate(manager):
        if letter != " " and unicodedata.category(letter)[0] in "CZ":
            errors.invalid("fieldManager", manager, f"invalid character U+{ord(letter):04X} (at position {place})")
    dry_run = _check_dry_run(request.query.get("dryRun", []), errors)
    validation = request.first("fieldValidation")
    if validation not in VALIDATIONS:
        errors.unsupported("fieldValidation", validation, VALIDATIONS)
    errors.raise_if_any(META, KINDS[request.method], "")
    return WriteOptions(dry_run=dry_run, manager=manager, validation=validation or "Warn", force=bool(force))


def read_delete_options(request: Request) -> DeleteOptions:
    """The options of a delete, in its body or, without one, in its query.

    Raises:
        ApiError: 400, they cannot be read; 415, their format is not taken; 422, a value that is not allowed.
    """
    options: dict[str, Any]
    if request.body:
        expected = Expected(META, "v1", "DeleteOptions", "meta.v1.DeleteOptions", in_any_version=True)
        options = read_object(request, expected).content
    else:
        options = {
            "dryRun": request.query.get("dryRun", []),
            "gracePeriodSeconds": _whole_number(request, "gracePeriodSeconds"),
            "orphanDependents": _flag(request, "orphanDependents"),
            "propagationPolicy": request.first("propagationPolicy") if "propagationPolicy" in request.query else None,
        }
    errors = FieldErrors()
    policy = options.get("propagationPolicy")
    if options.get("orphanDependents") is not None and policy is not None:
        errors.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
    if policy is not None and policy not in PROPAGATIONS:
        errors.unsupported("propagationPolicy", policy, (*PROPAGATIONS, "nil"))
    dry_run = _check_dry_run(options.get("dryRun") or [], errors)
    errors.raise_if_any(META, "DeleteOptions", "")
    wanted: Mapping[str, str] = options.get("preconditions") or {}
    return DeleteOptions(dry_run=dry_run, uid=wanted.get("uid"), revision=wanted.get("resourceVersion"))


def read_list_options(request: Request) -> ListOptions:
    """The options of a list or a watch.

    Raises:
        ApiError: 400, no number; 422, parameters that do not go together.
    """
    options = ListOptions(
        watch=bool(_flag(request, "watch")),
        labels=request.first("labelSelector"),
        fields=request.first("fieldSelector"),
        limit=_whole_number(request, "limit") or 0,
        token=request.first("continue"),
        revision=request.first("resourceVersion"),
        match=request.first("resourceVersionMatch"),
        seconds=_whole_number(request, "timeoutSeconds") or 0,
        bookmarks=bool(_flag(request, "allowWatchBookmarks")),
        sends_initial=bool(_flag(request, "sendInitialEvents")),
    )
    errors = FieldErrors()
    check = _check_watch if options.watch else _check_list
    check(options, errors, says_initial="sendInitialEvents" in request.query)
    errors.raise_if_any(META, "ListOptions", "")
    return options


def _check_list(options: ListOptions, errors: FieldErrors, *, says_initial: bool) -> None:
    field = "resourceVersionMatch"
    if options.match:
        if not options.revision:
            errors.forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        if options.token:
            errors.forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
        if options.match not in (EXACT, NOT_OLDER_THAN):
            errors.unsupported(field, options.match, (EXACT, NOT_OLDER_THAN, ""))
        if options.match == EXACT and options.revision == "0":
            errors.forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if says_initial:
        errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _check_watch(options: ListOptions, errors: FieldErrors, *, says_initial: bool) -> None:
    field = "resourceVersionMatch"
    if says_initial and options.match != NOT_OLDER_THAN:
        errors.forbidden(field, f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER_THAN}")
    if options.match:
        if not says_initial:
            errors.forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        if options.match != NOT_OLDER_THAN:
            errors.unsupported(field, options.match, (NOT_OLDER_THAN,))
        if options.token:
            errors.forbidden(field, "resourceVersionMatch is forbidden when continue is provided")


def _check_dry_run(values: list[str], errors: FieldErrors) -> bool:
    if any(value != "All" for value in values):
        errors.unsupported("dryRun", values, ("All",))
    return bool(values)


def _flag(request: Request, name: str) -> bool | None:
    """None = not given; given, all but `0` and `false` is true."""
    if name not in request.query:
        return None
    return request.first(name).lower() not in ("0", "false")


def _whole_number(request: Request, name: str) -> int | None:
    if name not in request.query:
        return None
    text = request.first(name)
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ApiError(400, f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -(2**63) <= int(text) < 2**63:
        raise ApiError(400, f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)
