"""Nothing that somebody else has named moves a cursor, whichever way it takes to a terminal."""

from __future__ import annotations

import ast
import io
import logging
import sys
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from gnnrl.cli import main as main_module
from gnnrl.cli.arguments import UserError, print_table
from gnnrl.cli.main import main
from gnnrl.live.terminal_text import clean
from gnnrl.printable import EscapedStream, escaped, raw

ROOT = Path(__file__).parents[1]
EVIL = ("s\x1b[2J", "\x1b]0;title\x07", "a\x9b2Jb", "x\u202egnp.exe", "a\rb", "a\x08\x7fb", "z\u2066\u200bw", "\udc9b")


@pytest.mark.parametrize("text", EVIL)
def test_what_is_not_printable_is_escaped_and_stays_readable(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable() and shown != text
    assert shown.encode().decode("unicode_escape") == text
    assert clean(text).isprintable()


def test_what_is_printable_stays_as_it_is() -> None:
    assert escaped("Zürich, 東京, 🙂 é\n\tb") == "Zürich, 東京, 🙂 é\n\tb"
    assert escaped("a\nb", kept="") == r"a\nb" and clean("a\n b") == "a  b"


def test_a_stream_escapes_all_that_is_written_and_rich_writes_past_it() -> None:
    below = io.StringIO()
    stream = EscapedStream(below)
    print("s\x1b[2J", file=stream)  # type: ignore[arg-type]
    stream.writelines(["\x9b", "b\n"])
    assert below.getvalue() == "s\\x1b[2J\n\\x9bb\n" and not stream.isatty()
    Console(file=stream, force_terminal=True).print("[red]a")  # type: ignore[arg-type]
    assert "\x1b[31ma" in below.getvalue() and raw(stream) is below and raw(below) is below  # type: ignore[arg-type]


def printable(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").replace("\t", "").isprintable(), repr(out + err)
    return out + err


@pytest.mark.parametrize("text", EVIL[:4])
@pytest.mark.parametrize(
    "arguments",
    [
        "{}", "mesh show {}", "mesh show m.yaml --png {}", "check {}", "check {demo} --set {}", "evaluate {}",
        "export {}", "envs {}", "train {}", "simulate {}", "rehearse {}", "bench {}", "sandbox --mesh {}",
        "live --once --dry-run --policy {0} --namespace {0} --kiali-url {0} --kubeconfig {0} --journal {0}/x --context {0}",
    ],
)  # fmt: skip
def test_an_argument_is_told_escaped(
    arguments: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [part.format(text, demo=ROOT / "configs" / "demo.yaml") for part in arguments.split()]
    try:
        code = main(argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    printable(capsys)


@pytest.mark.parametrize("text", EVIL[:5])
def test_a_mesh_with_such_a_name_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    mesh = {
        "name": "shop",
        "services": [{"name": text, "cpu_ms": 1.0}],
        "calls": [],
        "classes": [{"name": "get", "root": text, "weight": 1.0, "calls": {}}],
    }
    path = tmp_path / "mesh.yaml"
    path.write_text(yaml.safe_dump(mesh, allow_unicode=True))
    assert main(["mesh", "show", str(path)]) == 2
    told = printable(capsys)
    assert f"service {text!r}: a name " in told, told


def test_tables_warnings_logs_and_errors_are_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a command does."""

    class Command:
        @staticmethod
        def run(_: object) -> int:
            print_table(EVIL[0], ("name", EVIL[2]), [(EVIL[3], 1.0), (EVIL[1], "x")])
            warnings.warn(EVIL[0], stacklevel=1)
            sys.stderr.writelines([EVIL[1]])
            logging.lastResort.emit(logging.makeLogRecord({"msg": EVIL[2], "levelno": 40}))  # type: ignore[union-attr]
            raise UserError(f"{EVIL[3]}\n{EVIL[4]}")

    monkeypatch.setattr(main_module.check, "run", Command.run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        assert main(["check", "x"]) == 2
    told = printable(capsys)
    assert all(escaped(text) in told for text in EVIL[:5])
    assert not isinstance(sys.stdout, EscapedStream) and not isinstance(sys.stderr, EscapedStream)


def test_no_console_writes_to_a_stream_that_escapes() -> None:
    """While rich redraws a screen it puts itself in place of the stream, and its own sequences would be escaped: each names its file."""
    for path in sorted((ROOT / "gnnrl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Console":
                assert "file" in {keyword.arg for keyword in node.keywords}, (
                    f"{path}:{node.lineno}: file=raw(sys.stdout)"
                )
