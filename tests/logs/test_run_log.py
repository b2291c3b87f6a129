"""What TensorBoard is told of a run beside its scalars."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from gnnrl.logs import RunLog


def test_hyper_parameters_stand_beside_the_scalars(tmp_path: Path) -> None:
    log = RunLog(
        tmp_path, settings={"seed": 3, "ppo": {"clip": 0.2, "credit": "node", "normalise": True}, "mesh": ["a", "b"]}
    )
    log.scalars(10, {"train/episode_return": -1.0})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    held = {
        tag: HParamsPluginData.FromString(events.SummaryMetadata(tag).plugin_data.content)
        for tag in (EXPERIMENT_TAG, SESSION_START_INFO_TAG)
    }
    found = held[SESSION_START_INFO_TAG].session_start_info.hparams
    assert {name: found[name].number_value for name in ("seed", "ppo.clip", "ppo.normalise")} == {
        "seed": 3.0, "ppo.clip": 0.2, "ppo.normalise": 1.0,
    }  # fmt: skip
    assert found["ppo.credit"].string_value == "node"
    assert found["mesh"].string_value == "['a', 'b']"
    compared = {metric.name.tag for metric in held[EXPERIMENT_TAG].experiment.metric_infos}
    assert compared == {"train/episode_return", "train/episode_length", "train/reward"}


def test_a_record_is_replaced_as_a_whole_when_it_is_taken_up_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.scalars(step, {"a": float(step)})
    log.close()
    record = tmp_path / "training.jsonl"
    record.write_text(record.read_text() + '{"step": 4, "a')
    RunLog(tmp_path, 2).close()
    assert record.read_text() == '{"step": 1, "a": 1.0}\n{"step": 2, "a": 2.0}\n'
    assert not list(tmp_path.glob(".*partial"))
    RunLog(tmp_path, -1).close()
    assert record.read_text() == ""
