"""The parts of a model card that are not typed by hand: what the policy is, and the ranges that it was trained on.

A card is Markdown beside the weights. A part stands between `<!-- NAME -->` and `<!-- /NAME -->`, and is replaced whenever the weights are
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.trained_ranges import trained_on
from gnnrl.text_file import read_text
from gnnrl.training.pretrained_policy import PretrainedPolicy
from gnnrl.whole_file import write_text

__all__ = ["card_of", "fill_card", "filled", "parts_of"]


def card_of(weights: Path) -> Path:
    """Where the card of a policy's file stands."""
    return weights.with_suffix(".md")


def parts_of(policy: PretrainedPolicy) -> Mapping[str, str]:
    """Name -> Markdown of each part."""
    return {"facts": _facts(policy), "ranges": _ranges(policy.config.environment)}


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A card with its parts replaced.

    Raises:
        ValueError: it has no place for one of them.
    """
    for name, part in parts.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not mark or not end:
            raise ValueError(
                f"has no place <!-- {name} --> ... <!-- /{name} --> for what is not typed by hand; add one"
            )
        text = f"{before}{mark}{part}{end}{after}"
    return text


def fill_card(policy: PretrainedPolicy, weights: Path) -> Path | None:
    """Bring the card beside a file of weights up to date.

    Returns:
        Its path; None where there is no card.

    Raises:
        ValueError: it has no place for one of the parts.
    """
    card = card_of(weights)
    if not card.is_file():
        return None
    try:
        write_text(card, filled(read_text(card), parts_of(policy)))
    except ValueError as error:
        raise ValueError(f"{card}: {error}") from None
    return card


def _facts(policy: PretrainedPolicy) -> str:
    encoder, environment = policy.config.encoder, policy.config.environment
    rows = {
        "weights": f"{policy.weights:,}, float32",
        "network": f"{encoder.kind}, hidden {encoder.hidden}",
        "observation": f"node columns `{environment.node_columns}`, telemetry `{environment.telemetry}`"
        + (f", means over {environment.graph_window_seconds} s" if environment.telemetry == "kiali" else ""),
        "decides": f"every {environment.decision_seconds} s",
        "training": f"{policy.steps:,} decisions, seed {policy.config.seed}",
        "code": f"`{str(policy.revision.get('revision') or 'unknown')[:12]}`",
    }
    return _table(("", ""), rows)


def _ranges(environment: AutoscalingConfig) -> str:
    rows = {what: str(found) for what, found in trained_on(environment).items()}
    churn = [
        f"{name.removesuffix('_per_hour').replace('_', ' ')} {rate:g}"
        for name, rate in vars(environment.churn).items()
        if name.endswith("_per_hour") and rate
    ]
    drawn = [
        f"{name.removesuffix('_factor').replace('_', ' ')} x {factor[0]:g} to {factor[1]:g}"
        for name, factor in vars(environment.randomisation).items()
        if name.endswith("_factor") and isinstance(factor, tuple)
    ]
    rows |= {
        "meshes": ", ".join(f"`{source}`" for source in environment.mesh),
        "loads": ", ".join(f"`{name}`" for name in environment.workloads),
        "drawn for each episode": ", ".join(drawn),
        "topology changes an hour": ", ".join(churn) or "none",
    }
    return _table(("trained on", "range"), rows)


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]
    return "\n".join(lines) + "\n"
