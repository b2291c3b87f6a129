"""list and watch over the object store."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.object_store import Change, ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.representation import Representation, encode
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.selectors import Selector, selector_of

__all__ = ["listing", "page", "watch"]

# Streams live on the machine's clock whatever the speed of the sandbox: so do the clients that wait for them.
POLL_SECONDS = 0.2
BOOKMARK_SECONDS = 10.0
LONGEST_WATCH_SECONDS = 1800.0


def listing(request: Request, kind: ResourceType, namespace: str, store: ObjectStore, shape: Representation) -> bytes:
    """Answer of a list.

    Raises:
        ApiError: 400, a parameter is wrong; 410, a continue token is too old; 504, the resourceVersion lies in the future.
    """
    wanted = request.param("resourceVersion")
    if wanted and _revision(wanted) > store.revision:
        message = f"Too large resource version: {wanted}, current: {store.revision}"
        raise ApiError(504, message, details={"retryAfterSeconds": 1})
    return page(request, kind, store.objects(kind.storage, namespace), store.revision, store.oldest_revision, shape)


def page(
    request: Request,
    kind: ResourceType,
    items: Sequence[StoredObject],
    revision: int,
    oldest_revision: int,
    shape: Representation,
) -> bytes:
    """Those items that the request selects, or a page of them.

    Args:
        request: with `labelSelector`, `fieldSelector`, `limit`, `continue`.
        kind: of the items.
        items: all, by key.
        revision: of the list.
        oldest_revision: continue tokens before it are too old.
        shape: how it is written.

    Raises:
        ApiError: 400 or 410.
    """
    selector = selector_of(kind, request.param("labelSelector"), request.param("fieldSelector"))
    if token := request.param("continue"):
        revision, after = _read_token(token)
        if revision < oldest_revision:
            raise ApiError(
                410,
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter.",
            )
        items = [item for item in items if item.key > after]
    if selector is not None:
        items = [item for item in items if selector(item.content)]
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    limit = _whole_number(request, "limit")
    if 0 < limit < len(items):
        metadata["continue"] = _write_token(revision, items[limit - 1].key)
        if selector is None:
            metadata["remainingItemCount"] = len(items) - limit
        items = items[:limit]
    return shape.many(items, metadata)


def watch(
    request: Request,
    kind: ResourceType,
    namespace: str,
    store: ObjectStore,
    shape: Representation,
    sync: Callable[[], None],
) -> Iterator[bytes]:
    """Lines of a watch, from the request's resourceVersion on, until its `timeoutSeconds`.

    Args:
        request: with the parameters of a watch.
        kind: of the objects.
        namespace: empty = all.
        store: what is watched.
        shape: how objects are written.
        sync: brings the store up to now.

    Raises:
        ApiError: 400, a parameter is wrong.
    """
    selector = selector_of(kind, request.param("labelSelector"), request.param("fieldSelector"))
    start = request.param("resourceVersion")
    position = _revision(start) if start else 0
    seconds = float(_whole_number(request, "timeoutSeconds")) or LONGEST_WATCH_SECONDS
    sends_initial = request.param("sendInitialEvents") == "true"
    bookmarks = request.param("allowWatchBookmarks") == "true"
    return _stream(
        kind,
        namespace,
        store,
        shape,
        sync,
        selector,
        position,
        seconds,
        sends_initial=sends_initial,
        bookmarks=bookmarks,
    )


def _stream(
    kind: ResourceType,
    namespace: str,
    store: ObjectStore,
    shape: Representation,
    sync: Callable[[], None],
    selector: Selector | None,
    position: int,
    seconds: float,
    *,
    sends_initial: bool,
    bookmarks: bool,
) -> Iterator[bytes]:
    ends = time.monotonic() + seconds
    next_bookmark = time.monotonic() + BOOKMARK_SECONDS
    is_first = True
    if position == 0 or sends_initial:
        with store.lock:
            sync()
            items, position = store.objects(kind.storage, namespace), store.revision
        for item in items:
            if selector is None or selector(item.content):
                yield shape.event("ADDED", item, is_first=is_first)
                is_first = False
        if sends_initial and bookmarks:
            yield shape.bookmark(position, ends_initial=True)
    while True:
        with store.lock:
            sync()
            try:
                changes = store.changes_since(kind.storage, position)
            except LookupError:
                message = f"too old resource version: {position} ({store.oldest_revision})"
                yield encode({"type": "ERROR", "object": ApiError(410, message).status()}) + b"\n"
                return
            position = max(position, store.revision)
            left = ends - time.monotonic()
            if not changes and left > 0.0:
                store.changed.wait(min(POLL_SECONDS, left))
        for change in changes:
            name, seen = _seen(change, namespace, selector)
            if seen is not None:
                yield shape.event(name, seen, is_first=is_first)
                is_first = False
        if bookmarks and (left <= 0.0 or time.monotonic() >= next_bookmark):
            next_bookmark = time.monotonic() + BOOKMARK_SECONDS
            yield shape.bookmark(position)
        if left <= 0.0:
            return
        yield b""


def _seen(change: Change, namespace: str, selector: Selector | None) -> tuple[str, StoredObject | None]:
    """A change as a watcher with this selector sees it: what leaves the selection is deleted to it."""

    def selects(item: StoredObject | None) -> bool:
        return (
            item is not None
            and (not namespace or item.key[0] == namespace)
            and (selector is None or selector(item.content))
        )  # fmt: skip

    before, after = selects(change.before), selects(change.after)
    if after:
        return ("MODIFIED" if before else "ADDED"), change.after
    if not before or change.before is None:
        return "", None
    # The last state that was selected, under the revision at which it left.
    metadata = {**change.before.content["metadata"], "resourceVersion": str(change.revision)}
    return "DELETED", StoredObject({**change.before.content, "metadata": metadata}, change.revision)


def _revision(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ApiError(400, f'Invalid value: "{text}": resourceVersion: strconv.ParseUint: invalid syntax')
    return int(text)


def _whole_number(request: Request, name: str) -> int:
    text = request.param(name, "0") or "0"
    if not (text.isascii() and text.isdigit()):
        raise ApiError(400, f'strconv.ParseInt: parsing "{text}": invalid syntax ({name})')
    return int(text)


def _write_token(revision: int, key: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(encode({"v": "meta.k8s.io/v1", "rv": revision, "start": key})).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = content["start"]
        return int(content["rv"]), (str(namespace), str(name))
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(400, f"continue key is not valid: {type(error).__name__}") from error
