"""Queue models in YAML files that a person can read and edit, with errors that name the file and the place.

    arrivals: {A: 6, B: 6}                # requests/s of each type
    replicas:                             # requests/s that each serves of each type
      replica_0: {A: 10, B: 5}
      replica_1: {A: 5, B: 10}

Unknown, missing and repeated keys are errors.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path

import yaml

from gnnrl.domains.queue_routing.model import QueueModel, QueueModelError
from gnnrl.text_file import read_text

__all__ = ["load_queue_model", "make_queue_model"]


def load_queue_model(path: str | Path) -> QueueModel:
    """Read a model file.

    Raises:
        QueueModelError: the file cannot be read, is no YAML, or describes a model that cannot be; all problems of one kind at once.
    """
    place = str(path)
    try:
        document = yaml.load(read_text(Path(path)), Loader=_StrictLoader)
    except OSError as error:
        raise QueueModelError([f"cannot be read: {error.strerror}"], place) from error
    except UnicodeDecodeError as error:
        raise QueueModelError([f"is not UTF-8 text ({error.reason})"], place) from error
    except yaml.YAMLError as error:
        raise QueueModelError([f"is no YAML: {' '.join(str(error).split())}"], place) from error
    if not isinstance(document, dict):
        raise QueueModelError(["a mapping with the keys arrivals and replicas is expected"], place)
    known = ("arrivals", "replicas")
    problems = [f"{key}: unknown key; known are {', '.join(known)}" for key in document if key not in known]
    problems += [f"{key}: is missing" for key in known if key not in document]
    replicas = document.get("replicas", {})
    for where, value in (("arrivals", document.get("arrivals", {})), ("replicas", replicas)):
        if not isinstance(value, dict):
            problems.append(f"{where}: must be a mapping, not {value!r}")
    if isinstance(replicas, dict):
        problems += [
            f"replicas.{name}: must be a mapping of types to requests/s, not {rates!r}"
            for name, rates in replicas.items()
            if not isinstance(rates, dict)
        ]
    if problems:
        raise QueueModelError(problems, place)
    return make_queue_model(document["arrivals"], replicas, place)


def make_queue_model(
    arrivals: Mapping[str, float], replicas: Mapping[str, Mapping[str, float]], place: str = "queue model"
) -> QueueModel:
    """A model from mappings: type -> requests/s, and replica -> type -> requests/s.

    Raises:
        QueueModelError: a replica lacks a type or serves one that never arrives, or as `QueueModel`; with `place` before each problem.
    """
    problems = [
        f"replica {name!r}: {what} type {kind!r}; {mend}"
        for name, rates in replicas.items()
        for what, kinds, mend in (
            ("no rate for", [kind for kind in arrivals if kind not in rates], "every replica serves every type"),
            ("unknown", [kind for kind in rates if kind not in arrivals], f"those that arrive are {', '.join(map(str, arrivals))}"),
        )
        for kind in kinds
    ]  # fmt: skip
    try:
        # A missing rate stands for 1 here, only so that the other problems are told as well.
        model = QueueModel(
            types=tuple(arrivals),
            arrival_rates=tuple(arrivals.values()),
            replicas=tuple(replicas),
            service_rates=tuple(tuple(rates.get(kind, 1.0) for kind in arrivals) for rates in replicas.values()),
        )
    except QueueModelError as error:
        raise QueueModelError([*problems, *error.problems], place) from error
    if problems:
        raise QueueModelError(problems, place)
    return model


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error, and 3e-4 a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)
