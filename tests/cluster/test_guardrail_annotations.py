"""What annotations say: strict numbers, the nearest place first, and no guess at what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnrl.cluster.guardrails import limits_of
from gnnrl.config.live import GuardrailConfig

CONFIG = GuardrailConfig(min_replicas=2, max_replicas=12)


def test_the_configuration_holds_where_nothing_is_said() -> None:
    assert limits_of({}, {}, CONFIG) == (2, 12, False, ())
    others = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "gnnrl.iox/min": "x", "min": "5"}
    assert limits_of(others, others, CONFIG) == (2, 12, False, ())


def test_a_deployment_goes_before_its_namespace_and_that_before_the_configuration() -> None:
    namespace = {"gnnrl.io/min": "3", "gnnrl.io/max": "30", "gnnrl.io/slo-ms": "486"}
    assert limits_of({}, namespace, CONFIG) == (3, 30, False, ())
    assert limits_of({"gnnrl.io/max": "9"}, namespace, CONFIG) == (3, 9, False, ())
    assert limits_of({"gnnrl.io/min": "4"}, {}, CONFIG) == (4, 12, False, ())


@pytest.mark.parametrize(
    ("deployment", "namespace", "paused"),
    [
        ({"gnnrl.io/pause": "true"}, {}, True),
        ({}, {"gnnrl.io/pause": "true"}, True),
        ({"gnnrl.io/pause": "false"}, {"gnnrl.io/pause": "true"}, True),  # a namespace's pause is a stop for all
        ({"gnnrl.io/pause": "true"}, {"gnnrl.io/pause": "false"}, True),
        ({"gnnrl.io/pause": "false"}, {}, False),
    ],
)
def test_either_pauses(deployment: dict[str, str], namespace: dict[str, str], paused: bool) -> None:
    assert limits_of(deployment, namespace, CONFIG) == (2, 12, paused, ())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "-1",
        "+3",
        " 3",
        "3 ",
        "3.0",
        "3e0",
        "1_0",
        "0x3",
        "03",
        "٣",
        "three",
        "3\n",
        "2147483648",
        "99999999999",
    ],
)
@pytest.mark.parametrize("name", ["gnnrl.io/min", "gnnrl.io/max"])
def test_what_is_no_plain_number_pauses_and_is_named(value: str, name: str) -> None:
    found = limits_of({name: value}, {}, CONFIG)
    assert (found.min_replicas, found.max_replicas, found.paused) == (2, 12, True)
    (problem,) = found.problems
    assert problem == (
        f"annotation {name}: {value!r} of the Deployment is not a whole number from 1 to 2147483647; "
        "paused until it is mended"
    )


@pytest.mark.parametrize("value", ["True", "TRUE", "yes", "1", "", "true "])
def test_a_pause_that_cannot_be_read_pauses(value: str) -> None:
    found = limits_of({}, {"gnnrl.io/pause": value}, CONFIG)
    assert found.paused
    assert f'gnnrl.io/pause: {value!r} of the namespace is neither "true" nor "false"' in found.problems[0]


def test_a_mistyped_name_pauses_for_it_may_have_been_a_pause() -> None:
    found = limits_of({"gnnrl.io/paused": "true", "gnnrl.io/zzz": ""}, {}, CONFIG)
    assert found.paused
    assert "gnnrl.io/paused of the Deployment is unknown, did you mean gnnrl.io/pause?" in found.problems[0]
    assert "gnnrl.io/zzz of the Deployment is unknown, known: gnnrl.io/min, gnnrl.io/max" in found.problems[1]


def test_a_malformed_number_of_the_namespace_pauses_although_the_deployment_has_its_own() -> None:
    found = limits_of({"gnnrl.io/max": "9"}, {"gnnrl.io/max": "lots"}, CONFIG)
    assert found.max_replicas == 9
    assert found.paused


def test_limits_that_contradict_each_other_are_named_with_their_places() -> None:
    found = limits_of({"gnnrl.io/min": "15"}, {"gnnrl.io/max": "10"}, CONFIG)
    assert found[:3] == (15, 10, False)  # the guardrail `contradictory` holds it
    assert found.problems == (
        "gnnrl.io/min 15 (Deployment) is above gnnrl.io/max 10 (namespace): held until one of them is changed",
    )
    assert "gnnrl.io/max 12 (configuration)" in limits_of({"gnnrl.io/min": "15"}, {}, CONFIG).problems[0]


def test_somebody_elses_text_is_cut() -> None:
    (problem,) = limits_of({"gnnrl.io/min": "x" * 100_000}, {}, CONFIG).problems
    assert len(problem) < 200


texts = st.one_of(st.text(max_size=12), st.integers(-5, 2**33).map(str))
stated = st.dictionaries(
    st.sampled_from(["gnnrl.io/min", "gnnrl.io/max", "gnnrl.io/pause", "gnnrl.io/", "app"]), texts, max_size=4
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(deployment=stated, namespace=stated)
def test_whatever_is_stated_the_limits_are_replica_counts(
    deployment: dict[str, str], namespace: dict[str, str]
) -> None:
    low, high, paused, problems = limits_of(deployment, namespace, CONFIG)
    assert 1 <= low < 2**31 and 1 <= high < 2**31
    assert paused or low <= high or problems
    assert all("\n" not in problem for problem in problems)
