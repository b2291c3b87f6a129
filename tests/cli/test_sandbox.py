"""`gnnrl sandbox` as a process: what it prints, serves and leaves behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from gnnrl.cli.main import main

ROOT = Path(__file__).parents[2]


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command in a process of its own, and the lines of its introduction."""
    command = [
        sys.executable, "-m", "gnnrl", "sandbox", "--port-base", "0", "--kubeconfig", str(tmp_path / "kubeconfig"), *arguments,
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if "/faults" in line:
                break
        yield process, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def urls_of(lines: list[str]) -> dict[str, str]:
    found = (re.fullmatch(r"  (kubernetes|kiali|prometheus|control) +(http://\S+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_it_serves_until_it_is_interrupted_and_then_prints_the_score(tmp_path: Path) -> None:
    options = ("--speed", "300", "--workload", "noisy", "--set", "environment.churn.pod_crashed_per_hour=30")
    with running(tmp_path, *options) as (process, lines):
        urls = urls_of(lines)
        assert urls.keys() == {"kubernetes", "kiali", "prometheus", "control"}
        text = "\n".join(lines)
        assert f"export KUBECONFIG={tmp_path / 'kubeconfig'}" in text and "gnnrl live --policy generalist" in text
        config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        token = config["users"][0]["user"]["token"]
        assert config["clusters"][0]["cluster"]["server"] == urls["kubernetes"] and token not in text
        assert (tmp_path / "kubeconfig").stat().st_mode & 0o077 == 0
        headers = {"Authorization": f"Bearer {token}"}
        pods = requests.get(f"{urls['kubernetes']}/api/v1/namespaces/onlineboutique/pods", headers=headers, timeout=60)
        assert pods.status_code == 200 and len(pods.json()["items"]) >= 11
        deadline = time.monotonic() + 120.0
        while not (score := requests.get(f"{urls['control']}/score", timeout=60).json())["seconds"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert score["replica_seconds"] >= 11 * score["seconds"]
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "replica-seconds" in out and "violating" in out, out
    assert "Traceback" not in out
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"{urls['control']}/score", timeout=60)


def test_it_can_stand_still_and_starts_from_a_configuration(tmp_path: Path) -> None:
    options = ("--speed", "0", "--config", "configs/small.yaml", "--namespace", "shop", "--fault", "kiali:html:0:40")
    options += ("--role", "deploy/base/role.yaml")
    with running(tmp_path, *options) as (process, lines):
        urls = urls_of(lines)
        clock = requests.get(f"{urls['control']}/clock", timeout=60).json()
        pods, nodes = (f"{urls['kubernetes']}/api/v1/{path}" for path in ("namespaces/shop/pods", "nodes"))
        assert [requests.get(url, timeout=60).status_code for url in (pods, nodes)] == [200, 403]
        assert clock["speed"] == 0.0 and requests.get(f"{urls['control']}/clock", timeout=60).json() == clock
        assert requests.get(f"{urls['kiali']}/api/status", timeout=60).text.startswith("<!DOCTYPE")
        requests.post(f"{urls['control']}/advance", json={"seconds": 45}, timeout=60)
        names = [item["name"] for item in requests.get(f"{urls['kiali']}/api/namespaces", timeout=60).json()]
        assert names == ["shop", "istio-system"]
        assert requests.get(f"{urls['control']}/score", timeout=60).json()["seconds"] == 15.0
        process.terminate()
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "replicas, mean" in out


@pytest.mark.parametrize("source", ["kiali", "prometheus"])
def test_the_first_moment_is_enough_for_a_decision(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, "--speed", "0") as (_, lines):
        urls = urls_of(lines)
        clock = requests.get(f"{urls['control']}/clock", timeout=60).json()
        arguments = ["live", "--policy", "hpa_80", "--namespace", "onlineboutique", f"--{source}-url", urls[source]]
        arguments += [
            "--kubeconfig",
            str(tmp_path / "kubeconfig"),
            "--sandbox-url",
            urls["control"],
            "--once",
            "--dry-run",
        ]
        assert main(arguments) == 0
        assert requests.get(f"{urls['control']}/clock", timeout=60).json() == clock  # nothing was waited for
    told = capsys.readouterr().out
    assert re.search(r"ok +metrics: \d+ pods, 1\d s old", told), told
    assert re.search(r"frontend +\d+/\d+ .*CPU \d+ % of the requests on \d+, target 80 %", told), told


def test_it_ends_with_the_load_if_asked_to(tmp_path: Path) -> None:
    with running(tmp_path, "--speed", "2000", "--hours", "0.25", "--until-end") as (process, _):
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and re.search(r"scored +0\.25 h\b", out) and "goes on" not in out


def test_usual_ports_that_are_taken_are_a_mistake_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["sandbox", "--port-base", str(port), "--hours", "0.1"]) == 2
    error = capsys.readouterr().err
    assert f"--port-base {port}: Address already in use" in error and "--port-base 0" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "kiali:slow:1:2"], "--fault: fault kiali:slow: kind must be one of latency"),
        (["--role", "nosuch.yaml"], "--role nosuch.yaml: cannot be read: No such file"),
        (["--role", "configs/live.yaml"], "--role configs/live.yaml: there is no Role among these manifests"),
        (["--kiali-version", "9"], "write it as 2.31.0"),
        (["--speed", "-1"], "--speed -1.0: must be 0 or more"),
        (["--speed", "nan"], "--speed nan: must be 0 or more"),
        (["--hours", "0"], "--hours 0.0: must hold a decision"),
        (["--hours", "nan"], "--hours nan: must hold a decision"),
        (["--seed", "-3"], "--seed -3: must be 0 or more"),
        (["--port-base", "65534"], "--port-base 65534: four ports must fit"),
        (["--repeat", "--until-end"], "with --repeat there is no end"),
        (["--workload", "nosuch"], "--workload: evaluation.workloads: 'nosuch' is not a workload"),
        (["--mesh", "nosuch.yaml"], "--mesh: environment.mesh: "),
        (["--config", "nosuch.yaml"], "nosuch.yaml: cannot be read: No such file"),
        (["--run", "nosuch"], "config.yaml: cannot be read: No such file"),
        (["--set", "environment.max_nodes=5"], "max_nodes"),
    ],
)
def test_mistakes_are_told_in_a_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["sandbox", "--port-base", "0", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and captured.out == ""
