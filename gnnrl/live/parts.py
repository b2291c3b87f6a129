"""What a session is put together from: who decides, the cluster's API, the source of the graph. Each is made on its own, so that what is
wrong with one does not hide what is wrong with another."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from gnnrl.agents import PPO_GNN, CheckpointError
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.errors import ClusterError
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import LiveConfig
from gnnrl.config.loader import ConfigError
from gnnrl.live.options import LiveOptions, LiveSetupError
from gnnrl.live.policies import LivePolicyError, baseline_controller, live_environment, load_trained
from gnnrl.training.run_folder import RunError
from kiali_client import KialiClient, KialiError, PrometheusClient

__all__ = ["Decider", "Fault", "LiveParts", "as_flags"]

Part = TypeVar("Part")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 label, as the API server wants it."""
SETUP_ERRORS = (LiveSetupError, LivePolicyError, RunError, ConfigError, CheckpointError, ClusterError, KialiError)
FLAGS = {
    r"\btoken or token_file\b": "--kiali-token-file",
    r"\b(?<!-)ca_file\b": "--ca-file",
    r"\b(timeout_seconds|deadline_seconds)\b": "read_deadline_seconds",
}
"""What the client libraries call an argument, and the command line or its configuration calls otherwise."""


def as_flags(message: str) -> str:
    """An error of a client library, its remedy in the words of the command line."""
    for argument, flag in FLAGS.items():
        message = re.sub(argument, flag, message)
    return message


class Fault(NamedTuple):
    """Something that stands in the way."""

    what: str
    message: str
    """One line: what is wrong, where, and the remedy."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decider:
    """Who decides: a trained agent, or a baseline."""

    agent: PPO_GNN | None
    """None = the baseline that the options name."""
    trained: AutoscalingConfig
    """The environment it was trained in; of a baseline, the default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveParts:
    """The parts of a session; one that could not be made is None, and `faults` says why."""

    decider: Decider | None
    api: ClusterApi | None
    graph: KialiClient | PrometheusClient | None
    faults: tuple[Fault, ...]

    @classmethod
    def of(cls, options: LiveOptions, clock: Clock) -> LiveParts:
        """Make all that can be made. Files are read, nothing is sent."""
        faults: list[Fault] = []

        def made(what: str, make: Callable[[], Part]) -> Part | None:
            try:
                return make()
            except CheckpointError as error:
                faults.append(Fault(what, " ".join(str(error).split())))
            except SETUP_ERRORS as error:
                faults.extend(Fault(what, as_flags(line)) for line in str(error).splitlines())
            return None

        if not NAMESPACE.fullmatch(options.namespace):
            wrong = "is no name of a namespace (lower case letters, digits and -); correct --namespace"
            faults.append(Fault("namespace", f"{options.namespace!r} {wrong}"))
        parts = cls(
            decider=made("policy", lambda: _decider(options)),
            api=made("cluster", lambda: _api(options)),
            graph=made("graph", lambda: _graph(options, clock)),
            faults=(),
        )
        made("fallback", lambda: _check_fallback(options.config))
        return cls(decider=parts.decider, api=parts.api, graph=parts.graph, faults=tuple(faults))

    def close(self) -> None:
        """Close the connections; once is enough, twice does no harm."""
        for part in (self.api, self.graph):
            if part is not None:
                part.close()


def _decider(options: LiveOptions) -> Decider:
    if (options.run is None) == (not options.policy):
        raise LiveSetupError(
            "give either --run RUN, or --policy NAME for a pretrained policy (generalist) or a baseline"
        )
    found = load_trained(options)
    if found is not None:
        agent, experiment = found
        return Decider(agent=agent, trained=experiment.environment)
    trained = AutoscalingConfig()
    baseline_controller(options.policy, live_environment(trained, options.config, 1, 1))
    return Decider(agent=None, trained=trained)


def _check_fallback(config: LiveConfig) -> None:
    environment = live_environment(AutoscalingConfig(), config, 1, 1)
    baseline_controller(config.guardrails.fallback, environment, asked="guardrails.fallback:")


def _api(options: LiveOptions) -> ClusterApi:
    return ClusterApi.connect(
        options.kubeconfig,
        options.context,
        timeout_seconds=options.config.read_deadline_seconds,
        max_answer_bytes=options.config.max_answer_bytes,
    )


def _graph(options: LiveOptions, clock: Clock) -> KialiClient | PrometheusClient:
    if (options.kiali_url is None) == (options.prometheus_url is None):
        raise LiveSetupError("give either --kiali-url URL, or, where there is no Kiali, --prometheus-url URL")
    make: type[KialiClient] | type[PrometheusClient] = KialiClient
    if options.prometheus_url is not None:
        make = PrometheusClient
    return make(
        options.kiali_url or options.prometheus_url or "",
        token_file=options.token_file,
        ca_file=options.ca_file,
        verify=options.verify,
        cluster=options.config.cluster or None,
        timeout_seconds=options.config.read_deadline_seconds,
        max_answer_bytes=options.config.max_answer_bytes,
        now=clock.now,
    )
