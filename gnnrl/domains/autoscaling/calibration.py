"""What a sweep of the rules' settings found, as a file: the whole frontier of each rule on each workload family, and
the setting chosen.

The chosen setting has the fewest replica-seconds among those within the violation budget (the least violating one,
where none is). A sweep is played on validation episodes, never on held-out ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.text_file import read_text
from gnnrl.whole_file import write_text

__all__ = ["Calibration", "CalibrationError", "Setting", "pareto", "shipped", "violation_budget"]

FORMAT = 1
DEFAULT_BUDGET = 0.01
BUDGETS = {"flash": 0.03}
"""Violating share a family may have; 2.5 % of a flash crowd's seconds exceed twice the load of 45-75 s before, whatever
one does."""


class CalibrationError(ValueError):
    """A calibration that cannot be used; the message says which sweep would mend it."""


def violation_budget(workload: str) -> float:
    """Violating share at which rules are compared on this workload."""
    return BUDGETS.get(workload, DEFAULT_BUDGET)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a rule and what it came to, means over the sweep's episodes."""

    values: Mapping[str, float]
    violating_share: float
    replica_seconds: float
    scale_moves: float


def pareto(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """The settings that no other beats in violating share and in replica-seconds, by rising violating share."""
    best: list[Setting] = []
    for setting in sorted(settings, key=lambda s: (s.violating_share, s.replica_seconds)):
        if not best or setting.replica_seconds < best[-1].replica_seconds:
            best.append(setting)
    return tuple(best)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Frontiers of rules by workload family."""

    environment: Mapping[str, Any]
    """What the episodes were drawn from: `Calibration.scope` of their configuration."""
    seeds: int
    """Validation episodes a family."""
    frontiers: Mapping[str, Mapping[str, tuple[Setting, ...]]] = field(default_factory=dict)
    """Workload -> rule -> every setting swept."""

    @staticmethod
    def scope(config: AutoscalingConfig) -> dict[str, Any]:
        """The part of a configuration that decides which setting is best."""
        names = (
            "mesh",
            "decision_seconds",
            "episode_decisions",
            "metrics_lag_seconds",
            "peak_replicas",
            "min_replicas",
            "max_replicas",
            "slo_factor",
            "randomisation",
        )
        return {name: _plain(value) for name, value in asdict(config).items() if name in names}

    def settings(self, workload: str, rule: str) -> tuple[Setting, ...]:
        """Every setting of `rule` on `workload`.

        Raises:
            CalibrationError: this calibration has none.
        """
        try:
            return self.frontiers[workload][rule]
        except KeyError:
            raise CalibrationError(
                f"no calibration of {rule!r} on workload {workload!r} "
                f"(there is {', '.join(self.frontiers) or 'nothing'}); sweep it with `gnnrl baselines calibrate`"
            ) from None

    def chosen(self, workload: str, rule: str) -> Setting:
        """The cheapest setting within the violation budget; `CalibrationError` as `settings`."""
        settings = self.settings(workload, rule)
        budget = violation_budget(workload)
        within = [setting for setting in settings if setting.violating_share <= budget]
        if within:
            return min(within, key=lambda s: (s.replica_seconds, s.violating_share))
        return min(settings, key=lambda s: (s.violating_share, s.replica_seconds))

    def merged(self, other: Calibration) -> Calibration:
        """Both, `other` winning where they overlap.

        Raises:
            CalibrationError: they were swept on different environments.
        """
        if dict(self.environment) != dict(other.environment):
            raise CalibrationError("calibrations of different environments cannot be merged; sweep all workloads again")
        workloads = {*self.frontiers, *other.frontiers}
        merged = {w: {**self.frontiers.get(w, {}), **other.frontiers.get(w, {})} for w in sorted(workloads)}
        return Calibration(environment=self.environment, seeds=min(self.seeds, other.seeds), frontiers=merged)

    def save(self, path: Path) -> None:
        """Write YAML, whole or not at all."""
        families = {workload: self._family(workload) for workload in self.frontiers}
        document = {"format": FORMAT, "environment": dict(self.environment), "seeds": self.seeds, "workloads": families}
        write_text(path, yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120))

    def _family(self, workload: str) -> dict[str, Any]:
        rules = {
            rule: {
                "chosen": dict(self.chosen(workload, rule).values),
                "columns": [*settings[0].values, *_RESULTS],
                "swept": [
                    [
                        *setting.values.values(),
                        round(setting.violating_share, 6),
                        round(setting.replica_seconds, 1),
                        round(setting.scale_moves, 2),
                    ]
                    for setting in settings
                ],
            }
            for rule, settings in self.frontiers[workload].items()
        }
        return {"violation_budget": violation_budget(workload), "rules": rules}

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            CalibrationError: not such a file.
        """
        try:
            document = yaml.load(read_text(path), Loader=_LOADER)
            if document["format"] != FORMAT:
                raise CalibrationError(
                    f"{path}: calibration format {document['format']}, this version reads {FORMAT}; sweep again"
                )
            frontiers = {
                workload: {
                    rule: tuple(_setting(dict(zip(found["columns"], row, strict=True))) for row in found["swept"])
                    for rule, found in family["rules"].items()
                }
                for workload, family in document["workloads"].items()
            }
            return cls(environment=document["environment"], seeds=int(document["seeds"]), frontiers=frontiers)
        except CalibrationError:
            raise
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CalibrationError(f"{path}: not a calibration file ({error!r}); sweep again") from error


# libyaml where the wheel has it: a calibration is a few thousand numbers.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESULTS = ("violating_share", "replica_seconds", "scale_moves")


def _setting(row: Mapping[str, float]) -> Setting:
    values = {key: float(value) for key, value in row.items() if key not in _RESULTS}
    return Setting(values=values, **{name: float(row[name]) for name in _RESULTS})


def _plain(value: Any) -> Any:
    """Tuples as lists, as they come back from a file."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def shipped(config: AutoscalingConfig) -> Calibration | None:
    """The calibration that comes with the package for environments like this one, if there is one."""
    for path in sorted((Path(__file__).parent / "calibrated").glob("*.yaml")):
        calibration = Calibration.load(path)
        if dict(calibration.environment) == Calibration.scope(config):
            return calibration
    return None
