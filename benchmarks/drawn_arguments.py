"""Arguments that people should not hand in, drawn by hypothesis, each with the judgement of an oracle: may this be taken?

A case draws one call of something public and says whether it is legal; `outcome` makes the call. Whatever is legal must be taken, whatever
is not must be refused with an error that is meant for people, and nothing may end the process. `fuzz_arguments.py` draws a hundred thousand
of them in child processes, the tests a few hundred.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from numbers import Real
from typing import Any, NamedTuple, get_type_hints

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from encoders import build_encoder
from gnnrl.agents import PPO_GNN
from gnnrl.config.checked import unchecked
from gnnrl.config.experiment import (
    AutoscalingConfig,
    EncoderConfig,
    ExperimentConfig,
    PPOConfig,
    TrainingConfig,
    WarmStartConfig,
)
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.config.queue_routing import QueueRoutingConfig, QueueRoutingExperiment
from gnnrl.config.rules import COMMON_RULES, LIVE_RULES, QUEUE_ROUTING_RULES, RULES
from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import LARGEST_RATE, LARGEST_REPLICAS, MeshSimulation
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.env import LLMRoutingEnv, LLMRoutingVectorEnv
from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.env import QueueRoutingEnv, QueueRoutingVectorEnv
from gnnrl.domains.queue_routing.model import base_model
from gnnrl.domains.queue_routing.physics import QueueSimulation
from gnnrl.live.llm_router import IncomingRequest, LLMRouter, ReplicaReport
from gnnrl.wrappers import StableBaselines3Observation
from graph_space import DynamicGraphConfig, DynamicGraphSpace, check_observation

__all__ = ["CASES", "Call", "drawn_call", "outcome"]

REFUSALS = (ValueError, gymnasium.error.Error)
"""What a refusal is an instance of."""


class Call(NamedTuple):
    """One call of something public."""

    case: str
    told: str
    """What is handed in, for people."""
    legal: bool
    """What the oracle says."""
    make: Callable[[], object]
    refusals: tuple[type[Exception], ...] = REFUSALS


Draw = Callable[..., Any]
Case = Callable[[Draw], Call]


def outcome(call: Call) -> str:
    """`right`, or what was wrong: taken silently, refused although legal, or refused in words for nobody."""
    try:
        call.make()
    except call.refusals as error:
        if not str(error):
            return "refused without a word"
        return "right" if not call.legal else f"refused: {type(error).__name__}: {error}"
    except Exception as error:
        return f"raw {type(error).__name__}: {error}"
    return "right" if call.legal else "silently taken"


NUMBERS = (
    0, 1, 2, 3, 5, 7, 14, 15, 20, 99, -1, -7, 2**31, 2**63, -(2**70), 0.5, 1.0, 2.5, -0.5, 1e-9, 1e308, math.nan, math.inf, -math.inf,
)  # fmt: skip
ODD = (
    None, True, False, "", "x", "slo", "diurnal", "online_boutique", "node", b"x", [], [1], [1, 2], [2, 1], (), (0.5, 2.0), (2.0, 0.5), {},
    ["diurnal"], ["x"], [math.nan, 1.0], Ellipsis, object, 1j, np.int64(3), np.float32(0.5), np.bool_(True), np.array([1, 2]),
    np.array(math.nan), np.array(2),
)  # fmt: skip
junk = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(ODD), st.integers(-3, 30), st.floats(width=32))


# --- actions -----------------------------------------------------------------------------------------------------------------------------


@cache
def _environments() -> Mapping[str, Any]:
    short = AutoscalingConfig(episode_decisions=6, max_edges=64)
    made = {
        "OnlineBoutique": MeshEnv(short),
        "OnlineBoutique select": MeshEnv(short, action_mode="select"),
        "OnlineBoutique, SB3": StableBaselines3Observation(MeshEnv(short)),
        "OnlineBoutique x 3": MeshVectorEnv(3, short),
        "OnlineBoutique select x 2": MeshVectorEnv(2, short, action_mode="select"),
        "QueueRouting": QueueRoutingEnv(episode_arrivals=6, max_replicas=3),
        "QueueRouting x 3": QueueRoutingVectorEnv(3, episode_arrivals=6, max_replicas=3),
        "LLMRouting": LLMRoutingEnv(episode_requests=6),
        "LLMRouting x 3": LLMRoutingVectorEnv(3, episode_requests=6),
    }
    for env in made.values():
        env.reset(seed=0)
    return made


def _shape_and_choices(space: spaces.Space[Any]) -> tuple[tuple[int, ...], int]:
    if isinstance(space, spaces.Discrete):
        return (), int(space.n)
    return tuple(space.shape or ()), int(space.nvec.flat[0])  # type: ignore[attr-defined]


def _action(draw: Draw, shape: tuple[int, ...], choices: int) -> Any:
    if draw(st.integers(0, 9)) == 0:
        return draw(junk)
    if draw(st.integers(0, 3)) == 0:
        shape = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 3, 4, 11, 20, 21)), max_size=3)))
    dtype = draw(
        st.sampled_from(("int64", "int64", "int64", "int32", "uint8", "uint64", "float64", "bool", "object", "<U3"))
    )
    whole = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(whole).integers(0, choices, shape)
    array = np.asarray(values).astype(dtype)
    if array.size and array.dtype.kind in "iuf" and draw(st.booleans()):
        flat = array.reshape(-1)
        wrong = draw(st.sampled_from((-1, choices, choices - 1, 99, 2**40, -(2**62), math.nan, math.inf)))
        if array.dtype.kind == "f" or (isinstance(wrong, int) and np.can_cast(np.min_scalar_type(wrong), array.dtype)):
            flat[draw(st.integers(0, flat.size - 1))] = wrong
        array = flat.reshape(shape)
    return draw(
        st.sampled_from((array, array, array.tolist(), np.asfortranarray(array), array[..., ::-1] if shape else array))
    )


def _legal_action(action: Any, shape: tuple[int, ...], choices: int, read: list[bool] | None) -> bool:
    try:
        array = np.asarray(action)
    except (ValueError, TypeError):
        return False
    if array.dtype.kind not in "iu" or array.shape != shape:
        return False
    rows = [array] if read is None else [row for row, counts in zip(array, read, strict=True) if counts]
    return all(0 <= value < choices for row in rows for value in np.asarray(row).reshape(-1).tolist())


def actions(draw: Draw) -> Call:
    """`step` of every environment."""
    name, env = draw(st.sampled_from(sorted(_environments().items(), key=lambda item: item[0])))
    single = isinstance(env, gymnasium.Env)
    if single and not env.unwrapped._playing:
        env.reset()
    one, choices = _shape_and_choices(env.action_space if single else env.single_action_space)
    shape = one if single else (env.num_envs, *one)
    action = _action(draw, shape, choices)
    legal = _legal_action(action, shape, choices, None if single else (~env._done).tolist())
    return Call("actions", f"{name}.step({action!r:.200})", legal, lambda: env.step(action))


# --- resets ------------------------------------------------------------------------------------------------------------------------------


def resets(draw: Draw) -> Call:
    """`reset` of every environment: seeds, options, masks."""
    name, env = draw(st.sampled_from(sorted(_environments().items(), key=lambda item: item[0])))
    single = isinstance(env, gymnasium.Env)
    count = 0 if single else env.num_envs
    seed = draw(
        st.one_of(
            st.none(),
            st.integers(0, 2**40),
            junk,
            st.lists(st.one_of(st.none(), st.integers(-1, 9)), min_size=1, max_size=4),
        )
    )
    mask = draw(st.one_of(st.lists(st.booleans(), min_size=1, max_size=4).map(np.array), junk))
    options = draw(st.one_of(st.none(), st.just({}), st.just({"reset_mask": mask}), st.just({"rest_mask": 1}), junk))

    def whole(value: Any) -> bool:
        return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0

    listed = isinstance(seed, list | tuple) or (isinstance(seed, np.ndarray) and seed.ndim == 1)
    legal = seed is None or whole(seed)
    if listed and not single:
        legal = len(seed) == count and all(one is None or whole(one) for one in seed)
    if options is not None and not isinstance(options, dict):
        legal = False
    elif options:
        given = options.get("reset_mask")
        masks = (
            isinstance(given, np.ndarray) and given.dtype == np.bool_ and given.shape == (count,) and bool(given.any())
        )
        legal = legal and not single and set(options) == {"reset_mask"} and (given is None or masks)
    return Call(
        "resets",
        f"{name}.reset(seed={seed!r}, options={options!r})",
        bool(legal),
        lambda: env.reset(seed=seed, options=options),
    )


# --- configurations ----------------------------------------------------------------------------------------------------------------------


SECTIONS: tuple[tuple[type[Any], type[Any]], ...] = (
    (AutoscalingConfig, ExperimentConfig),
    (PPOConfig, LLMRoutingExperiment),
    (EncoderConfig, LLMRoutingExperiment),
    (TrainingConfig, LLMRoutingExperiment),
    (WarmStartConfig, LLMRoutingExperiment),
    (QueueRoutingConfig, QueueRoutingExperiment),
    (LLMRoutingConfig, LLMRoutingExperiment),
    (GuardrailConfig, LiveConfig),
)


def _told_by_a_file(home: type[Any], section: str, values: Mapping[str, Any], rules: tuple[Any, ...] = ()) -> bool:
    """Whether a file that spells the values in `section` would be taken, for all that concerns it: pydantic judges, and the rules."""
    default = home()
    whole = json.loads(json.dumps(asdict(default)))
    try:
        whole[section] |= {
            name: json.loads(json.dumps(_jsonable(value), allow_nan=False)) for name, value in values.items()
        }
    except (TypeError, ValueError):
        return False
    try:
        with unchecked():
            config = _judge(home).validate_json(json.dumps(whole), strict=True)
    except ValidationError:
        return False
    # A rule that reads another section too is none of this one's.
    own = (rule for rule in (*RULES_OF[home], *rules) if all(path.split(".")[0] == section for path in rule.paths))
    return not any(fault for rule in own for fault in rule.check(config))


RULES_OF: Mapping[type[Any], tuple[Any, ...]] = {
    ExperimentConfig: (*COMMON_RULES, *RULES),
    QueueRoutingExperiment: (*COMMON_RULES, *QUEUE_ROUTING_RULES),
    LLMRoutingExperiment: COMMON_RULES,
    LiveConfig: LIVE_RULES,
}


@cache
def _judge(home: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(home)


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float | dict):
        return value
    raise TypeError


def _changes(draw: Draw, cls: type[Any], odd: st.SearchStrategy[Any]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from([field.name for field in fields(cls)]), min_size=1, max_size=3, unique=True))
    default = cls()
    changes = {}
    for name in names:
        hint = get_type_hints(cls)[name]
        near = (
            st.sampled_from(hint.__args__)
            if hasattr(hint, "__args__") and not hasattr(hint, "__origin__")
            else st.just(getattr(default, name))
        )
        changes[name] = draw(st.one_of(odd, near))
    return changes


def configurations(draw: Draw) -> Call:
    """The configuration classes, against the loader of files as the oracle."""
    cls, home = draw(st.sampled_from(SECTIONS))
    changes = _changes(draw, cls, junk)
    by_replace = draw(st.booleans())
    legal = _told_by_a_file(home, cls.section, changes)
    make = (lambda: replace(cls(), **changes)) if by_replace else (lambda: cls(**changes))
    return Call("configurations", f"{cls.__name__}({changes!r})", legal, make)


SMALL = st.one_of(
    st.sampled_from([number for number in NUMBERS if not 1000 < abs(number) < math.inf]),
    st.sampled_from(ODD),
    st.integers(-3, 30),
)


def environments(draw: Draw) -> Call:
    """Making environments: the same oracle, with what only the domain can say; keys that do not exist, numbers of environments."""
    cls, home, made = draw(
        st.sampled_from(
            (
                (AutoscalingConfig, ExperimentConfig, MeshVectorEnv),
                (QueueRoutingConfig, QueueRoutingExperiment, QueueRoutingVectorEnv),
            )
        )
    )
    changes = _changes(draw, cls, SMALL)
    rules = CONFIG_RULES if cls is AutoscalingConfig else ()
    legal = _told_by_a_file(home, cls.section, changes, rules)
    if draw(st.integers(0, 5)) == 0:
        changes["no_such_field"], legal = 1, False
    count = draw(st.one_of(st.just(1), st.just(1), junk.filter(lambda n: not (isinstance(n, int) and n > 4))))
    legal &= isinstance(count, int | np.integer) and not isinstance(count, bool) and count >= 1
    return Call("environments", f"{made.__name__}({count!r}, {changes!r})", bool(legal), lambda: made(count, **changes))


# --- simulations -------------------------------------------------------------------------------------------------------------------------


@cache
def _meshes() -> MeshSimulation:
    simulation = MeshSimulation(2, 20, 64, 6)
    for b in range(2):
        simulation.load(b, online_boutique())
    return simulation


@cache
def _queues() -> QueueSimulation:
    simulation = QueueSimulation.of(base_model(), 2)
    simulation.reset(0)
    return simulation


def _array(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    if draw(st.integers(0, 3)) == 0:
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    array = np.random.default_rng(draw(st.integers(0, 999))).uniform(0.0, 30.0, shape)
    if array.size and draw(st.booleans()):
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(
            st.sampled_from((math.nan, math.inf, -1.0, 1e12, 1e308, -math.inf, 0.0))
        )
    with np.errstate(over="ignore"):
        return array.astype(draw(st.sampled_from(("float64", "float32", "float64"))))


def mesh_physics(draw: Draw) -> Call:
    """Rates, masks and replicas of the mesh simulation."""
    simulation = _meshes()
    if draw(st.booleans()):
        rates: Any = draw(st.one_of(junk, st.just(None))) if draw(st.integers(0, 9)) == 0 else _array(draw, (2, 3))
        active = draw(
            st.one_of(st.none(), st.just(np.array([True, False])), st.just(np.ones(3, bool)), st.just(np.ones(2)), junk)
        )
        ok = isinstance(rates, np.ndarray | list | tuple) and np.ndim(rates) == 2 and len(rates) == 2
        ok = ok and all(0 <= rate <= LARGEST_RATE for rate in np.asarray(rates).reshape(-1).tolist())
        ok = ok and (
            active is None or (isinstance(active, np.ndarray) and active.dtype == np.bool_ and active.shape == (2,))
        )
        return Call(
            "mesh physics", f"advance({rates!r}, {active!r})", bool(ok), lambda: simulation.advance(rates, active)
        )
    desired: Any = np.zeros((2, 20), np.int64)
    for b in range(2):
        desired[b, : len(simulation.order(b))] = simulation.counts(b)[:, 4]
    s, count = draw(st.integers(0, 2)), draw(st.sampled_from((1, 5, 30, -1, 2**40, LARGEST_REPLICAS + 1)))
    desired[draw(st.integers(0, 1)), s] = count
    dtype = draw(st.sampled_from(("int64", "int64", "float64", "uint64")))
    legal = 0 <= count <= LARGEST_REPLICAS and dtype in ("int64", "uint64")
    desired = desired.astype(dtype) if count >= 0 else desired
    if draw(st.integers(0, 4)) == 0:
        desired, legal = desired[:, :5], False
    return Call(
        "mesh physics", f"set_desired(.., {count}, {desired.dtype})", legal, lambda: simulation.set_desired(desired)
    )


def queue_physics(draw: Draw) -> Call:
    """Choices, routers, replicas and seeds of the queue simulation."""
    simulation = _queues()
    what = draw(st.sampled_from(("step", "run", "choose", "lose", "reset")))
    value = draw(junk)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)
    if what == "step":
        chosen = draw(st.one_of(st.lists(st.one_of(st.integers(-2, 3), st.floats(0, 1)), max_size=3), junk))
        legal = isinstance(chosen, list | np.ndarray) and len(np.shape(chosen)) == 1 and len(chosen) == 2
        legal = legal and all(
            isinstance(c, int | np.integer) and not isinstance(c, bool) and 0 <= c < 2 for c in chosen
        )
        return Call("queue physics", f"step({chosen!r})", bool(legal), lambda: simulation.step(chosen))
    if what == "run":
        value = draw(st.sampled_from((0, 3, -1, 2.5, "x", None, math.nan)))
        legal = value in (0, 3)
        return Call("queue physics", f"run(JSQ, {value!r})", legal, lambda: simulation.run(Router.JSQ, value))
    if what == "choose":
        value = draw(st.one_of(st.integers(-3, 14), st.sampled_from(("x", None, math.nan, 1.5))))
        legal = isinstance(value, int) and 0 <= value <= 10
        return Call("queue physics", f"choose({value!r})", legal, lambda: simulation.choose(value))
    if what == "lose":
        # Column 7 is nowhere, so that no replica is lost for good.
        return Call("queue physics", f"lose({value!r}, 7)", False, lambda: simulation.lose(value, 7))
    legal = bool(whole and value >= 0)
    return Call("queue physics", f"reset({value!r})", legal, lambda: simulation.reset(value))


def llm_physics(draw: Draw) -> Call:
    """Routers and choices of the LLM simulation."""
    env = _environments()["LLMRouting x 3"]
    simulation = env.simulation
    value = draw(st.one_of(st.integers(-4, 20), junk))
    largest = max(router.code for router in ROUTERS.values())
    if draw(st.booleans()):
        legal = isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value <= largest
        return Call("LLM physics", f"choose({value!r})", bool(legal), lambda: simulation.choose(value))
    return Call("LLM physics", f"step({value!r})", False, lambda: simulation.step(value))


# --- observations ------------------------------------------------------------------------------------------------------------------------


SPACE = DynamicGraphSpace(
    DynamicGraphConfig(max_nodes=6, max_edges=12, node_feat_dim=3, edge_feat_dim=2, global_feat_dim=2, num_moves=4)
)
SLOTS = 6


def _observation(draw: Draw) -> dict[str, Any]:
    SPACE.seed(draw(st.integers(0, 10_000)))
    return dict(SPACE.sample())


def _spoiled(draw: Draw) -> tuple[dict[str, Any], bool, str]:
    """An observation [2, ...], whether it is sound still, and what was done to it."""
    one, two = _observation(draw), _observation(draw)
    obs = {key: np.stack([one[key], two[key]]) for key in one}
    how = draw(st.sampled_from(("nothing", "value", "value", "shape", "dtype", "gone", "other")))
    key = draw(st.sampled_from(sorted(obs)))
    array, sound = obs[key], {name: value.shape for name, value in obs.items()}
    if how == "gone":
        del obs[key]
    elif how == "other":
        obs[key] = draw(junk)
    elif how == "shape":
        axis = draw(st.integers(0, array.ndim - 1))
        others = (array[:1], array[None], np.concatenate([array, array], axis), array.reshape(-1), array[..., None])
        obs[key] = draw(st.sampled_from(others))
    elif how == "dtype":
        obs[key] = array.astype(draw(st.sampled_from(("object", "<U9", "complex128"))))
    elif how == "value":
        wrong = draw(st.sampled_from((math.nan, math.inf, -1, SLOTS, 2**40, -(2**40), -2)))
        if array.dtype.kind != "f" and not (
            isinstance(wrong, int) and np.can_cast(np.min_scalar_type(wrong), array.dtype)
        ):
            wrong = SLOTS
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = wrong
        how = f"value {wrong}"
    return obs, _sound(obs, sound), f"{key}: {how}"


def _sound(obs: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """What a network may be shown: as `check_observation` says, but for padding, which nobody reads, and twins in `prev_slot`."""
    for key, shape in shapes.items():
        kinds = "iufb" if key in ("nodes", "edges", "globals", "elapsed_seconds") else "iub"
        if key not in obs or np.shape(obs[key]) != shape or np.asarray(obs[key]).dtype.kind not in kinds:
            return False
    for b in range(2):
        row = {key: np.array(array[b]) for key, array in obs.items()}
        live, real = row["node_mask"] != 0, row["edge_mask"] != 0
        if (
            not ((row["prev_slot"][live] >= -1) & (row["prev_slot"][live] < SLOTS)).all()
            or not row["elapsed_seconds"] >= 0
        ):
            return False
        ends = row["edge_index"][:, real]
        if ((ends < 0) | (ends >= SLOTS)).any() or not live[ends].all():
            return False
        parts = (row["nodes"][live], row["edges"][real], row["globals"], row["elapsed_seconds"])
        if not all(np.isfinite(part).all() for part in parts):
            return False
    return True


@cache
def _agents() -> tuple[Any, ...]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"in_dim": 3, "edge_dim": 2, "global_dim": 2, "max_nodes": 6, "max_edges": 12, "hidden": 8}
    encoder = build_encoder("tgn+gnn", **sizes, memory_dim=8, message_dim=8, time_dim=4)  # type: ignore[arg-type]
    joint, select = spaces.MultiDiscrete([4] * 6), spaces.Discrete(24)
    small = EncoderConfig(hidden=8, memory_dim=8, message_dim=8, time_dim=4)
    return encoder, PPO_GNN(SPACE, joint, encoder=small), PPO_GNN(SPACE, select, encoder=small)


def encoders(draw: Draw) -> Call:
    """`GraphEncoder.step`."""
    encoder = _agents()[0]
    obs, legal, told = _spoiled(draw)
    if told.startswith("action_mask"):
        legal = True  # no encoder reads it
    state = encoder.initial_state(2, 6)
    if draw(st.integers(0, 4)) == 0:
        legal, told = False, told + ", another state"
        state = draw(
            st.sampled_from(
                (
                    encoder.initial_state(3, 6),
                    encoder.initial_state(2, 7),
                    state._replace(memory=state.memory[:, :, :3]),
                    None,
                )
            )
        )
    start = draw(st.sampled_from((np.zeros(2, bool), np.ones(2, bool), np.zeros(3, bool), np.array([0.5, math.nan]))))
    legal &= start.dtype == np.bool_ and start.shape == (2,)

    def make() -> None:
        with torch.inference_mode():
            encoder.step(obs, state, start)

    return Call("encoders", f"step({told})", bool(legal), make, (*REFUSALS, KeyError))


def agents(draw: Draw) -> Call:
    """`PPO_GNN.act`, in both modes."""
    agent = draw(st.sampled_from(_agents()[1:]))
    obs, legal, told = _spoiled(draw)
    if legal:
        mask, live = obs["action_mask"] != 0, obs["node_mask"] != 0
        able = (mask & live[..., None]).any(axis=-1)
        legal = bool((able | ~live).all()) if agent.mode == "joint" else bool(able.any(axis=1).all())
    temperature = draw(st.sampled_from((None, None, 1.0, 0.0, -1.0, math.nan, np.ones(2), np.ones(3))))
    legal &= temperature is None or (np.shape(temperature) in ((), (2,)) and bool(np.all(np.asarray(temperature) > 0)))
    return Call(
        "agents",
        f"act({told}, temperature={temperature!r})",
        bool(legal),
        lambda: agent.act(obs, temperature=temperature),
    )


def codecs(draw: Draw) -> Call:
    """`DynamicGraphSpace.encode`."""
    names = [f"n{i}" for i in range(draw(st.integers(0, 7)))]
    count = len(names)
    pairs = draw(st.lists(st.tuples(st.sampled_from([*names, "gone"]), st.sampled_from([*names, "gone"])), max_size=4))
    nodes, edges = _array(draw, (count, 3)), _array(draw, (len(pairs), 2))
    globals_, elapsed = _array(draw, (2,)), draw(st.sampled_from((0.0, 15.0, -1.0, math.nan, math.inf)))
    legal = count <= 6 and len(set(pairs)) == len(pairs) and "gone" not in {end for pair in pairs for end in pair}
    for array, shape in ((nodes, (count, 3)), (edges, (len(pairs), 2)), (globals_, (2,))):
        empty = array.size == 0 and 0 in shape
        with np.errstate(over="ignore"):
            legal = legal and (empty or (array.shape == shape and bool(np.isfinite(array.astype(np.float32)).all())))
    legal = legal and math.isfinite(elapsed) and elapsed >= 0

    def make() -> None:
        with np.errstate(over="ignore"):
            observation, _ = DynamicGraphSpace(SPACE.config).encode(
                names, nodes, pairs, edges, globals_, elapsed_seconds=elapsed
            )
        check_observation(observation, SPACE.config)

    return Call("codecs", f"encode({names}, {nodes!r}, {pairs}, {edges!r}, {globals_!r}, {elapsed})", bool(legal), make)


# --- a live router -----------------------------------------------------------------------------------------------------------------------


@cache
def _router() -> LLMRouter:
    config = LLMRoutingConfig(scenarios=(), time_factors=(1.0, 1.0), max_replicas=2)
    env = LLMRoutingVectorEnv(1, config)
    agent = PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        config=PPOConfig(credit="graph"),
        encoder=EncoderConfig(kind="gnn", hidden=8),
    )
    return LLMRouter(agent, config, count_pending_prefill=True)


COUNTS = (
    "running_requests",
    "waiting_requests",
    "kv_usage",
    "prompt_tokens_total",
    "generated_tokens_total",
    "latency_seconds_total",
)


def routers(draw: Draw) -> Call:
    """`LLMRouter.route`."""
    sound: dict[str, Any] = dict.fromkeys(COUNTS, 0) | {"kv_blocks": 5000, "finished_requests_total": 0}
    name, value = draw(st.sampled_from((*COUNTS, "kv_blocks"))), draw(st.one_of(st.just(1), junk))
    tokens = draw(st.one_of(st.just(100), junk.filter(lambda n: not (isinstance(n, Real) and 1000 < n < math.inf))))
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_) and math.isfinite(value)
    legal = bool(number and 0 <= value <= 2**53)
    if legal and name == "kv_usage":
        legal = bool(value <= 1)
    if legal and name == "kv_blocks":
        legal = bool(value >= 1)
    whole = (
        isinstance(tokens, Real)
        and not isinstance(tokens, bool | np.bool_)
        and math.isfinite(tokens)
        and tokens == int(tokens)
    )
    legal &= bool(whole and 1 <= tokens <= 1000)
    reports = [ReplicaReport(id=each, **(sound | ({name: value} if each == "a" else {}))) for each in ("a", "b")]
    request = IncomingRequest(prompt_tokens=tokens)
    return Call(
        "routers", f"route({tokens!r} tokens, {name}={value!r})", bool(legal), lambda: _router().route(request, reports)
    )


CASES: Mapping[str, Case] = {
    "actions": actions,
    "resets": resets,
    "configurations": configurations,
    "environments": environments,
    "mesh physics": mesh_physics,
    "queue physics": queue_physics,
    "LLM physics": llm_physics,
    "encoders": encoders,
    "agents": agents,
    "codecs": codecs,
    "routers": routers,
}
"""By name."""


@st.composite
def drawn_call(draw: Draw, names: tuple[str, ...] = tuple(CASES)) -> Call:
    """A call of one of the cases."""
    return CASES[draw(st.sampled_from(names))](draw)
