"""What deploy/ comes to: overlays rendered by kubectl, the chart by `tests.deploy.chart`."""

from __future__ import annotations

import shutil
import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import chart

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "gnnrl"
Manifest = dict[str, Any]


@cache
def kustomized(folder: str) -> str:
    """As text; the test is skipped where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    return subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / folder)], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def overlay(name: str) -> dict[str, Manifest]:
    """By kind."""
    objects = [found for found in yaml.safe_load_all(kustomized(f"overlays/{name}")) if found]
    kinds = [found["kind"] for found in objects]
    assert len(set(kinds)) == len(kinds), "one object of each kind"
    return dict(zip(kinds, objects, strict=True))


def base() -> dict[str, Manifest]:
    """The files of deploy/base as they stand, by kind."""
    files = [yaml.safe_load(file.read_text()) for file in sorted((DEPLOY / "base").glob("*.yaml"))]
    return {found["kind"]: found for found in files if "kind" in found}


def values(**changed: Any) -> Manifest:
    """Of the chart, some of them changed."""
    return deepcopy(yaml.safe_load((CHART / "values.yaml").read_text())) | changed


def released(settings: Manifest, namespace: str = "onlineboutique", name: str = "gnnrl") -> dict[str, Manifest]:
    """A release of the chart, by kind."""
    return {found["kind"]: found for found in chart.render(CHART, settings, name=name, namespace=namespace)}


def container(objects: dict[str, Manifest]) -> Manifest:
    """The only one of the Deployment."""
    (only,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only  # type: ignore[no-any-return]
