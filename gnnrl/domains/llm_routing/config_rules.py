"""What only this domain can say about a configuration: names that exist, fleets that fit, credit that can be given."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from gnnrl.config.llm_routing import LLMRoutingExperiment
from gnnrl.config.rules import Faults, Rule
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.scenarios import SCENARIOS
from gnnrl.domains.llm_routing.teachers import TEACHERS

__all__ = ["CONFIG_RULES"]


def _scenarios(config: LLMRoutingExperiment) -> Faults:
    environment = config.environment
    fleets = {name: len(SCENARIOS[name].replicas) for name in environment.scenarios if name in SCENARIOS}
    for path, names in (
        ("environment.scenarios", environment.scenarios),
        ("evaluation.scenarios", config.evaluation.scenarios),
    ):
        for name in names:
            if name not in SCENARIOS:
                yield path, f"{name!r} is not a scenario; {_nearest(name, SCENARIOS)}"
        for name in sorted({name for name in names if names.count(name) > 1 and path.startswith("evaluation")}):
            yield path, f"{name!r} is there {names.count(name)} times"
    if not environment.scenarios:
        fleets["environment.time_factors"] = len(environment.time_factors)
    for name, replicas in fleets.items():
        if replicas > environment.max_replicas:
            yield (
                "environment.max_replicas",
                f"{environment.max_replicas} is too few for the {replicas} replicas of {name}",
            )


def _slow(config: LLMRoutingExperiment) -> Faults:
    low, high = config.environment.slow_factor
    if low > high:
        yield "environment.slow_factor", f"[{low}, {high}] is not a range, its low end is above its high end"


def _against(config: LLMRoutingExperiment) -> Faults:
    for name in config.evaluation.against:
        if name not in ROUTERS:
            yield "evaluation.against", f"{name!r} is not a router; {_nearest(name, ROUTERS)}"


def _teacher(config: LLMRoutingExperiment) -> Faults:
    name = config.warm_start.teacher
    if name and name not in TEACHERS:
        yield "warm_start.teacher", f"{name!r} is not a teacher; {_nearest(name, TEACHERS)}, or '' for none"
    if name and config.environment.features != "compact":
        yield "environment.features", f"warm_start.teacher {name!r} looks at the columns of compact"


def _credit(config: LLMRoutingExperiment) -> Faults:
    if config.ppo.credit != "graph":
        yield "ppo.credit", f"{config.ppo.credit!r} needs a reward a node; one choice a request has one reward: graph"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    nearest = get_close_matches(name, names, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(names)}"


CONFIG_RULES: tuple[Rule[LLMRoutingExperiment], ...] = (
    Rule(
        paths=("environment.scenarios", "environment.time_factors", "environment.max_replicas", "evaluation.scenarios"),
        check=_scenarios,
    ),
    Rule(paths=("environment.slow_factor",), check=_slow),
    Rule(paths=("evaluation.against",), check=_against),
    Rule(paths=("warm_start.teacher", "environment.features"), check=_teacher),
    Rule(paths=("ppo.credit",), check=_credit),
)
"""For `load_experiment(..., rules=...)`."""
