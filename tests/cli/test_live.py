"""`gnnrl live` as people run it: what each mode writes, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from gnnrl.cli.live import _alive
from gnnrl.cli.main import main
from gnnrl.cluster.clock import AcceleratedClock, SystemClock
from gnnrl.cluster.paths import events_path, lease_path
from gnnrl.live.journal import read_journal
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.http_server import Fault
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from tests.dripping_server import WHOLE_SECONDS, dripping
from tests.live.live_stage import NS, Asked, Stage

ROOT = Path(__file__).parents[2]
LEASE = lease_path(NS, "gnnrl")
PATIENCE_SECONDS = 120.0


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.close()


def scaled(asked: list[Asked]) -> list[Asked]:
    return [one for one in asked if one.method != "GET" and one.path.endswith("/scale")]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def tick_until(stage: Stage, condition: Callable[[], bool]) -> None:
    """Let the time go on, second by second: the loop may not wait for its next interval yet."""

    def tick() -> bool:
        if not condition():
            stage.pass_seconds(1.0)
            return False
        return True

    until(tick)


def lines_of(journal: Path) -> int:
    return journal.read_text().count("\n") if journal.exists() else 0


class Beside:
    """What happens while `gnnrl live` runs in the main thread; a failure is raised when it is over."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self._error = error
            os.kill(os.getpid(), signal.SIGTERM)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE_SECONDS)
        if self._error is not None:
            raise self._error


def test_the_help_tells_who_reads_and_writes_what(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["live", "--help"])
    text = capsys.readouterr().out
    titles = re.findall(r"^(\S.*):$", text, flags=re.MULTILINE)
    assert titles[1:] == [
        "who decides (one of both)", "where the service graph comes from (one of both URLs)", "which cluster", "the loop",
        "what it tells", "what it writes (default: replicas)",
    ]  # fmt: skip
    assert "--once --dry-run" in text


def test_it_wants_a_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["live", "--policy", "hpa_80"])
    assert ended.value.code == 2 and "required: --namespace" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [(), ("--dry-run",), ("--shadow",), ("--once",)])
