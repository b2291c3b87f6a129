"""Trees of arrays on disk: written so that a crash never costs the old file, read so that a file never runs code.

A tree is nested dicts and lists of numpy arrays, tensors, strings, numbers, booleans and None.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor

__all__ = ["CheckpointError", "read_archive", "snapshot", "write_archive", "write_bytes"]

FORMAT, VERSION = "gnnrl-checkpoint", 1
ARRAY = "__ndarray__"

DAMAGE = (
    RuntimeError, EOFError, BadZipFile, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What unpacking and unpickling answer to bytes that nobody wrote."""


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message names the file and the remedy."""


def _pack(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _pack(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_pack(value) for value in tree]
    if isinstance(tree, np.ndarray | np.generic):
        # A fresh copy: torch refuses read-only and negatively strided arrays.
        return {ARRAY: torch.from_numpy(np.array(tree, order="C"))}
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if tree is None or isinstance(tree, str | int | float | bool):
        return tree
    raise TypeError(f"a checkpoint holds arrays, tensors, strings, numbers and containers of them, not {type(tree)}")


def _unpack(tree: Any) -> Any:
    if isinstance(tree, dict):
        return tree[ARRAY].numpy() if ARRAY in tree else {key: _unpack(value) for key, value in tree.items()}
    return [_unpack(value) for value in tree] if isinstance(tree, list) else tree


def snapshot(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a tree that nothing changes any more, for `write_archive` to write later.

    Raises:
        TypeError: the tree holds something else than data.
    """
    copied: dict[str, Any] = _pack(tree)
    return copied


def write_archive(path: str | Path, tree: Mapping[str, Any]) -> None:
    """Write a tree, as `write_bytes` writes.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; what stood at `path` is untouched.
        TypeError: the tree holds something else than data.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, "tree": _pack(tree)}, buffer)
    write_bytes(path, buffer.getbuffer())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file: to a temporary one beside it, flushed to the disk, then renamed over it.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; what stood at `path` is untouched.
    """
    # Always the same name: what a killed process left behind is written over, not added to.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = "; the checkpoint that was there is kept" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error}){kept}") from error


def _require_sums(path: Path) -> None:
    """Hold every part against its checksum: a changed weight would be read as one that was learned."""
    with ZipFile(path) as parts:
        wrong = parts.testzip()
    if wrong is not None:
        raise BadZipFile(f"the checksum of {wrong} is wrong")


def read_archive(path: str | Path) -> dict[str, Any]:
    """Read a tree. Nothing in the file is executed.

    Raises:
        CheckpointError: no such file, truncated, not a checkpoint, of another version, or holding code.
    """
    path = Path(path)
    try:
        if is_zipfile(path):
            _require_sums(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path}: is a folder; give the checkpoint in it") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it holds more than data (a pickle that would run code) or is damaged; "
            "use a checkpoint written by gnnrl"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(f"{path}: truncated or not a checkpoint ({error}); use an earlier one") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a gnnrl checkpoint")
    if held.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint version {held.get('version')}, this gnnrl reads version {VERSION}; "
            "evaluate or resume it with the gnnrl that wrote it"
        )
    try:
        tree = _unpack(held.get("tree"))
    except (TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged, an array in it is none ({error}); use an earlier one") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: damaged, it holds no named values; use an earlier one")
    return tree
