"""The patch formats of the Kubernetes API: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch, apply."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError

__all__ = ["APPLY_PATCH", "JSON_PATCH", "MERGE_PATCH", "STRATEGIC_PATCH", "apply_patch"]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

IGNORED_DIRECTIVES = ("$setElementOrder/", "$retainKeys")
"""Of a strategic patch, about the order and the retention of list elements and union members, which change nothing here."""
DELETE_FROM_LIST = "$deleteFromPrimitiveList/"
MERGE_KEYS = {"ownerReferences": "uid", "conditions": "type", "containers": "name", "finalizers": ""}
"""Lists that a strategic patch merges, and the field by which; empty = a set of values."""
MOST_OPERATIONS = 10_000
"""The API server's own bound."""


def apply_patch(media_type: str, patch: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the patch applied; the document itself stays as it is.

    Raises:
        ApiError: 400, it is no patch of that kind; 422, it does not apply.
    """
    target = copy.deepcopy(dict(document))
    if media_type == JSON_PATCH:
        if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
            raise ApiError(
                400, "error decoding patch: json: cannot unmarshal into Go value of type []handlers.jsonPatchOp"
            )
        if len(patch) > MOST_OPERATIONS:
            raise ApiError(
                413, f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(patch)}"
            )
        for operation in patch:
            target = _operate(target, operation)
        if not isinstance(target, dict):
            raise ApiError.bad_patch(str(target), "the outcome is not an object")
        return target
    if not isinstance(patch, dict):
        raise ApiError(400, f"error decoding patch: json: cannot unmarshal {_kind_of(patch)} into a map")
    return _merge(target, patch, media_type == STRATEGIC_PATCH)


def _merge(target: Any, patch: dict[str, Any], strategic: bool) -> dict[str, Any]:
    merged = dict(target) if isinstance(target, dict) else {}
    if strategic and "$patch" in patch:
        directive, rest = patch["$patch"], {key: value for key, value in patch.items() if key != "$patch"}
        if directive in ("replace", "delete"):
            return copy.deepcopy(rest) if directive == "replace" else {}
        if directive != "merge":
            raise ApiError.internal(f"unknown patch type found: {directive}")
        patch = rest
    for key, value in patch.items():
        if strategic and key.startswith("$"):
            _direct(merged, key, value)
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(merged.get(key), value, strategic)
        elif strategic and key in MERGE_KEYS and isinstance(value, list):
            merged[key] = _merge_list(merged.get(key), value, MERGE_KEYS[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _direct(merged: dict[str, Any], key: str, value: Any) -> None:
    """A directive beside the fields that it is about."""
    if key.startswith(DELETE_FROM_LIST):
        field = key.removeprefix(DELETE_FROM_LIST)
        if not isinstance(value, list):
            raise ApiError(400, "invalid patch format of primitive list")
        if isinstance(merged.get(field), list):
            merged[field] = [each for each in merged[field] if each not in value]
    elif not key.startswith(IGNORED_DIRECTIVES):
        raise ApiError.bad_patch(key, "the sandbox does not know this directive of strategic patches")


def _merge_list(target: Any, patch: list[Any], by: str) -> list[Any]:
    merged = list(target) if isinstance(target, list) else []
    for item in patch:
        if not by:
            merged += [copy.deepcopy(item)] if item not in merged else []
            continue
        if not isinstance(item, dict) or by not in item:
            raise ApiError.internal(f"map: {item} does not contain declared merge key: {by}")
        places = [place for place, each in enumerate(merged) if isinstance(each, dict) and each.get(by) == item[by]]
        if item.get("$patch") == "delete":
            merged = [each for place, each in enumerate(merged) if place not in places]
        elif places:
            merged[places[0]] = _merge(merged[places[0]], item, True)
        else:
            merged.append(_merge({}, item, True))
    return merged


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation.get("path"), str):
        raise ApiError.unapplicable_patch()
    name, path = operation.get("op"), operation["path"]
    if name in ("add", "replace", "test") and "value" not in operation:
        raise ApiError.unapplicable_patch()
    if name in ("move", "copy") and not isinstance(operation.get("from"), str):
        raise ApiError.unapplicable_patch()
    if name == "test":
        if not _equal(_look(document, path, absent_is_null=True), operation["value"]):
            raise ApiError.unapplicable_patch()
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
    raise ApiError.unapplicable_patch()


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise ApiError.unapplicable_patch()
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _step(container: Any, token: str) -> Any:
    if isinstance(container, dict) and token in container:
        return container[token]
    if isinstance(container, list):
        return container[_index(token, len(container) - 1)]
    raise ApiError.unapplicable_patch()


def _index(token: str, last: int) -> int:
    if not (token.isascii() and token.isdigit()) or int(token) > last:
        raise ApiError.unapplicable_patch()
    return int(token)


def _look(document: Any, path: str, *, absent_is_null: bool = False) -> Any:
    tokens = _tokens(path)
    for place, token in enumerate(tokens):
        is_last = place == len(tokens) - 1
        if absent_is_null and is_last and isinstance(document, dict) and token not in document:
            return None
        document = _step(document, token)
    return document


def _put(document: Any, path: str, value: Any, *, must_exist: bool) -> Any:
    tokens = _tokens(path)
    if not tokens:
        return value
    parent = document
    for token in tokens[:-1]:
        parent = _step(parent, token)
    token = tokens[-1]
    if isinstance(parent, list) and must_exist:
        parent[_index(token, len(parent) - 1)] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if token == "-" else _index(token, len(parent)), value)
    elif isinstance(parent, dict) and (token in parent or not must_exist):
        parent[token] = value
    else:
        raise ApiError.unapplicable_patch()
    return document


def _remove(document: Any, path: str) -> Any:
    tokens = _tokens(path)
    if not tokens:
        raise ApiError.unapplicable_patch()
    parent = document
    for token in tokens[:-1]:
        parent = _step(parent, token)
    _step(parent, tokens[-1])
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
