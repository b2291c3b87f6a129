import os
import pickle
import resource

import numpy as np
import pytest
import torch

from gnnrl.agents.archive import CheckpointError, read_archive, write_archive

TREE = {
    "numbers": {3: 1, 0.5: True, "x": None},
    "array": np.array([[1, 2], [3, 2**63]], np.uint64)[:, ::-1],
    "scalar": np.float64(0.1),
    "tensor": torch.arange(3),
    "list": [np.zeros((0, 2), np.bool_), "text", (1, 2)],
}


def test_round_trip(tmp_path):
    write_archive(tmp_path / "deep" / "x.pt", TREE)
    tree = read_archive(tmp_path / "deep" / "x.pt")
    assert tree["numbers"] == TREE["numbers"]
    assert tree["array"].dtype == np.uint64
    assert np.array_equal(tree["array"], TREE["array"])
    assert float(tree["scalar"]) == 0.1
    assert torch.equal(tree["tensor"], TREE["tensor"])
    assert tree["list"][0].shape == (0, 2)
    assert tree["list"][1:] == ["text", [1, 2]]
    assert os.listdir(tmp_path / "deep") == ["x.pt"]


def test_a_truncated_file_is_told(tmp_path):
    path = tmp_path / "x.pt"
    write_archive(path, TREE)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"x\.pt: .*(truncated|damaged)"):
            read_archive(path)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"format": "gnnrl-checkpoint", "version": 1, "tree": Bomb()}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("zip.pt", "raw.pt"):
        with pytest.raises(CheckpointError, match="refused"):
            read_archive(tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_other_versions_and_other_files_are_told(tmp_path):
    torch.save({"format": "gnnrl-checkpoint", "version": 99, "tree": {}}, tmp_path / "future.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="version 99, this gnnrl reads version 1"):
        read_archive(tmp_path / "future.pt")
    with pytest.raises(CheckpointError, match="not a gnnrl checkpoint"):
        read_archive(tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_archive(tmp_path / "absent.pt")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    import signal

    path = tmp_path / "x.pt"
    write_archive(path, {"good": 1})
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="the checkpoint that was there is kept"):
            write_archive(path, {"big": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_archive(path) == {"good": 1}
    assert os.listdir(tmp_path) == ["x.pt"]


def test_objects_do_not_enter(tmp_path):
    with pytest.raises(TypeError, match="not <class 'object'>"):
        write_archive(tmp_path / "x.pt", {"x": object()})
    assert not list(tmp_path.iterdir())
