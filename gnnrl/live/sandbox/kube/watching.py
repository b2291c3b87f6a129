"""watch over the object store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.object_store import Change, ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.options import ListOptions
from gnnrl.live.sandbox.kube.preconditions import asked_revision
from gnnrl.live.sandbox.kube.reading import check_not_older
from gnnrl.live.sandbox.kube.representation import Representation
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.selectors import Selector, selector_of

__all__ = ["watch"]

# Streams live on the machine's clock whatever the speed of the sandbox: so do the clients that wait for them.
POLL_SECONDS = 0.2
BOOKMARK_SECONDS = 10.0
LONGEST_WATCH_SECONDS = 1800.0


@dataclass(frozen=True)
class _Watched:
    storage: str
    namespace: str
    """Empty = all."""
    selector: Selector | None

    def selects(self, item: StoredObject | None) -> bool:
        return (
            item is not None
            and (not self.namespace or item.key[0] == self.namespace)
            and (self.selector is None or self.selector(item.content))
        )

    def seen(self, change: Change) -> tuple[str, StoredObject | None]:
        """A change as a watcher sees it: what leaves the selection is deleted to it."""
        if self.selects(change.after):
            return ("MODIFIED" if self.selects(change.before) else "ADDED"), change.after
        if change.before is None or not self.selects(change.before):
            return "", None
        # The last state that was selected, under the revision at which it left.
        metadata = {**change.before.content["metadata"], "resourceVersion": str(change.revision)}
        return "DELETED", StoredObject({**change.before.content, "metadata": metadata}, change.revision)


def watch(
    options: ListOptions,
    kind: ResourceType,
    namespace: str,
    store: ObjectStore,
    shape: Representation,
    sync: Callable[[], None],
) -> Iterator[bytes]:
    """Pieces of a watch, from the request's resourceVersion on, until its `timeoutSeconds`.

    Args:
        options: the parameters of the watch.
        kind: of the objects.
        namespace: empty = all.
        store: what is watched.
        shape: how objects are written.
        sync: brings the store up to now.

    Raises:
        ApiError: 400, a parameter is wrong; 500, the revision is no number.
    """
    watched = _Watched(kind.storage, namespace, selector_of(kind, options.labels, options.fields))
    position = asked_revision(options.revision)
    if options.sends_initial:
        check_not_older(position, store)
    return _stream(options, watched, store, shape, sync, position)


def _stream(
    options: ListOptions,
    watched: _Watched,
    store: ObjectStore,
    shape: Representation,
    sync: Callable[[], None],
    position: int,
) -> Iterator[bytes]:
    ends = time.monotonic() + (options.seconds or LONGEST_WATCH_SECONDS)
    next_bookmark = time.monotonic() + BOOKMARK_SECONDS
    is_first = True
    if position == 0 or options.sends_initial:
        with store.lock:
            sync()
            items, position = store.objects(watched.storage, watched.namespace), store.revision
        for item in items:
            if watched.selects(item):
                yield shape.event("ADDED", item, is_first=is_first)
                is_first = False
        if options.sends_initial and options.bookmarks:
            yield shape.bookmark(position, ends_initial=True)
    while True:
        with store.lock:
            sync()
            try:
                changes = store.changes_since(watched.storage, position)
            except LookupError:
                yield shape.error(ApiError(410, f"too old resource version: {position} ({store.oldest_revision})"))
                return
            position = max(position, store.revision)
            left = ends - time.monotonic()
            if not changes and left > 0.0:
                store.changed.wait(min(POLL_SECONDS, left))
        for change in changes:
            name, seen = watched.seen(change)
            if seen is not None:
                yield shape.event(name, seen, is_first=is_first)
                is_first = False
        if options.bookmarks and (left <= 0.0 or time.monotonic() >= next_bookmark):
            next_bookmark = time.monotonic() + BOOKMARK_SECONDS
            yield shape.bookmark(position)
        if left <= 0.0:
            return
        yield b""
