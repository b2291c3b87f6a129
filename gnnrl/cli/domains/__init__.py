"""What the commands that are the same for every domain ask of each: a line in `DOMAINS` and a module like the others here."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gnnrl.cli.domains import autoscaling, llm_routing, queue_routing

if TYPE_CHECKING:
    from gnnrl.cli.domains.listing import ListedBaseline
    from gnnrl.config.experiment import Experiment
    from gnnrl.config.rules import Rule
    from gnnrl.training import RunFolder, Trainer

__all__ = ["DOMAINS", "Domain", "domain_playing", "load_experiment"]


class Domain(Protocol):
    """A module that stands for a domain on the command line."""

    def rules(self) -> Iterable[Rule[Any]]:
        """What only the domain can check of a configuration."""

    def self_contained(self, config: Any) -> Any:
        """The experiment with its files by their whole path, so that the run can be resumed and compared from any folder."""

    def trainer_for(self, folder: RunFolder[Any]) -> Trainer:
        """The trainer of a run, with the environment, teacher and validation that its configuration names."""

    def policies(self) -> Iterable[str]:
        """Names that `gnnrl evaluate --policy` takes."""

    def listed(self) -> Mapping[str, ListedBaseline]:
        """The same with what each does, for `gnnrl baselines`."""

    def evaluate(self, args: argparse.Namespace, folder: RunFolder[Any] | None) -> int:
        """`gnnrl evaluate` with a run, or with `--policy` alone."""


DOMAINS: Mapping[str, Domain] = {
    "autoscaling": autoscaling,
    "queue_routing": queue_routing,
    "llm_routing": llm_routing,
}
"""By the `domain` of a configuration."""


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of any domain, checked with all that its domain knows.

    Raises:
        ConfigError: every fault at once.
    """
    from gnnrl.config.loader import load_experiment

    return load_experiment(path, overrides, rules=lambda domain: DOMAINS[domain].rules())


def domain_playing(policy: str) -> Domain:
    """The first domain that has a policy of this name, or else of the name that is nearest."""
    by_name = {name: domain for domain in reversed(tuple(DOMAINS.values())) for name in domain.policies()}
    nearest = get_close_matches(policy, by_name, n=1)
    return by_name[nearest[0]] if nearest else next(iter(DOMAINS.values()))
