import dataclasses
import io
import math
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from gnnrl.live.decision import IntervalRecord, ServiceDecision
from gnnrl.live.screen import HISTORY, StatusScreen, compact_line, render_svg
from gnnrl.live.service_table import columns_of, most_telling
from gnnrl.live.terminal_text import clean, short_number, short_seconds, sparkline

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def decision(name="cartservice", current=4, wish=9, final=6, **changes):
    facts = {
        "ready": 3,
        "guardrails": ("rate_up",) if final != wish else (),
        "reason": f"raise {current} -> {final} (wanted {wish}): CPU 60 % of the limits on 3; limited by rate_up",
        "inputs": {"rps_in": 412.3, "busy_replicas": 2.4, "p95_ms": 31.46},
        "outcome": "patched" if final != current else "none",
    }
    return ServiceDecision(service=name, current=current, wish=wish, final=final, **{**facts, **changes})


def record(services=None, number=12, **changes):
    facts = {
        "seconds": 1_700_000_000.0 + 15.0 * number,
        "policy": "run-7",
        "mode": "dry-run",
        "valid": True,
        "data_age_seconds": {"graph": 12.0, "metrics": 27.0},
        "external_rps": 123.44,
        "latency_p95_ms": 420.0,
        "slo_ms": 486.0,
        "read_seconds": 0.12,
        "decide_seconds": 0.034,
        "write_seconds": 0.05,
    }
    chosen = [decision()] if services is None else services
    return IntervalRecord(number=number, services=tuple(chosen), **{**facts, **changes})


def console(width=160, height=40, *, terminal=True, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="", write_through=True)
    return Console(
        width=width, height=height, file=file, force_terminal=terminal, color_system="truecolor", _environ={}
    )


def written(to):
    return to.file.buffer.getvalue().decode(to.file.encoding)


def shown(*records, width=160, height=40, encoding="utf-8", namespace="shop"):
    """The screen of the last record, without colours."""
    to = console(width, height, encoding=encoding)
    screen = StatusScreen(to, namespace=namespace, mode=records[-1].mode, policy=records[-1].policy)
    for one in records:
        screen.note(one)
    to.print(screen.render(records[-1]))
    return ESCAPES.sub("", written(to))


def row_of(text, service):
    return next(line for line in text.splitlines() if line.startswith(service))


