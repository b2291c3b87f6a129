"""What the user of a live loop gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gnnrl.cluster.actuator import WriteMode
from gnnrl.config.live import LiveConfig
from gnnrl.pretrained import is_policy

__all__ = ["LiveOptions", "LiveSetupError"]


class LiveSetupError(Exception):
    """What was given does not add up to a loop; one line a problem, each with its remedy."""


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """What the user gave."""

    config: LiveConfig
    namespace: str
    run: Path | None = None
    """A trained run; None = `policy` names who decides."""
    policy: str = ""
    """A pretrained policy, by name or file, or a baseline."""
    mode: WriteMode = "live"
    kiali_url: str | None = None
    prometheus_url: str | None = None
    """Instead of Kiali, where there is none."""
    token_file: Path | None = None
    """Token for Kiali or Prometheus."""
    ca_file: Path | None = None
    verify: bool = True
    kubeconfig: Path | None = None
    context: str | None = None
    for_keda: bool = False
    """KEDA writes: a Deployment that its HPA scales is decided on all the same."""
    leader_elect: bool = False
    identity: str = "gnnrl"

    @property
    def learned(self) -> bool:
        """Whether a trained policy decides, and no baseline."""
        return self.run is not None or is_policy(self.policy)
