"""The patch formats of the Kubernetes API: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError

__all__ = ["JSON_PATCH", "MERGE_PATCH", "STRATEGIC_PATCH", "apply_patch"]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

DIRECTIVES = ("$setElementOrder/", "$retainKeys")
"""Of a strategic patch, about the order and the retention of list elements and union members, which change nothing here."""
MOST_OPERATIONS = 10_000
"""The API server's own bound."""


def apply_patch(media_type: str, patch: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the patch applied; the document itself stays as it is.

    A strategic patch replaces lists: none of the kinds that take one here has a list that is merged by key.

    Raises:
        ApiError: 400, it is no patch of that kind; 422, it does not apply.
    """
    target = copy.deepcopy(dict(document))
    if media_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise ApiError(400, "json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        if len(patch) > MOST_OPERATIONS:
            raise ApiError(
                413, f"the allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(patch)}"
            )
        for operation in patch:
            target = _operate(target, operation)
        if not isinstance(target, dict):
            raise ApiError.bad_patch("the outcome is not an object")
        return target
    if not isinstance(patch, dict):
        raise ApiError(400, f"error decoding patch: json: cannot unmarshal {_kind_of(patch)} into a map")
    return _merge(target, patch, media_type == STRATEGIC_PATCH)


def _merge(target: Any, patch: dict[str, Any], strategic: bool) -> dict[str, Any]:
    merged = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if strategic and key.startswith("$"):
            if not key.startswith(DIRECTIVES):
                raise ApiError.bad_patch(f"the sandbox does not know the directive {key!r} of strategic patches")
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(merged.get(key), value, strategic)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise ApiError.bad_patch("an operation is an object with op and path")
    name, path = operation.get("op"), operation["path"]
    if name in ("add", "replace", "test") and "value" not in operation:
        raise ApiError.bad_patch(f"{name} operation for path {path!r} is missing a value")
    if name in ("move", "copy") and not isinstance(operation.get("from"), str):
        raise ApiError.bad_patch(f"{name} operation for path {path!r} is missing from")
    if name == "test":
        if not _equal(_look(document, path, absent_is_null=True), operation["value"]):
            raise ApiError.bad_patch(f"testing path {path} failed")
        return document
    if name == "add":
        return _put(document, path, copy.deepcopy(operation["value"]), must_exist=False)
    if name == "replace":
        return _put(document, path, copy.deepcopy(operation["value"]), must_exist=True)
    if name == "remove":
        return _remove(document, path)
    if name == "copy":
        return _put(document, path, copy.deepcopy(_look(document, operation["from"])), must_exist=False)
    if name == "move":
        value = _look(document, operation["from"])
        return _put(_remove(document, operation["from"]), path, value, must_exist=False)
    raise ApiError.bad_patch(f"unexpected kind: {name}")


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise ApiError.bad_patch(f"path {path!r} does not begin with /")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _step(container: Any, token: str, path: str) -> Any:
    if isinstance(container, dict) and token in container:
        return container[token]
    if isinstance(container, list):
        return container[_index(container, token, path, len(container) - 1)]
    raise ApiError.bad_patch(f"doc is missing path: {path}: missing value")


def _index(container: list[Any], token: str, path: str, last: int) -> int:
    if not (token.isascii() and token.isdigit()) or int(token) > last:
        raise ApiError.bad_patch(f"path {path}: {token!r} is no index of a list of {len(container)}")
    return int(token)


def _look(document: Any, path: str, *, absent_is_null: bool = False) -> Any:
    tokens = _tokens(path)
    for place, token in enumerate(tokens):
        is_last = place == len(tokens) - 1
        if absent_is_null and is_last and isinstance(document, dict) and token not in document:
            return None
        document = _step(document, token, path)
    return document


def _put(document: Any, path: str, value: Any, *, must_exist: bool) -> Any:
    tokens = _tokens(path)
    if not tokens:
        return value
    parent = document
    for token in tokens[:-1]:
        parent = _step(parent, token, path)
    token = tokens[-1]
    if isinstance(parent, list) and must_exist:
        parent[_index(parent, token, path, len(parent) - 1)] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if token == "-" else _index(parent, token, path, len(parent)), value)
    elif isinstance(parent, dict) and (token in parent or not must_exist):
        parent[token] = value
    else:
        raise ApiError.bad_patch(f"replace operation does not apply: doc is missing key: {path}: missing value")
    return document


def _remove(document: Any, path: str) -> Any:
    tokens = _tokens(path)
    if not tokens:
        raise ApiError.bad_patch("the whole document cannot be removed")
    parent = document
    for token in tokens[:-1]:
        parent = _step(parent, token, path)
    _step(parent, tokens[-1], path)
    if isinstance(parent, list):
        parent.pop(int(tokens[-1]))
    else:
        del parent[tokens[-1]]
    return document


def _equal(left: Any, right: Any) -> bool:
    """JSON equality: `true` is not 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _kind_of(value: Any) -> str:
    return {str: "string", list: "array", bool: "bool", type(None): "null"}.get(type(value), "number")
