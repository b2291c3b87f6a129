"""The chart's schema of the loop's configuration, from the code: `python -m tests.deploy.values_schema` writes it."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from gnnrl.config.live import LiveConfig

FILE = Path(__file__).parents[2] / "deploy" / "helm" / "gnnrl" / "values.schema.json"
Manifest = dict[str, Any]


def schema_of(cls: type) -> Manifest:
    """JSON schema of a configuration, so that helm refuses what the loop would."""
    bounds = {
        "Ge": ("minimum", "ge"),
        "Gt": ("exclusiveMinimum", "gt"),
        "Le": ("maximum", "le"),
        "Lt": ("exclusiveMaximum", "lt"),
    }
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    properties: Manifest = {}
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        name, hint = field.name, hints[field.name]
        limits: list[Any] = []
        while get_origin(hint) is Annotated:
            limits += hint.__metadata__
            hint = hint.__origin__
        if is_dataclass(hint):
            properties[name] = schema_of(hint)
        elif get_origin(hint) is Literal:
            properties[name] = {"enum": list(get_args(hint))}
        else:
            properties[name] = {"type": kinds[hint]}
            for limit in limits:
                key, attribute = bounds[type(limit).__name__]
                properties[name][key] = getattr(limit, attribute)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(field.name for field in fields(cls)),
        "properties": properties,
    }


if __name__ == "__main__":
    schema = json.loads(FILE.read_text())
    schema["properties"]["config"] = schema_of(LiveConfig)
    FILE.write_text(json.dumps(schema, indent=2) + "\n")
