"""The import contracts bite, the light modules stay light, and the names in configuration are those in the code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gnnrl", "graph_space", "encoders", "kiali_client")


@cache
def import_graph():  # type: ignore[no-untyped-def]
    import grimp

    return grimp.build_graph(*PACKAGES, include_external_packages=True, exclude_type_checking_imports=True)


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_forbidden_import_breaks_the_contracts(tmp_path: Path) -> None:
    """One tree with one sin against each contract: every contract must be reported broken, none kept."""
    sins = {
        "graph_space/__init__.py": "import encoders",
        "graph_space/learned.py": "import torch",
        "encoders/__init__.py": "import kiali_client",
        "kiali_client/__init__.py": "",
        "gnnrl/__init__.py": "",
        "gnnrl/rl/__init__.py": "import gnnrl.training",
        "gnnrl/agents/__init__.py": "import gnnrl.domains",
        "gnnrl/training/__init__.py": "",
        "gnnrl/config/__init__.py": "import gnnrl.domains.autoscaling",
        "gnnrl/domains/__init__.py": "",
        "gnnrl/domains/autoscaling/__init__.py": "import torch",
        "gnnrl/domains/queue_routing/__init__.py": "import gnnrl.domains.autoscaling",
    }
    for name, text in sins.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    report = lint(tmp_path)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert report.returncode == 1, report.stdout + report.stderr
    for contract in contracts:
        assert f"{contract['name']} BROKEN" in report.stdout, report.stdout


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("gnnrl.domains.autoscaling.physics", {"numpy", "numba"}),
        ("gnnrl.domains.queue_routing.physics", {"numpy", "numba"}),
        ("gnnrl.domains.queue_routing.kernel", {"numpy", "numba"}),
        ("gnnrl.domains.queue_routing.baselines", {"numpy"}),
        ("graph_space", {"numpy", "numba", "gymnasium", "networkx"}),
        ("kiali_client", {"requests", "urllib3", "networkx"}),
        ("gnnrl.domains.autoscaling.baselines", {"numpy", "yaml"}),
        ("gnnrl.config", {"annotated_types", "pydantic", "yaml"}),
    ],
)
def test_rooms_know_only_the_libraries_they_were_given(module: str, allowed: set[str]) -> None:
    graph = import_graph()
    room = {module, *graph.find_descendants(module)}
    found = {
        imported
        for name in room
        for imported in graph.find_modules_directly_imported_by(name)
        if imported.partition(".")[0] not in (*PACKAGES, *sys.stdlib_module_names)
    }
    assert found <= allowed


def test_pydantic_is_known_to_the_loader_alone() -> None:
    assert import_graph().find_modules_that_directly_import("pydantic") == {"gnnrl.config.loader"}


def test_the_command_line_and_the_package_start_without_the_heavy_libraries() -> None:
    """Counted in modules, not timed: what is not imported costs nothing on any machine."""
    code = (
        "import sys, contextlib, io\n"
        "from gnnrl.cli.main import main\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit): main(['--help'])\n"
        "assert 'evaluate' in out.getvalue()\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "torch_geometric", "numba", "numpy", "gymnasium", "networkx", "pydantic", "matplotlib", "rich"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("order", [("gnnrl", "gymnasium"), ("gymnasium", "gnnrl")])
def test_the_environment_is_registered_whichever_is_imported_first(order: tuple[str, str]) -> None:
    code = (
        f"import sys, {order[0]}\n"
        f"import {order[1]}\n"
        "import gymnasium\n"
        "print(gymnasium.spec('gnnrl/OnlineBoutique-v0').id, 'torch' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gnnrl/OnlineBoutique-v0", "False", "False"]


def test_every_public_name_of_the_package_loads() -> None:
    import gnnrl

    for name in gnnrl.__all__:
        assert getattr(gnnrl, name).__name__ == name
    assert set(gnnrl.__all__) <= set(dir(gnnrl))
    with pytest.raises(AttributeError, match="no attribute 'PPO'"):
        _ = gnnrl.PPO


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").open()}
    for requirement in wanted:
        if requirement.startswith("gnnrl["):  # an extra of our own, whose parts are among the wanted
            continue
        assert requirement.partition(">=")[0].lower().replace("_", "-") in pinned
