"""Where objects live: current state, one revision counter over all kinds, and the recent past for watches."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

__all__ = ["Change", "ObjectStore", "StoredObject"]

Key = tuple[str, str]
"""(namespace, name); namespace is empty for cluster-wide objects."""


@dataclass(frozen=True)
class StoredObject:
    """An object as it was at a revision. Never changed: a change stores another."""

    content: Mapping[str, Any]
    """Without `kind` and `apiVersion`, which are added as it is served."""
    revision: int

    @cached_property
    def encoded(self) -> bytes:
        """The content as JSON, made once however often it is listed."""
        return json.dumps(self.content, separators=(",", ":")).encode()

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        metadata = self.content["metadata"]
        return metadata.get("namespace", ""), metadata["name"]


@dataclass(frozen=True)
class Change:
    """What a watch tells of."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    storage: str
    revision: int
    before: StoredObject | None
    after: StoredObject | None
    """None if it was deleted."""


class ObjectStore:
    """Objects by kind and key. Every method may be called from any thread.

    Args:
        first_revision: the counter starts here, so that revisions never look like counts.
        history: changes kept for watches; older revisions are "too old".
    """

    def __init__(self, first_revision: int = 1000, history: int = 4096) -> None:
        self.lock = threading.RLock()
        """Held by whoever reads and writes in one piece."""
        self.changed = threading.Condition(self.lock)
        """Notified after every change."""
        self._revision = first_revision
        self._objects: dict[str, dict[Key, StoredObject]] = {}
        self._changes: deque[Change] = deque(maxlen=history)
        self._forgotten = first_revision

    @property
    def revision(self) -> int:
        """Of the newest change."""
        return self._revision

    @property
    def oldest_revision(self) -> int:
        """The changes after this revision are known."""
        return self._forgotten

    def get(self, storage: str, namespace: str, name: str) -> StoredObject | None:
        """An object, None if there is none."""
        with self.lock:
            return self._objects.get(storage, {}).get((namespace, name))

    def objects(self, storage: str, namespace: str = "") -> list[StoredObject]:
        """Objects of a kind by key; namespace empty = all of them."""
        with self.lock:
            objects = self._objects.get(storage, {})
            keys = objects if not namespace else [key for key in objects if key[0] == namespace]
            return [objects[key] for key in sorted(keys)]

    def objects_at(self, storage: str, namespace: str, revision: int) -> list[StoredObject]:
        """Objects of a kind by key as they were at a revision; namespace empty = all of them.

        Raises:
            LookupError: the changes since then are not known any more.
        """
        with self.lock:
            objects = dict(self._objects.get(storage, {}))
            for change in reversed(self.changes_since(storage, revision)):
                known = change.after or change.before
                assert known is not None
                if change.kind == "ADDED":
                    objects.pop(known.key)
                elif change.before is not None:
                    objects[known.key] = _under_its_own_revision(change.before)
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def put(self, storage: str, content: Mapping[str, Any]) -> StoredObject:
        """Create or replace an object under a new revision, written into its `metadata.resourceVersion`."""
        with self.lock:
            self._revision += 1
            metadata = {**content["metadata"], "resourceVersion": str(self._revision)}
            stored = StoredObject({**content, "metadata": metadata}, self._revision)
            before = self._objects.setdefault(storage, {}).get(stored.key)
            self._objects[storage][stored.key] = stored
            self._record(Change("MODIFIED" if before else "ADDED", storage, self._revision, before, stored))
            return stored

    def remove(self, storage: str, namespace: str, name: str) -> StoredObject | None:
        """Delete an object; None if there was none."""
        with self.lock:
            before = self._objects.get(storage, {}).pop((namespace, name), None)
            if before is not None:
                self._revision += 1
                # A watch shows the last state under the revision of the deletion.
                metadata = {**before.content["metadata"], "resourceVersion": str(self._revision)}
                last = StoredObject({**before.content, "metadata": metadata}, before.revision)
                self._record(Change("DELETED", storage, self._revision, last, None))
            return before

    def changes_since(self, storage: str, revision: int) -> list[Change]:
        """Changes of a kind after a revision, oldest first.

        Raises:
            LookupError: they are not known any more.
        """
        with self.lock:
            if revision < self._forgotten:
                raise LookupError(f"revision {revision} is older than {self._forgotten}")
            found = [change for change in _newest_until(self._changes, revision) if change.storage == storage]
        return found[::-1]

    def _record(self, change: Change) -> None:
        if len(self._changes) == self._changes.maxlen:
            self._forgotten = self._changes[0].revision
        self._changes.append(change)
        self.changed.notify_all()


def _under_its_own_revision(item: StoredObject) -> StoredObject:
    """An object as it was before it was deleted, which a watch shows under the revision of the deletion."""
    metadata = {**item.content["metadata"], "resourceVersion": str(item.revision)}
    return StoredObject({**item.content, "metadata": metadata}, item.revision)


def _newest_until(changes: deque[Change], revision: int) -> Iterator[Change]:
    for change in reversed(changes):
        if change.revision <= revision:
            return
        yield change
