"""Meshes: what cannot be is named, all of it at once; the traffic equations; how much load a mesh takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.domains.autoscaling.mesh import (
    Call,
    Mesh,
    MeshError,
    RequestClass,
    Service,
    hottest_ratio,
    peak_rps,
    replicas_needed,
    visits,
)
from gnnrl.domains.autoscaling.mesh_file import load_mesh, save_mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.traffic import spectral_radius


def mesh_of(calls: dict[tuple[str, str], tuple[float, ...]], roots: dict[str, float], **changes: object) -> Mesh:
    """Services a, b, c, ... as the calls name them; per class the number of calls."""
    names = sorted({end for pair in calls for end in pair} | set(roots))
    return Mesh(
        name="m",
        services=tuple(Service(name=name, cpu_ms=2.0) for name in names),
        calls=tuple(Call(source=s, target=t) for s, t in calls),
        classes=tuple(
            RequestClass(name=f"c{i}", root=root, weight=weight, calls=tuple(n[i] for n in calls.values()))
            for i, (root, weight) in enumerate(roots.items())
        ),
        **changes,  # type: ignore[arg-type]
    )


def test_visits_add_up_along_paths_and_differ_by_class() -> None:
    mesh = mesh_of(
        {("a", "b"): (2.0, 0.0), ("a", "c"): (1.0, 0.0), ("b", "c"): (3.0, 1.0)},
        {"a": 0.25, "b": 0.75},
    )
    # Class 0: one a, two b, 1 + 2 * 3 c. Class 1 enters at b.
    np.testing.assert_allclose(visits(mesh), [[1, 2, 7], [0, 1, 1]])
    np.testing.assert_allclose(mesh.arrays().call_rates, [[2, 1, 6], [0, 0, 1]])
    np.testing.assert_allclose(mesh.arrays().mean_visits, [0.25, 1.25, 2.5])


def test_cycles_and_self_calls_are_solved_as_geometric_series() -> None:
    mesh = mesh_of({("a", "b"): (1.0,), ("b", "a"): (0.5,), ("b", "b"): (0.25,)}, {"a": 1.0})
    # v_a = 1 + v_b / 2, v_b = v_a + v_b / 4  =>  v_a = 3, v_b = 4.
    np.testing.assert_allclose(visits(mesh), [[3.0, 4.0]])


def test_visits_equal_the_count_of_simulated_requests() -> None:
    mesh = online_boutique()
    arrays = mesh.arrays()
    rng = np.random.default_rng(0)
    n, count = 4000, np.zeros(len(mesh.services))
    for c in rng.choice(len(mesh.classes), p=arrays.class_weight, size=n):
        pending = [int(arrays.class_root[c])]
        while pending:
            s = pending.pop()
            count[s] += 1
            for e in np.flatnonzero(arrays.call_source == s):
                ratio = arrays.call_ratio[c, e]
                pending += [int(arrays.call_target[e])] * int(np.floor(ratio) + (rng.random() < ratio % 1))
    error = np.sqrt(np.maximum(arrays.mean_visits, 0.02) * 10 / n)
    assert (np.abs(count / n - arrays.mean_visits) < 4 * error).all()


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_amplification_without_end_is_an_error_that_names_the_class(ratio: float) -> None:
    with pytest.raises(MeshError, match=r"'c0'.*amplify without end \(spectral radius 1"):
        mesh_of({("a", "b"): (ratio,), ("b", "a"): (1.0 / ratio if ratio == 1 else 1.0,)}, {"a": 1.0})
    mesh_of({("a", "b"): (ratio,), ("b", "a"): (0.6,)}, {"a": 1.0})  # the same cycle, dying out


def test_spectral_radius_matches_eigenvalues_and_is_exactly_zero_without_cycles() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.random((6, 6)) * (rng.random((6, 6)) < 0.4)
    assert spectral_radius(matrix) == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max())
    assert spectral_radius(np.triu(np.full((30, 30), 9.0), 1)) == 0.0


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(MeshError) as caught:
        Mesh(
            name="broken",
            services=(
                Service(name="a", cpu_ms=-1.0),
                Service(name="a", cpu_ms=1.0, cpu_request_millicores=300.0),
                Service(name="b", cpu_ms=float("nan"), timeout_ms=0.0, replicas=0),
            ),
            calls=(
                Call(source="a", target="ghost"),
                Call(source="a", target="b"),
                Call(source="a", target="b", mtls=2.0, error_share=float("nan")),
            ),
            classes=(
                RequestClass(name="c", root="nobody", weight=0.4, calls=(1.0, float("inf"), -1.0)),
                RequestClass(name="c", root="a", weight=0.4, calls=(1.0,)),
            ),
            slo_ms=-5.0,
        )
    text = str(caught.value)
    for part in (
        "service 'a': cpu_ms -1.0",
        "service 'a' appears 2 times",
        "cpu_request_millicores 300 is above cpu_limit_millicores 200",
        "service 'b': cpu_ms nan",
        "service 'b': timeout_ms 0.0",
        "service 'b': replicas 0",
        "unknown service 'ghost'",
        "mtls 2.0",
        "error_share nan is not a share in [0, 1]",
        "call 'a' -> 'b' appears 2 times",
        "root 'nobody' is not a service",
        "inf calls of 'a' -> 'b'",
        "-1.0 calls of 'a' -> 'b'",
        "1 call ratios for 3 calls",
        "request class 'c' appears 2 times",
        "sum to 0.8, not 1",
        "slo_ms -5.0",
    ):
        assert part in text
    assert all(line.startswith("mesh 'broken': ") for line in text.splitlines())


def test_hottest_ratio_and_peak_leave_a_stateful_service_out_and_alive() -> None:
    mesh = mesh_of({("a", "b"): (4.0,)}, {"a": 1.0})
    assert hottest_ratio(mesh) == pytest.approx(4 * 2.0 / 200)
    assert peak_rps(mesh, 10.0) == pytest.approx(10 * 0.8 / 0.04)
    store = replace(mesh.services[1], stateful=True)
    fixed = replace(mesh, services=(mesh.services[0], store))
    assert hottest_ratio(fixed) == pytest.approx(2.0 / 200)
    # 10 pods of a would load the one pod of b with 800 * 0.04 = 32 times its limit; b sets the level instead.
    assert peak_rps(fixed, 10.0) == pytest.approx(0.8 / 0.04)
    three = replace(fixed, services=(mesh.services[0], replace(store, replicas=3)))
    assert peak_rps(three, 10.0) == pytest.approx(3 * 0.8 / 0.04)


def test_replicas_needed_by_hand() -> None:
    mesh = mesh_of({("a", "b"): (4.0,)}, {"a": 1.0})
    # a: 100 * 0.01 / 0.8 = 1.25 -> 2; b: 100 * 0.04 / 0.8 = 5 exactly.
    assert replicas_needed(mesh, 100.0, 0.8).tolist() == [2, 5]
    assert replicas_needed(mesh, 0.0, 0.8).tolist() == [1, 1]
    assert replicas_needed(mesh, peak_rps(mesh, 13.0), 0.8).max() == 13


def test_arrays_are_cached_and_read_only() -> None:
    arrays = online_boutique().arrays()
    with pytest.raises(ValueError, match="read-only"):
        arrays.visits[0, 0] = 2.0
    mesh = online_boutique()
    assert mesh.arrays() is mesh.arrays()


def test_networkx_carries_names_fields_and_rates() -> None:
    graph = online_boutique().to_networkx()
    assert graph.nodes["redis-cart"]["stateful"] is True
    assert graph.edges["cartservice", "redis-cart"]["calls_per_request"] == pytest.approx(30 / 28)


def test_yaml_round_trip_is_exact(tmp_path) -> None:
    mesh = replace(online_boutique(), slo_ms=486.5, node_cpu_millicores=12000.0)
    save_mesh(mesh, tmp_path / "m.yaml")
    assert load_mesh(tmp_path / "m.yaml") == mesh
    assert [path.name for path in tmp_path.iterdir()] == ["m.yaml"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: x\nname: y\n", ["key 'name' appears twice", "line 2"]),
        ("[1, 2]", ["the document: must be a mapping, not a list"]),
        ("name: [", ["is no YAML", "line 1"]),
        (
            "name: x\nspeed: 3\nservices:\n- {name: a, cpu_ms: fast}\n- {name: 7, cpu_ms: 1, stateful: 'no'}\n- 5\n"
            "calls: []\nclasses:\n- {name: c, root: a, weight: 1, calls: {a -> b: 1}}\n- {name: d}\n",
            [
                "speed: unknown key",
                "services[0].cpu_ms: must be a number, not 'fast'",
                "services[1].name: must be text, not 7",
                "services[1].stateful: must be true or false",
                "services[2]: must be a mapping",
                "classes[0].calls: 'a -> b' is no call of the mesh",
                "classes[1].root: is missing",
            ],
        ),
        (
            "name: x\nservices: [{name: a, cpu_ms: 1}]\ncalls: [{source: a, target: z}]\n"
            "classes: [{name: c, root: a, weight: .nan, calls: {}}]\n",
            ["unknown service 'z'", "weight nan"],
        ),
    ],
)
def test_a_faulty_file_names_the_file_and_every_place(tmp_path, text: str, parts: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(MeshError) as caught:
        load_mesh(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_a_missing_file_is_a_mesh_error(tmp_path) -> None:
    with pytest.raises(MeshError, match=r"absent\.yaml.*cannot be read"):
        load_mesh(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cpu_ms", "1", "service 'a': cpu_ms '1' is not a number"),
        ("cpu_ms", True, "cpu_ms True is not a number"),
        ("cpu_ms", np.array([1.0, 2.0]), "is not a number"),
        ("replicas", 2.5, "replicas 2.5 is not an integer"),
        ("replicas", None, "replicas None is not an integer"),
        ("stateful", "no", "stateful 'no' is not true or false"),
        ("fatal", 0, "fatal 0 is not true or false"),
        ("timeout_ms", "5s", "timeout_ms '5s' is not a number"),
        ("name", 3, r"services\[0\]: name 3 is not text"),
        ("name", [], "is not text"),
    ],
)
def test_a_service_of_other_kinds_is_refused_in_words(field: str, value: object, words: str) -> None:
    service = replace(Service(name="a", cpu_ms=2.0), **{field: value})  # type: ignore[arg-type]
    request = RequestClass(name="c", root="a", weight=1.0, calls=())
    with pytest.raises(MeshError, match=words):
        Mesh(name="m", services=(service,), calls=(), classes=(request,))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "name None is not text"),
        ({"services": "ab"}, "services 'ab' is not a tuple"),
        ({"services": (1,)}, r"services\[0\]: 1 is not a Service"),
        ({"calls": ("ab",)}, r"calls\[0\]: 'ab' is not a Call"),
        ({"classes": 3}, "classes 3 is not a tuple"),
        ({"calls": (Call(source="a", target="b", mtls="all"),)}, "call 'a' -> 'b': mtls 'all' is not a number"),  # type: ignore[arg-type]
        ({"classes": (RequestClass(name="c", root="a", weight=1.0, calls=("2",)),)}, r"'c': calls\[0\] '2' is not"),  # type: ignore[arg-type]
        ({"classes": (RequestClass(name="c", root="a", weight="1", calls=(2.0,)),)}, "'c': weight '1' is not a"),  # type: ignore[arg-type]
        ({"slo_ms": "fast"}, "slo_ms 'fast' is not a number"),
    ],
)
def test_a_mesh_of_other_kinds_is_refused_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(MeshError, match=words):
        replace(mesh_of({("a", "b"): (2.0,)}, {"a": 1.0}), **changes)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    mesh = mesh_of({("a", "b"): (2.0,)}, {"a": 1.0})
    service = replace(mesh.services[0], cpu_ms=np.float32(2.0), replicas=np.int64(3), stateful=np.bool_(True))  # type: ignore[arg-type]
    assert replace(mesh, services=(service, *mesh.services[1:])).arrays().replicas.tolist() == [3, 1]
