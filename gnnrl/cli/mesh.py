"""Make, read and draw service meshes: from a Kiali answer, at random, or the built-in Online Boutique."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnrl.cli.arguments import add_json, beside, need_files, print_json, print_table

if TYPE_CHECKING:
    from gnnrl.domains.autoscaling.mesh import Mesh

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "import, show or invent a service mesh"

BUILT_IN = "online_boutique"
PNG_WIDTH, PNG_HEIGHT, INCHES_PER_NODE = 11.0, 6.5, 0.4
PNG_DPI = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl mesh import | show | random`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    importing = actions.add_parser("import", help="turn a Kiali graph answer into a mesh that can be trained on")
    importing.add_argument("kiali_json", metavar="KIALI_JSON", type=Path, help="a Kiali graph answer, 1.0 to 2.x")
    importing.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the mesh file to write; - prints it"
    )
    showing = actions.add_parser("show", help="print a mesh, or draw it")
    showing.add_argument("mesh", metavar="FILE", help=f"a mesh file, or {BUILT_IN}")
    showing.add_argument("--png", metavar="FILE", type=Path, help="draw it instead, into this file")
    add_json(showing)
    inventing = actions.add_parser("random", help="invent a mesh with the structure that production meshes have")
    inventing.add_argument("--services", metavar="N", type=int, required=True, help="how many services")
    inventing.add_argument("--seed", metavar="S", type=int, default=0, help="the same seed gives the same mesh")
    inventing.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the mesh file to write; - prints it"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the action; a mesh that cannot be raises `MeshError`."""
    actions = {"import": _import, "show": _show, "random": _random}
    return actions[args.action](args)


def load_named_mesh(name: str) -> Mesh:
    """The built-in mesh of that name, or the one in that file."""
    from gnnrl.domains.autoscaling.mesh_file import load_mesh
    from gnnrl.domains.autoscaling.online_boutique import online_boutique

    return online_boutique() if name == BUILT_IN else load_mesh(Path(name))


def _import(args: argparse.Namespace) -> int:
    from gnnrl.domains.autoscaling.kiali_import import import_kiali
    from gnnrl.domains.autoscaling.mesh_file import save_mesh

    mesh, notes = import_kiali(args.kiali_json)
    save_mesh(mesh, args.output)
    for note in notes:
        print(f"note: {note}", file=beside(args.output))
    _written(mesh, args.output)
    return 0


def _random(args: argparse.Namespace) -> int:
    from gnnrl.domains.autoscaling.mesh_file import save_mesh
    from gnnrl.domains.autoscaling.random_mesh import random_mesh

    mesh = random_mesh(args.services, seed=args.seed)
    save_mesh(mesh, args.output)
    _written(mesh, args.output)
    return 0


def _written(mesh: Mesh, path: Path) -> None:
    told = f"{path}: {len(mesh.services)} services, {len(mesh.calls)} calls, {len(mesh.classes)} request classes"
    print(told, file=beside(path))


def _show(args: argparse.Namespace) -> int:
    need_files(png=args.png)
    mesh = load_named_mesh(args.mesh)
    if args.png:
        _draw(mesh, args.png)
        print(f"{args.png}: {mesh.name} drawn")
    elif args.json:
        print_json(_described(mesh))
    else:
        _print(mesh)
    return 0


def _draw(mesh: Mesh, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from gnnrl.evaluation.drawing import draw_mesh, layered_positions, tallest_layer

    tallest = tallest_layer(layered_positions(mesh.to_networkx()))
    figure, ax = pyplot.subplots(figsize=(PNG_WIDTH, max(PNG_HEIGHT, INCHES_PER_NODE * tallest)))
    draw_mesh(mesh, ax)
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=9, frameon=False)
    ax.set_title(f"{mesh.name}: node area by CPU demand, edge width by calls per request", fontsize=10)
    try:
        figure.savefig(path, format="png", dpi=PNG_DPI, bbox_inches="tight")
    finally:
        pyplot.close(figure)


def _described(mesh: Mesh) -> dict[str, Any]:
    from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms

    arrays = mesh.arrays()
    demand = arrays.mean_visits * arrays.cpu_ms
    return {
        "name": mesh.name,
        "idle_p95_ms": idle_p95_ms(mesh),
        "slo_ms": mesh.slo_ms,
        "services": [
            {
                "name": service.name,
                "cpu_ms": service.cpu_ms,
                "calls_per_request": float(arrays.mean_visits[s]),
                "cpu_share": float(demand[s] / demand.sum()),
                "cpu_request_millicores": service.cpu_request_millicores,
                "cpu_limit_millicores": service.cpu_limit_millicores,
                "startup_seconds": service.startup_seconds,
                "stateful": service.stateful,
            }
            for s, service in enumerate(mesh.services)
        ],
        "calls": [
            {
                "source": call.source,
                "target": call.target,
                "calls_per_request": float(rate),
                "error_share": call.error_share,
            }
            for call, rate in zip(mesh.calls, arrays.mean_call_rates, strict=True)
        ],
        "classes": [{"name": c.name, "root": c.root, "weight": c.weight} for c in mesh.classes],
    }


def _print(mesh: Mesh) -> None:
    described = _described(mesh)
    idle = described["idle_p95_ms"]
    slo = f"{mesh.slo_ms:.0f} ms" if mesh.slo_ms is not None else "environment.slo_factor x that"
    print(f"{mesh.name}: P95 without load {idle:.0f} ms, SLO {slo}\n")
    print_table(
        "Services",
        ("service", "CPU ms/call", "calls/request", "CPU share %", "request m", "limit m", "start-up s", "kind"),
        (
            (
                s["name"],
                s["cpu_ms"],
                s["calls_per_request"],
                f"{100 * s['cpu_share']:.1f}",
                s["cpu_request_millicores"],
                s["cpu_limit_millicores"],
                s["startup_seconds"],
                "stateful" if s["stateful"] else "scalable",
            )
            for s in sorted(described["services"], key=lambda s: -float(s["cpu_share"]))
        ),
    )
    print_table(
        "Calls",
        ("source", "target", "calls/request", "own errors %"),
        (
            (c["source"], c["target"], c["calls_per_request"], f"{100 * c['error_share']:.1f}")
            for c in described["calls"]
        ),
    )
    print_table(
        "Request classes",
        ("class", "root", "share %"),
        ((c["name"], c["root"], f"{100 * c['weight']:.1f}") for c in described["classes"]),
    )