def test_it_refuses_before_it_changes_anything(
    mode: tuple[str, ...], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stage.replicas()
    stage.sandbox.plan.add(FaultSpec.parse("kiali:html:0:inf"))
    assert stage.live(*mode, "--leader-elect", "--journal", str(stage.folder / "journal"), policy="oracle") == 2
    out, err = capsys.readouterr()
    told = out if "--once" in mode else err
    assert {line.split()[1] for line in told.splitlines() if line.startswith("error")} == {"policy:", "graph:"}
    # A report goes to stdout, complaints go to stderr.
    assert (err if "--once" in mode else out) == ""
    assert stage.writes == [] and stage.replicas() == before and (stage.folder / "journal").read_text() == ""


def test_shadow_sends_no_write_at_all(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    journal = stage.folder / "journal"

    before = stage.replicas()
    with Beside(lambda: tick_until(stage, lambda: lines_of(journal) == 4)):
        code = stage.live("--shadow", "--leader-elect", "--journal", str(journal), "--intervals", "4")
    out, err = capsys.readouterr()
    assert code == 0 and stage.writes == [] and stage.replicas() == before
    outcomes = [one.outcome for record in read_journal(journal) for one in record.services]
    assert len(outcomes) == 4 * 11 and set(outcomes) == {"none", "shadow"}
    assert out.count("interval ") == 4 and "shadow | hpa_80 | valid" in out
    assert err.startswith("warning  leader: --leader-elect has no part in --shadow") and len(err.splitlines()) == 1


def test_dry_run_sends_patches_that_change_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = stage.replicas()
    assert stage.live("--dry-run", "--intervals", "1") == 0
    assert "frontend 6->8 dry-run" in capsys.readouterr().out
    assert len(scaled(stage.writes)) == len(stage.writes) == 2 and stage.replicas() == before


def test_once_decides_once_and_prints_it(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before, journal = stage.replicas(), stage.folder / "journal"
    assert stage.live("--once", "--leader-elect", "--identity", "desk", "--journal", str(journal)) == 0
    out, err = capsys.readouterr()
    assert err == "" and "what hpa_80 did" in out and re.search(r"frontend +6/6 +8 +8 +patched +raise 6 -> 8", out)
    assert stage.replicas() == before | {"frontend": 8, "recommendationservice": 6}
    (record,) = read_journal(journal)
    assert record.is_leader and [one.service for one in record.services if one.outcome == "patched"] == [
        "frontend", "recommendationservice",
    ]  # fmt: skip
    # The Lease was taken for it and is free again, and the Events were not lost at the end.
    lease = stage.call("GET", LEASE)["spec"]
    assert "holderIdentity" not in lease and lease["leaseTransitions"] == 0
    events = stage.call("GET", events_path(NS))["items"]
    assert {(one["involvedObject"]["name"], one["reason"]) for one in events} == {
        ("frontend", "ScaledUp"), ("recommendationservice", "ScaledUp"),
    }  # fmt: skip


def test_once_waits_for_nobody_elses_lease(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = stage.replicas()
    hold(stage, "somebody")
    stage.asked.clear()
    assert stage.live("--once", "--leader-elect") == 0
    assert re.search(r"frontend +6/6 +8 +8 +not-leader", capsys.readouterr().out)
    assert scaled(stage.asked) == [] and stage.replicas() == before
    assert stage.call("GET", LEASE)["spec"]["holderIdentity"] == "somebody"


@pytest.mark.parametrize(("mode", "code"), [(("--dry-run",), 2), ((), 1)])
def test_once_says_what_was_refused(
    mode: tuple[str, ...], code: int, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook = 'admission webhook "limits.example" denied the request: frontend has enough'
    body = json.dumps({"kind": "Status", "message": webhook, "code": 403}).encode()

    def refuse(method: str, path: str) -> Fault | None:
        if method == "PATCH" and path.endswith("/frontend/scale"):
            return Fault(status=403, body=body, content_type="application/json")
        return None

    stage.answers["kubernetes"] = refuse
    assert stage.live("--once", *mode) == code
    out = " ".join(capsys.readouterr().out.split())
    assert "failed" in out and "denied the request" in out
    assert stage.replicas()["recommendationservice"] == (4 if mode else 6)


def hold(stage: Stage, holder: str) -> None:
    """Somebody takes the Lease, or has it from the beginning."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 7}
    found = [one for one in stage.call("GET", LEASE.rpartition("/")[0])["items"] if one["metadata"]["name"] == "gnnrl"]
    if found:
        stage.call("PUT", LEASE, {**found[0], "spec": {**found[0]["spec"], **spec}})
    else:
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "gnnrl"}, "spec": spec}
        stage.call("POST", LEASE.rpartition("/")[0], body)


def holder(stage: Stage) -> str:
    items = stage.call("GET", LEASE.rpartition("/")[0])["items"]
    return str(items[0]["spec"].get("holderIdentity", "")) if items else ""


def renewed(stage: Stage) -> str:
    return str(stage.call("GET", LEASE)["spec"]["renewTime"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_interval_under_way_finish(
    number: int, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal comes while the second interval reads; what that comes to is still written, then the Lease released."""
    journal, patched_after = stage.folder / "journal", []
    second = threading.Event()

    def interrupt(_method: str, path: str) -> Fault | None:
        if second.is_set() and path.endswith("/graph"):
            second.clear()
            patched_after.append(len(scaled(stage.asked)))
            os.kill(os.getpid(), number)
            return Fault(delay_seconds=0.1)
        return None

    def until_it_leads() -> None:
        until(lambda: holder(stage).startswith("one_") and lines_of(journal) == 1)
        stage.sandbox.world.set_replicas("frontend", 2)
        second.set()
        for _ in range(2):
            # A third of the Lease, so that it is due to be renewed; as long again without, and it would be lost.
            before = renewed(stage)
            stage.pass_seconds(5.5)
            until(lambda before=before: renewed(stage) != before)  # type: ignore[misc]
        stage.pass_seconds(4.0)

    stage.answers["kiali"] = interrupt
    with Beside(until_it_leads):
        code = stage.live("--leader-elect", "--identity", "one", "--journal", str(journal))
    assert code == 0, capsys.readouterr().err
    records = list(read_journal(journal))
    assert len(records) == 2 and records[1].valid and records[1].is_leader
    assert any(one.outcome == "patched" for one in records[1].services)
    assert len(scaled(stage.asked)) > patched_after[0] and holder(stage) == ""
    # Handlers are as they were: the next Ctrl-C is the shell's business.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_loses_the_lease_stops_and_says_why(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    journal, patched = stage.folder / "journal", []

    def steal() -> None:
        until(lambda: holder(stage).startswith("one_") and lines_of(journal) == 1)
        hold(stage, "two")
        patched.append(len(scaled(stage.asked)))
        stage.pass_seconds(5.5)

    with Beside(steal):
        code = stage.live("--leader-elect", "--identity", "one", "--journal", str(journal))
    err = capsys.readouterr().err
    assert code == 3
    assert err == f"leadership by Lease {NS}/gnnrl lost: two holds it now; it is another replica's turn\n"
    assert len(scaled(stage.asked)) == patched[0] and holder(stage) == "two"


def test_what_is_served_while_it_runs(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    journal, served = stage.folder / "journal", {}

    def look() -> None:
        until(lambda: lines_of(journal) == 1)
        url = f"http://127.0.0.1:{port}"
        for path in ("metrics", "readyz", "healthz"):
            served[path] = requests.get(f"{url}/{path}", timeout=5)
        stage.sandbox.plan.add(FaultSpec.parse("kiali:http_500:0:inf"))
        tick_until(stage, lambda: lines_of(journal) == 2)
        served["blind"] = requests.get(f"{url}/readyz", timeout=5)
        os.kill(os.getpid(), signal.SIGTERM)

    port = free_port()
    with Beside(look):
        assert stage.live("--journal", str(journal), "--metrics-port", str(port)) == 0
    assert 'gnnrl_replicas{kind="final",service="frontend"} 8.0' in served["metrics"].text
    assert served["readyz"].status_code == served["healthz"].status_code == 200
    assert served["blind"].status_code == 503 and "HTTP 500" in served["blind"].text
    assert capsys.readouterr().err == ""


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("0.0.0.0", 0))
        return int(found.getsockname()[1])


def test_ctrl_c_as_a_process(tmp_path: Path) -> None:
    """Once as people do it: its own process, a clock that runs, the terminal's signal."""
    stage = Stage(tmp_path, clock=AcceleratedClock(20.0))
    until(lambda: stage.sandbox.world.second > 60)
    command = [sys.executable, "-m", "gnnrl", "live", *stage.arguments(), "--leader-elect", "--identity", "one"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until_led: list[Any] = []
        deadline = time.monotonic() + 180.0
        assert process.stdout is not None
        for line in process.stdout:
            until_led.append(line)
            if "LIVE" in line and "not leader" not in line:
                break
            assert time.monotonic() < deadline
        assert holder(stage).startswith("one_"), until_led
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0 and "Traceback" not in err, err
        assert holder(stage) == ""
    finally:
        process.kill()
        process.wait()
        stage.close()


def test_it_is_not_healthy_once_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own time goes on as before, so that no age of data is right any more."""
    clock = SystemClock()
    latest = SimpleNamespace(seconds=clock.now())
    loop: Any = SimpleNamespace(clock=clock, latest=latest, config=SimpleNamespace(interval_seconds=15))
    assert _alive(loop) == (True, "")
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 120.0)
    assert _alive(loop) == (False, "the machine's clock was set by -120 s; start it anew")


@pytest.mark.parametrize("kind", ["interim answers", "a header", "the body"])
@pytest.mark.parametrize("server", ["kiali", "cluster"])
def test_a_check_ends_in_time_whatever_a_server_does(
    server: str, kind: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so does its process: no thread is left that it would wait for."""
    with dripping(kind) as url:
        changed: dict[str, str | None] = {"kiali_url": f"{url}/kiali"}
        if server == "cluster":
            write_kubeconfig(stage.folder / "slow", url, "token", NS)
            changed = {"kubeconfig": str(stage.folder / "slow")}
        began = time.monotonic()
        assert stage.live("--once", "--dry-run", "--set", "read_deadline_seconds=0.5", **changed) == 2
        until(lambda: not [one for one in threading.enumerate() if not one.daemon and one.name.startswith("read")])
        assert time.monotonic() - began < WHOLE_SECONDS
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    what = "graph" if server == "kiali" else "cluster"
    late = "no (complete )?answer (in time|within)|did not end within"
    assert any(re.match(rf"error +{what}: .*({late})", line) for line in told), told
