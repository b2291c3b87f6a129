"""`gnnrl mesh`: what it prints and draws agrees with the mesh; nothing is written from bad input."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import pytest

from gnnrl.cli.main import main
from gnnrl.domains.autoscaling.mesh_file import load_mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.evaluation.drawing import layered_positions

KIALI = Path(__file__).parents[2] / ".." / "shared" / "kiali"


def test_show_json_satisfies_the_traffic_equations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", "show", "online_boutique", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    visits = {s["name"]: s["calls_per_request"] for s in shown["services"]}
    assert visits["frontend"] == pytest.approx(1.0)
    for name in visits:
        arriving = sum(c["calls_per_request"] for c in shown["calls"] if c["target"] == name)
        assert visits[name] == pytest.approx(arriving + (name == "frontend"))
    assert sum(s["cpu_share"] for s in shown["services"]) == pytest.approx(1.0)


def test_show_prints_every_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", "show", "online_boutique"]) == 0
    out = capsys.readouterr().out
    assert all(service.name in out for service in online_boutique().services)


def test_show_draws_a_png(tmp_path: Path) -> None:
    assert main(["mesh", "show", "online_boutique", "--png", str(tmp_path / "mesh.png")]) == 0
    assert (tmp_path / "mesh.png").read_bytes().startswith(b"\x89PNG")


def test_layers_follow_the_longest_path_and_survive_cycles() -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("d", "c"), ("d", "d")])
    depth = {name: x for name, (x, _) in layered_positions(graph).items()}
    assert depth == {"a": 0.0, "b": 1.0, "c": 2.0, "d": 2.0}
    assert len(set(layered_positions(graph).values())) == 4


def test_random_meshes_are_written_and_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(["mesh", "random", "--services", "12", "--seed", seed, "-o", str(tmp_path / name)]) == 0
    first, same, other = ((tmp_path / name).read_text() for name in "abc")
    assert first == same
    assert first != other
    assert len(load_mesh(tmp_path / "a").services) == 12


def test_bad_input_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.yaml"
    (tmp_path / "page.json").write_text("<html>login</html>")
    (tmp_path / "cut.json").write_text('{"elements": {"nodes": [')
    assert main(["mesh", "random", "--services", "0", "-o", str(out)]) == 2
    assert "services 0 is not in 2..1000" in capsys.readouterr().err
    for name in ("page.json", "cut.json", "missing.json"):
        assert main(["mesh", "import", str(tmp_path / name), "-o", str(out)]) == 2
        assert name in capsys.readouterr().err
    assert main(["mesh", "show", str(tmp_path / "page.json")]) == 2
    assert main(["mesh", "show", "online_boutique", "--png", str(tmp_path / "none" / "mesh.png")]) == 2
    assert not out.exists()


@pytest.mark.skipif(not KIALI.is_dir(), reason="Kiali's recorded answers are not part of the repository")
def test_a_real_kiali_answer_becomes_a_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = str(KIALI / "kiali-2.31-workload.json")
    assert main(["mesh", "import", answer, "-o", str(tmp_path / "mesh.yaml")]) == 0
    mesh = load_mesh(tmp_path / "mesh.yaml")
    out = capsys.readouterr().out
    assert f"{len(mesh.services)} services" in out
    assert "of the measured requests failed" in out
    assert main(["mesh", "show", str(tmp_path / "mesh.yaml"), "--json"]) == 0
    shown = {(c["source"], c["target"]): c["error_share"] for c in json.loads(capsys.readouterr().out)["calls"]}
    assert shown == {(c.source, c.target): c.error_share for c in mesh.calls}
    assert max(shown.values()) > 0.0
