"""What only this domain can say about a configuration: names that exist, fleets that fit, credit that can be given."""

from __future__ import annotations

from gnnrl.config.llm_routing import LLMRoutingExperiment
from gnnrl.config.rules import ONE_REWARD, Faults, Rule, ordered, unknown_names, unknown_teacher
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.scenarios import SCENARIOS
from gnnrl.domains.llm_routing.teachers import TEACHERS

__all__ = ["CONFIG_RULES"]


def _scenarios(config: LLMRoutingExperiment) -> Faults:
    environment = config.environment
    fleets = {name: len(SCENARIOS[name].replicas) for name in environment.scenarios if name in SCENARIOS}
    yield from unknown_names("environment.scenarios", environment.scenarios, SCENARIOS, "a scenario")
    if not environment.scenarios:
        fleets["environment.time_factors"] = len(environment.time_factors)
    for name, replicas in fleets.items():
        if replicas > environment.max_replicas:
            yield (
                "environment.max_replicas",
                f"{environment.max_replicas} is too few for the {replicas} replicas of {name}",
            )


def _evaluated_scenarios(config: LLMRoutingExperiment) -> Faults:
    path, names = "evaluation.scenarios", config.evaluation.scenarios
    yield from unknown_names(path, names, SCENARIOS, "a scenario")
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield path, f"{name!r} is there {names.count(name)} times"


def _slow(config: LLMRoutingExperiment) -> Faults:
    yield from ordered("environment.slow_factor", config.environment.slow_factor)


def _against(config: LLMRoutingExperiment) -> Faults:
    yield from unknown_names("evaluation.against", config.evaluation.against, ROUTERS, "a router")


def _teacher(config: LLMRoutingExperiment) -> Faults:
    yield from unknown_teacher(config, TEACHERS)
    name = config.warm_start.teacher
    if name and config.environment.features != "compact":
        yield "environment.features", f"warm_start.teacher {name!r} looks at the columns of compact"


CONFIG_RULES: tuple[Rule[LLMRoutingExperiment], ...] = (
    Rule(
        paths=("environment.scenarios", "environment.time_factors", "environment.max_replicas"),
        check=_scenarios,
    ),
    Rule(paths=("evaluation.scenarios",), check=_evaluated_scenarios),
    Rule(paths=("environment.slow_factor",), check=_slow),
    Rule(paths=("evaluation.against",), check=_against),
    Rule(paths=("warm_start.teacher", "environment.features"), check=_teacher),
    ONE_REWARD,
)
"""For `load_experiment(..., rules=...)`."""
