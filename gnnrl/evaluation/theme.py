"""Colours of the report in the light and in the dark: everything that is coloured names a variable, whose value the page sets by what
the reader's system prefers."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["DARK", "themed", "variables"]

DARK: Mapping[str, str] = {
    # Ink, lines and paper.
    "#1f2937": "#e5e7eb",
    "#111827": "#f9fafb",
    "#4b5563": "#9ca3af",
    "#6b7280": "#9ca3af",
    "#9ca3af": "#7d8694",
    "#64748b": "#94a3b8",
    "#475569": "#94a3b8",
    "#e5e7eb": "#333c4b",
    "#ffffff": "#161b24",
    "#000000": "#f9fafb",
    # What is shaded.
    "#dbeafe": "#1d2f52",
    "#f0fdf4": "#12281c",
    "#dcfce7": "#143322",
    "#fee2e2": "#3d2026",
    "#cbd5e1": "#2b3340",
    "#86efac": "#2f7d4c",
    # Who is who.
    "#2563eb": "#6aa2ff",
    "#60a5fa": "#7db4fb",
    "#93c5fd": "#3b6fb0",
    "#3b82f6": "#5b9bff",
    "#94a3b8": "#8896aa",
    "#f59e0b": "#fbb540",
    "#ea580c": "#fb8c4a",
    "#9333ea": "#c48bfb",
    "#06b6d4": "#2fd3ee",
    "#a78b6d": "#c9ad8e",
    "#16a34a": "#4ac97a",
    "#65a30d": "#96cc3d",
    "#15803d": "#3fb56d",
    "#0d9488": "#3cc4b6",
    "#a3aab5": "#c3c9d2",
    "#c4807e": "#d69a99",
    "#ca8a04": "#e6b93d",
    "#a8a29e": "#b8b2ad",
    "#78716c": "#a8a29e",
    "#92400e": "#d98e54",
    "#b45309": "#e09a50",
    "#a16207": "#d9a53c",
    "#d97706": "#f0a445",
    "#b91c1c": "#f47c7c",
    "#be185d": "#f274ab",
    "#f87171": "#f87171",
    "#7c3aed": "#b08bff",
    "#0891b2": "#3fbfdd",
    "#db2777": "#f56bab",
    "#4338ca": "#928cff",
    "#c026d3": "#e37bef",
    "#0284c7": "#48b3ec",
    "#6d28d9": "#a57cf5",
}
"""Colour in the light -> in the dark."""

_NAMED = re.compile("|".join(DARK))


def themed(text: str) -> str:
    """Style sheet, attribute or SVG `text` with the colours that are known replaced by their variables."""
    return _NAMED.sub(lambda found: f"var(--c{found[0][1:]})", text)


def variables(dark: bool) -> str:
    """The variables' values, as a style sheet declares them."""
    return "".join(f"--c{light[1:]}:{night if dark else light};" for light, night in DARK.items())
