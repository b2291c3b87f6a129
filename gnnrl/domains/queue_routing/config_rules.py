"""What only this domain can say about a configuration: routers that exist, a system that can be, credit that can be given."""

from __future__ import annotations

from gnnrl.config.queue_routing import QueueRoutingExperiment
from gnnrl.config.rules import ONE_REWARD, Faults, Rule, unknown_names, unknown_teacher
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
    yield from unknown_names("evaluation.against", config.evaluation.against, ROUTERS, "a router")


def _teacher(config: QueueRoutingExperiment) -> Faults:
    yield from unknown_teacher(config, TEACHERS)
    name = config.warm_start.teacher
    if name in NEEDING_WORK and not config.environment.show_work:
        yield "environment.show_work", f"warm_start.teacher {name!r} looks at the expected work, which false hides"


CONFIG_RULES: tuple[Rule[QueueRoutingExperiment], ...] = (
    Rule(paths=("environment.types", "environment.arrival_rates", "environment.service_rates"), check=_model),
    Rule(paths=("evaluation.against",), check=_against),
    Rule(paths=("warm_start.teacher", "environment.show_work"), check=_teacher),
    ONE_REWARD,
)
"""For `load_experiment(..., rules=...)`."""
