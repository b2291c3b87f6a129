"""What only this domain can say about a configuration: routers that exist, a system that can be, credit that can be given."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from gnnrl.config.queue_routing import QueueRoutingExperiment
from gnnrl.config.rules import Faults, Rule
from gnnrl.domains.queue_routing.baselines import ROUTERS
from gnnrl.domains.queue_routing.model import QueueModelError
from gnnrl.domains.queue_routing.systems import configured_model
from gnnrl.domains.queue_routing.teachers import NEEDING_WORK, TEACHERS

__all__ = ["CONFIG_RULES"]


def _model(config: QueueRoutingExperiment) -> Faults:
    environment = config.environment
    shapes = {len(environment.types), len(environment.arrival_rates), *map(len, environment.service_rates)}
    if len(shapes) > 1:
        return  # already told
    try:
        configured_model(environment)
    except QueueModelError as error:
        for problem in error.problems:
            yield "environment.types", problem


def _against(config: QueueRoutingExperiment) -> Faults:
    for name in config.evaluation.against:
        if name not in ROUTERS:
            yield "evaluation.against", f"{name!r} is not a router; {_nearest(name, ROUTERS)}"


def _teacher(config: QueueRoutingExperiment) -> Faults:
    name = config.warm_start.teacher
    if name and name not in TEACHERS:
        yield "warm_start.teacher", f"{name!r} is not a teacher; {_nearest(name, TEACHERS)}, or '' for none"
    if name in NEEDING_WORK and not config.environment.show_work:
        yield "environment.show_work", f"warm_start.teacher {name!r} looks at the expected work, which false hides"


def _credit(config: QueueRoutingExperiment) -> Faults:
    if config.ppo.credit != "graph":
        yield "ppo.credit", f"{config.ppo.credit!r} needs a reward a node; one choice an arrival has one reward: graph"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    nearest = get_close_matches(name, names, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(names)}"


CONFIG_RULES: tuple[Rule[QueueRoutingExperiment], ...] = (
    Rule(paths=("environment.types", "environment.arrival_rates", "environment.service_rates"), check=_model),
    Rule(paths=("evaluation.against",), check=_against),
    Rule(paths=("warm_start.teacher", "environment.show_work"), check=_teacher),
    Rule(paths=("ppo.credit",), check=_credit),
)
"""For `load_experiment(..., rules=...)`."""
