"""Texts of other programs: the byte order mark says how they are written, in every reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnnrl.config.experiment import ExperimentConfig
from gnnrl.config.live import LiveConfig
from gnnrl.config.loader import ConfigError, dump_config, load_config, load_live_config
from gnnrl.domains.autoscaling.kiali_import import import_kiali
from gnnrl.domains.autoscaling.mesh import MeshError
from gnnrl.domains.autoscaling.mesh_file import load_mesh
from gnnrl.domains.queue_routing.model import QueueModelError
from gnnrl.domains.queue_routing.model_file import load_queue_model
from gnnrl.text_file import open_text, read_text
from kiali_client import KialiAuthenticationError, KialiPayloadError
from kiali_client.secret import TokenSource

GRAPH = """{"timestamp": 1, "duration": 60, "graphType": "workload", "elements": {"nodes": [
{"data": {"id": "u", "nodeType": "unknown"}},
{"data": {"id": "w", "nodeType": "workload", "namespace": "shop", "workload": "web"}}], "edges": [
{"data": {"source": "u", "target": "w", "traffic": {"protocol": "http", "rates": {"http": "5.00"}}}}]}}"""
MESH = """name: shöp
services:
- {name: front, cpu_ms: 6.0}
calls: []
classes:
- {name: index, root: front, weight: 1.0, calls: {}}
"""
READERS: dict[str, tuple[str, Callable[[Path], Any], type[Exception]]] = {
    "graph": (GRAPH, import_kiali, KialiPayloadError),
    "mesh": (MESH, load_mesh, MeshError),
    "experiment": (dump_config(ExperimentConfig()), load_config, ConfigError),
    "live": (dump_config(LiveConfig()), load_live_config, ConfigError),
    "queue": ("arrivals: {a: 1.0}\nreplicas: {r: {a: 3.0}}\n", load_queue_model, QueueModelError),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_knows_byte_order_marks(tmp_path: Path, reader: str, encoding: str) -> None:
    text, read, _ = READERS[reader]
    plain, marked = tmp_path / "file", tmp_path / encoding / "file"
    marked.parent.mkdir()
    plain.write_text(text, encoding="utf-8")
    marked.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read(marked) == read(plain)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("reader", READERS)
def test_without_a_mark_the_remedy_is_named(tmp_path: Path, reader: str, encoding: str) -> None:
    text, read, error = READERS[reader]
    path = tmp_path / "file"
    path.write_bytes(text.replace("ö", "o").encode(encoding))
    with pytest.raises(error, match="looks like UTF-16 or UTF-32 without a byte order mark; save it as UTF-8"):
        read(path)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_text_is_refused(tmp_path: Path, reader: str) -> None:
    _, read, error = READERS[reader]
    path = tmp_path / "file"
    for content in (b"\x1f\x8b\x08\x00\xff", b"\xff\xfe\x00", b"\xff\xfe\x00\xd8\x00", b"name: \xff"):
        path.write_bytes(content)
        with pytest.raises(error, match=r"text|compressed"):
            read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_token_is_read_from_any_editors_file(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "token"
    path.write_bytes("abc.def\r\n".encode(encoding))
    assert TokenSource(token_file=path).read().reveal() == "abc.def"


def test_a_token_file_that_is_no_text_does_not_show_itself(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for content in (b"\xff\xfes\x00e\x00\xd8", b"secret\xff", "secret".encode("utf-16-le")):
        path.write_bytes(content)
        with pytest.raises(KialiAuthenticationError, match="is no token") as caught:
            TokenSource(token_file=path).read()
        assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("a\r\nb".encode("utf-16"))
    assert read_text(path) == "a\nb"
    with open_text(path) as text:
        assert list(text) == ["a\r\n", "b"]