def mesh(count):
    """Services of which three change, the others the larger the later."""
    return [
        decision(f"s{i:04d}", 1 + i // 100, 1 + i // 100 + (i in (7, 70, 700)), 1 + i // 100 + (i in (7, 70, 700)))
        for i in range(count)
    ]


def test_the_screen_shows_every_number_of_the_interval():
    text = shown(record())
    assert "dry-run" in text and "run-7 scales shop" in text
    for fact in (
        "interval 12",
        "leader: yes",
        "last valid decision 0 s ago",
        "data age graph 12 s, metrics 27 s",
        "load 123/s",
        "P95 420 of 486 ms",
        "replicas 4 -> 6",
        "read 0.12 s, decided 0.03 s, wrote 0.05 s",
    ):
        assert fact in text
    assert row_of(text, "cartservice").split()[:11] == [
        *["cartservice", "3/4", "9", "6", "▲", "+2", "412", "80", "%", "31.5", "rate_up"]
    ]
    assert "patched  CPU 60 % of the limits on 3; limited by rate_up" in row_of(text, "cartservice")


def test_nothing_rests_on_colour_alone():
    plain = shown(record(mode="live", is_leader=False, latency_p95_ms=500.0, data_age_seconds={"metrics": 3.0}))
    assert " LIVE " in plain and "leader: NO, standing by" in plain
    assert "P95 500 of 486 ms OVER" in plain and "graph MISSING" in plain and "metrics MISSING" not in plain
    assert "OVER" not in shown(record(latency_p95_ms=486.0))
    down = shown(record([decision(current=6, wish=4, final=4)]))
    assert "▼ -2" in down and "▲" not in down
    unchanged = row_of(shown(record([decision(current=4, wish=4, final=4)])), "cartservice")
    assert "▲" not in unchanged and "▼" not in unchanged and "none" in unchanged


def test_live_is_red():
    to = console()
    StatusScreen(to, namespace="shop", mode="live", policy="p").show(record(mode="live"))
    assert "\x1b[1;37;41m LIVE " in written(to)
    other = console()
    StatusScreen(other, namespace="shop", mode="shadow", policy="p").show(record(mode="shadow"))
    assert ";41m" not in written(other) and "shadow" in written(other)


@pytest.mark.parametrize("width", [40, 60, 80, 99, 100, 120, 160, 250])
@pytest.mark.parametrize("height", [10, 24, 60])
def test_no_line_is_wider_than_the_terminal_and_the_screen_no_higher(width, height):
    long = decision(
        "a-service-with-quite-a-long-name-indeed",
        10,
        90,
        30,
        guardrails=("stabilise_up", "rate_up", "quota"),
        outcome="not-leader",
    )
    problems = ("metrics: " + "x" * 300, "graph: late", "owners: forbidden")
    text = shown(
        *(record([*mesh(30), long], number=i, problems=problems, policy="p" * 90) for i in range(50)),
        width=width,
        height=height,
    )
    lines = text.splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert "a-service-with" in text
    if height >= 24:
        assert len(lines) < height


def test_columns_leave_in_the_order_of_what_is_missed_least():
    def headers(width):
        return [column.header for column in columns_of([decision("recommendationservice")], width)]

    everything = [
        "service",
        "ready",
        "wish",
        "final",
        "change",
        "load/s",
        "CPU busy",
        "P95 ms",
        "guardrails",
        "outcome",
    ]
    assert headers(160) == [*everything, "reason"]
    assert headers(80) == ["service", "ready", "wish", "final", "change", "load/s", "guardrails", "outcome"]
    assert headers(36) == ["service", "ready", "final"]
    before = set(headers(250))
    for width in range(249, 20, -1):
        now = set(headers(width))
        assert "service" in now and ("reason" not in now or now >= set(everything))
        before = now
    assert before == {"service"}


def test_narrow_terminals_are_told_whole_reasons_below_the_table():
    text = shown(record(), width=80)
    assert "raise 4 -> 6 (wanted 9): load" not in row_of(text, "cartservice ")
    assert "cartservice: raise 4 -> 6 (wanted 9): CPU 60 % of the limits on 3; limited by\nrate_up\n" in text


def test_a_thousand_services_show_those_that_change_and_the_largest():
    text = shown(record(mesh(1000)), height=30)
    lines = text.splitlines()
    rows = [line.split()[0] for line in lines if re.match(r"s\d{4} ", line)]
    assert {"s0007", "s0070", "s0700"} < set(rows)
    assert all(int(name[1:]) >= 900 for name in rows if name not in ("s0007", "s0070", "s0700"))
    assert rows == sorted(rows) and 10 <= len(rows) <= 25
    assert f"and {1000 - len(rows)} more" in text
    assert len(lines) < 30
    assert "replicas 5500 -> 5503" in text


def test_failures_come_first_then_changes_then_held_wishes_then_the_largest():
    services = [
        decision("large", 20, 20, 20),
        decision("small", 1, 1, 1),
        decision("held", 2, 5, 2),
        decision("changed", 2, 3, 3),
        decision("failed", 2, 3, 3, outcome="failed"),
    ]
    order = ["failed", "changed", "held", "large", "small"]
    for room in range(1, 6):
        assert [one.service for one in most_telling(services, room)] == sorted(order[:room])


def test_names_are_literal_markup_and_control_characters_do_nothing():
    names = ("[red]x", "[/]", "a\x1b[2Jb", "c\nd", ":boom:", "e\u202ef")
    text = shown(
        record([decision(name) for name in names], problems=("[bold]p[/bold]",), policy="[blink]"), namespace="[n]"
    )
    for literal in (
        "[red]x",
        "[/]",
        "a\\x1b[2Jb",
        "c d",
        ":boom:",
        "e\\u202ef",
        "problem: [bold]p[/bold]",
        "[blink] scales [n]",
    ):
        assert literal in text
    assert "\x1b" not in text
    assert "[red]x 4->6" in compact_line(record([decision("[red]x")]))


def test_nothing_like_a_credential_is_shown():
    leaky = decision(outcome="failed", answer=f"401: Bearer {TOKEN[:30]} refused", reason=f"raise: {TOKEN}")
    last = record([leaky], problems=(f"graph: GET /api?token={TOKEN[:20]}&x=1", f"kubeconfig: token: {TOKEN[3:30]}"))
    for text in (shown(last), shown(last, width=80), compact_line(last)):
        assert TOKEN[:12] not in text and TOKEN[3:15] not in text and "***" in text
    assert clean("bearer token expired; basic authentication") == "bearer token expired; basic authentication"


def test_the_last_valid_decision_and_the_last_problems_are_remembered():
    first = record(number=1, valid=False, problems=("graph: late",))
    assert "NO valid decision yet" in shown(first)
    history = [record(number=2), record(number=3), record(number=4, valid=False, problems=("metrics: stale",))]
    text = shown(first, *history)
    assert "NO decision, last valid 15 s ago" in text
    assert "problem: metrics: stale" in text and "problem (3 intervals ago): graph: late" in text
    again = shown(first, *history, record(number=5, problems=("graph: late",)))
    assert "problem: graph: late" in again and "problem (1 interval ago): metrics: stale" in again
    assert again.count("graph: late") == 1
    flood = shown(record(problems=tuple(f"problem {i}" for i in range(50))))
    assert sum("problem: problem" in line for line in flood.splitlines()) == 3


def test_what_the_api_answered_is_a_problem():
    text = shown(record([decision(outcome="failed", answer="403: not allowed to patch deployments/scale")]))
    assert "problem: cartservice: failed: 403: not allowed to patch deployments/scale" in text


def test_numbers_that_are_missing_are_shown_as_missing():
    text = shown(record([decision(inputs={})], latency_p95_ms=math.nan, external_rps=math.inf, data_age_seconds={}))
    assert "P95 unknown" in text and "load -/s" in text and "graph MISSING  metrics MISSING" in text
    assert row_of(text, "cartservice").split()[6:9] == ["-", "-", "-"]
    assert "P95 420 ms (no SLO)" in shown(record(slo_ms=0.0))
    assert row_of(shown(record([decision(ready=0)])), "cartservice").split()[7] == "-"
    assert "service" in shown(record([]))


def test_sparklines_span_the_last_forty_intervals():
    records = [
        record([decision(current=i, wish=i, final=i)], number=i, latency_p95_ms=1000.0 - i) for i in range(1, 61)
    ]
    lines = shown(*records).splitlines()
    replicas = next(line for line in lines if line.startswith("replicas ") and "▁" in line)
    latency = next(line for line in lines if line.startswith("P95 ") and "▁" in line)
    assert replicas.endswith("21 .. 60") and latency.endswith("940 .. 979 ms")
    drawn = replicas.split()[1]
    assert len(drawn) == HISTORY and drawn[0] == "▁" and drawn[-1] == "█" and latency.split()[1] == drawn[::-1]


def test_a_sparkline_is_scaled_between_its_ends():
    assert sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([1.0, math.nan, 2.0, math.inf]) == "▁ █ "
    assert sparkline([math.nan]) == " " and sparkline([]) == ""
    assert sparkline([0.0, 7.0], ascii_only=True) == "_#"


def test_short_numbers():
    assert [short_number(x) for x in (0.0, 12.34, 99.94, 99.96, 12345.6, -3.21, math.nan)] == [
        *["0.0", "12.3", "99.9", "100", "12,346", "-3.2", "-"]
    ]
    assert [short_seconds(x) for x in (0.2, 75.0, 599.0, 600.0)] == ["0 s", "75 s", "599 s", "10 min"]


def test_a_terminal_without_unicode_gets_ascii():
    records = [record([decision(), decision("b", 6, 4, 4)], number=i, latency_p95_ms=400.0 + i) for i in range(5)]
    to = console(encoding="ascii")
    screen = StatusScreen(to, namespace="shop", mode="dry-run", policy="p")
    for one in records:
        screen.show(one)
    text = ESCAPES.sub("", written(to))
    assert "^ +2" in text and "v -2" in text and text.isascii()


def test_where_nothing_was_read_nothing_is_counted():
    blind = record((), valid=False, external_rps=math.nan, latency_p95_ms=math.nan, data_age_seconds={})
    assert "| replicas unknown | load -/s | P95 unknown | age unknown |" in compact_line(blind)
    text = shown(record(), blind)
    assert "replicas unknown" in text and "0 -> 0" not in text and not re.search(r"\b0 \.\.", text)


def test_where_there_is_no_terminal_each_interval_is_one_line():
    to = console(80, terminal=False)
    services = [decision(f"s{i}", 2, 3, 3) for i in range(7)]
    with StatusScreen(to, namespace="shop", mode="dry-run", policy="run-7") as screen:
        screen.show(record())
        screen.show(record(services, number=13, valid=False, is_leader=False, problems=("graph: late", "more")))
    lines = written(to).splitlines()
    assert lines[0] == (
        "interval 12 | dry-run | run-7 | valid | replicas 4 -> 6 | load 123/s | P95 420 of 486 ms | "
        "age graph 12 s, metrics 27 s | took 0.20 s | changed cartservice 4->6 patched | guardrails rate_up"
    )
    assert "not leader | NO DECISION" in lines[1] and "s4 2->3 patched, and 2 more" in lines[1]
    assert lines[1].endswith("2 problems: graph: late") and len(lines) == 2
    assert "\x1b" not in written(to)


def test_in_a_terminal_the_screen_is_redrawn_in_place_and_stays_at_the_end():
    to = console(100, 30)
    with StatusScreen(to, namespace="shop", mode="dry-run", policy="run-7") as screen:
        assert "waiting for the first interval" in written(to)
        screen.show(record(number=1))
        screen.show(record(number=2))
        assert "\x1b[1A" in written(to)
    text = written(to)
    last = text[text.rindex("\x1b[2K") :]
    assert "interval 2" in last and "interval 1" not in last and text.endswith("\x1b[?25h")
    after = console(100, 30)
    StatusScreen(after, namespace="shop", mode="dry-run", policy="run-7").show(record(number=3))
    assert "interval 3" in written(after) and "\x1b[1A" not in written(after)


def test_an_exception_in_the_loop_gives_the_terminal_back():
    to = console(100, 30)
    with pytest.raises(RuntimeError), StatusScreen(to, namespace="shop", mode="dry-run", policy="p"):
        raise RuntimeError("loop")
    assert written(to).rstrip().endswith("\x1b[?25h")


def test_a_picture_of_the_screen_is_written_as_svg(tmp_path):
    records = [record([decision(), decision("[red]x")], number=i, latency_p95_ms=400.0 + i) for i in range(5)]
    render_svg(records, tmp_path / "screen.svg", namespace="shop")
    picture = (tmp_path / "screen.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and "cartservice" in picture and "[red]x" in picture and "▲" in picture
    render_svg(records, tmp_path / "again.svg", namespace="shop")
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == picture
    with pytest.raises(ValueError, match="at least one record"):
        render_svg([], tmp_path / "none.svg", namespace="shop")


def test_the_screen_only_reads_the_record():
    before = record()
    copy = dataclasses.replace(before)
    shown(before)
    assert before == copy
