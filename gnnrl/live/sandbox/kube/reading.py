"""list over the object store: what is selected, as of which revision, in pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from gnnrl.live.sandbox.http_server import Response
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.options import EXACT, ListOptions
from gnnrl.live.sandbox.kube.preconditions import asked_revision
from gnnrl.live.sandbox.kube.representation import Representation, encode
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.selectors import Selector, selector_of

__all__ = ["check_not_older", "listing", "page"]

LATEST = -1
"""Revision of a continue token that goes on with what there is now."""
Key = tuple[str, str]


def listing(
    options: ListOptions, kind: ResourceType, namespace: str, store: ObjectStore, shape: Representation
) -> Response:
    """Answer of a list.

    Raises:
        ApiError: 400, a parameter is wrong; 410, what is asked for is forgotten; 504, the resourceVersion lies in the future.
    """
    selector = selector_of(kind, options.labels, options.fields)
    after: Key | None = None
    revision = store.revision
    if options.token:
        asked, after = _read_token(options.token)
        if options.revision not in ("", "0"):
            raise ApiError(400, "specifying resource version is not allowed when using continue")
        is_exact, revision = asked != LATEST, asked if asked != LATEST else revision
    else:
        wanted = _listed_revision(options.revision)
        check_not_older(wanted, store)
        is_exact = wanted > 0 and (options.match == EXACT or (not options.match and options.limit > 0))
        revision = wanted if is_exact else revision
    try:
        items = (
            store.objects_at(kind.storage, namespace, revision) if is_exact else store.objects(kind.storage, namespace)
        )
    except LookupError as error:
        raise _expired(after) from error
    if after is not None:
        items = [item for item in items if item.key > after]
    return page(options, items, selector, revision, shape)


def page(
    options: ListOptions, items: Sequence[StoredObject], selector: Selector | None, revision: int, shape: Representation
) -> Response:
    """Those items that are selected, or as many of them as the request takes.

    Args:
        options: with `limit`.
        items: what is left of the list, by key.
        selector: None = everything.
        revision: of the list.
        shape: how it is written.
    """
    if selector is not None:
        items = [item for item in items if selector(item.content)]
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if 0 < options.limit < len(items):
        metadata["continue"] = _write_token(revision, items[options.limit - 1].key)
        if selector is None:
            metadata["remainingItemCount"] = len(items) - options.limit
        items = items[: options.limit]
    return shape.many(items, metadata)


def check_not_older(revision: int, store: ObjectStore) -> None:
    """Raises `ApiError` 504 if a revision lies in the future."""
    if revision > store.revision:
        message = f"Too large resource version: {revision}, current: {store.revision}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        raise ApiError(504, f"Timeout: {message}", details={"causes": [cause], "retryAfterSeconds": 1})


def _listed_revision(text: str) -> int:
    try:
        return asked_revision(text)
    except ApiError as error:
        raise ApiError(400, f"invalid resource version: {error.message}") from error


def _expired(after: Key | None) -> ApiError:
    if after is None:
        return ApiError(410, "The resourceVersion for the provided list is too old.")
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
        "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
        "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
        "deleted between the time the first chunk was returned and now may show up in the list."
    )
    return ApiError(410, message, metadata={"continue": _write_token(LATEST, after)})


def _write_token(revision: int, key: Key) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(filter(None, key)) + "\x00"}
    return base64.urlsafe_b64encode(encode(token)).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, Key]:
    try:
        content = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        version, revision, start = content["v"], content["rv"], content["start"]
        if version != "meta.k8s.io/v1" or not isinstance(revision, int) or isinstance(revision, bool) or not revision:
            raise ValueError("continue key is not valid")
        namespace, _, name = str(start).removesuffix("\x00").rpartition("/")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ApiError(400, f"invalid continue token: continue key is not valid: {type(error).__name__}") from error
    return revision, (namespace, name)
