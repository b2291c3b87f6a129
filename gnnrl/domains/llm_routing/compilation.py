"""How the functions are compiled that kernels alone call."""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

__all__ = ["inner"]

inner: Any = register_jitable(error_model="numpy", no_cfunc_wrapper=True)
"""Decorates a function that is compiled into the kernels that call it, and has no entry of its own.

An entry from Python, which unpacks a cluster's ten arrays, is a quarter of the time that a function takes to compile. Called from Python
it is the plain function, with the same numbers.
"""
