"""Files that are there whole or not at all, and what is no file and must stay what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnnrl.whole_file import whole_file, write_text


def test_what_raises_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t"
    write_text(path, "before")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    write_text(real, "before")
    link.symlink_to(real)
    write_text(link, "after")
    assert link.is_symlink() and real.read_text() == "after"


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "nothing"
    link.symlink_to("/dev/null")
    with whole_file(link) as place:
        assert place.samefile("/dev/null")
        place.write_text("gone")
    assert link.is_symlink() and not Path("/dev/null").is_file()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "text")
