"""One HTML file of tables, pictures and small print, nothing fetched from anywhere: the parts that reports are made of."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gnnrl.evaluation.figures import Figure
from gnnrl.evaluation.learning import rises, smoothed_curve
from gnnrl.evaluation.statistics import Interval
from gnnrl.evaluation.theme import themed, variables
from gnnrl.training.run_folder import code_revision

__all__ = [
    "Cell",
    "bar",
    "definitions",
    "details",
    "facts",
    "figure",
    "number",
    "page",
    "percent",
    "revision",
    "section",
    "swatch",
    "table",
    "target_table",
    "training_facts",
]

Cell = tuple[str, str]
"""(HTML, class)."""


def page(title: str, subtitle: Iterable[str], body: str) -> str:
    """The whole file; `subtitle` is parts in plain text, empty ones left out."""
    under = html.escape(" - ".join(part for part in subtitle if part))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='color-scheme' content='light dark'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{html.escape(title)}</h1><p>{under}</p></header>{body}</main></body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of the page with its heading."""
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>"


def figure(drawn: str, caption: str) -> str:
    """A picture with what is to be said of it, both HTML."""
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def table(heads: Iterable[str], rows: Iterable[tuple[str, Iterable[Cell]]]) -> str:
    """A wide table; each row is its class ('' = none) and its cells."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr{f' class={kind!r}' if kind else ''}>"
        + "".join(f"<td class='{css}'>{text}</td>" for text, css in cells)
        + "</tr>"
        for kind, cells in rows
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and what is to be said of each."""
    body = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(text))}</td></tr>" for name, text in rows)
    return f"<div class='scroll'><table class='facts'>{body}</table></div>"


def details(summary: str, body: str) -> str:
    """What is shown on a click."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def definitions(meanings: Mapping[str, str]) -> str:
    """Names with what each means."""
    items = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in meanings.items())
    return f"<dl>{''.join(items)}</dl>"


def number(interval: Interval, scale: float, digits: int) -> str:
    """An estimate with its interval, times `scale`."""
    mean, _, bounds = interval.text(f",.{digits}f", scale=scale).partition(" ")
    return f"{mean} <small>{bounds}</small>" if bounds else mean


def percent(interval: Interval, *, signed: bool = False) -> str:
    """A share, or with `signed` a change, with its interval, in plain text."""
    return interval.text("+.1f" if signed else ".1f", scale=100.0, unit=" %")


def bar(value: float, most: float, colour: str) -> str:
    """How much `value` is of `most`."""
    width = 100.0 * value / most if most > 0 else 0.0
    return f"<span class='bar'><i style='width:{width:.1f}%;background:{themed(colour)}'></i></span>"


def swatch(colour: str) -> str:
    """A dot of a colour."""
    return f"<i class='dot' style='color:{themed(colour)}'></i>"


def target_table(figures: Sequence[Figure]) -> str:
    """What was to be reached, and whether it was."""
    rows = "".join(
        f"<tr><td>{html.escape(target.claim)}</td><td>{html.escape(target.target)}</td><td>{html.escape(target.measured)}</td>"
        f"<td class='{'good' if target.reached else 'bad' if target.reached is False else 'even'}'>"
        f"{'reached' if target.reached else 'missed' if target.reached is False else 'cannot be told'}</td></tr>"
        for target in figures
    )
    head = "<tr><th>what</th><th>target</th><th>measured</th><th></th></tr>"
    return f"<div class='scroll'><table class='facts'><thead>{head}</thead><tbody>{rows}</tbody></table></div>"


def training_facts(log: Sequence[Mapping[str, float]], episode_length: int) -> str:
    """How much experience it took, from a training's log: steps, episodes, when most of the improvement was there."""
    rewards = [(row["step"], row["train/reward"]) for row in log if "train/reward" in row]
    rows = [("environment steps", f"{log[-1]['step']:,.0f}")]
    rows.append(("episodes", f"{log[-1]['step'] / episode_length:,.0f}"))
    if len(rewards) > 1 and rises(np.array([reward for _, reward in rewards])):
        steps, values = smoothed_curve(rewards)
        reached = steps[int(np.argmax(values >= values[0] + 0.95 * (values.max() - values[0])))]
        rows.append(("95 % of the improvement after", f"{reached:,.0f} steps"))
    speeds = [row["train/steps_per_second"] for row in log if "train/steps_per_second" in row]
    if speeds:
        rows.append(("environment steps a second, median", f"{np.median(speeds):,.0f}"))
    return facts(rows)


def revision() -> str:
    """The code that this is of, on a click."""
    return details("Revision", f"<pre>{html.escape(json.dumps(code_revision(), indent=2))}</pre>")


LIGHT = (
    "--ink:#1f2937;--soft:#5b6472;--line:#e5e7eb;--faint:#f3f4f6;--paper:#fff;--wash:#f8fafc;--accent:#2563eb;"
    "--good:#15803d;--bad:#b91c1c;--mine:#eff6ff;--beside:#f5f3ff;--won:#dcfce7"
)
NIGHT = (
    "--ink:#e5e7eb;--soft:#9ca3af;--line:#333c4b;--faint:#242c39;--paper:#161b24;--wash:#0e1218;--accent:#7db4fb;"
    "--good:#4ade80;--bad:#f87171;--mine:#1a2b4a;--beside:#2a2346;--won:#14432a"
)
STYLE = (
    f":root{{{LIGHT};{variables(dark=False)}}}"
    f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{NIGHT};{variables(dark=True)}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 80px}
header h1{margin:0;font-size:28px;letter-spacing:-.01em}
header p{margin:4px 0 0;color:var(--soft)}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:20px 24px;margin-top:20px}
h2{margin:0 0 12px;font-size:19px}
h3{margin:18px 0 6px;font-size:15px}
h3 small,td small,.big small{color:var(--soft);font-weight:400}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px}
.card{border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card h3{margin:0 0 4px;color:var(--soft);font-weight:600}
.card p{margin:4px 0;font-size:13px}
.card .big{font-size:30px;font-weight:700;line-height:1.15;margin:2px 0}
.big small{font-size:13px}
.good{color:var(--good)}.bad{color:var(--bad)}.even{color:var(--ink)}
.card .none{color:var(--soft);font-size:20px;font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th{text-align:right;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line);padding:5px
8px;vertical-align:bottom} td{text-align:right;padding:5px 7px;border-bottom:1px solid var(--faint);white-space:nowrap}
th:first-child,td.name{text-align:left}
td.why{white-space:normal}
td.name .win{display:block;width:fit-content;margin:2px 0 0 16px}
td.wide{min-width:120px}
td.over{color:var(--bad)}
tr.mine td{background:var(--mine);font-weight:600}
tr.mine td small{font-weight:400}
td.name{position:sticky;left:0;background:var(--paper)}
tr.bound td{color:var(--soft)}
tr.beside td{background:var(--beside)}
td.stack small{display:block}
td.good small,td.bad small{color:inherit}
.win{font-size:11px;font-weight:600;color:var(--good);background:var(--won);border-radius:99px;padding:1px 8px;margin-left:6px}
.dot,.ring{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:7px;background:currentColor}
.ring{background:none;border:2px solid}
.line{display:inline-block;width:18px;height:0;margin-right:6px;vertical-align:middle}
.legend{display:flex;flex-wrap:wrap;gap:3px 16px;font-size:12.5px;margin-bottom:8px}
.legend span{white-space:nowrap}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(max(300px,100%/var(--columns) - 12px),1fr));gap:12px}
.chip{font-weight:600}
.bar{display:block;height:4px;border-radius:2px;background:var(--faint);margin:0 0 2px}
.bar i{display:block;height:4px;border-radius:2px}
figure{margin:0}
figure svg{width:100%;height:auto;display:block;min-width:0}
figcaption,.said{color:var(--soft);font-size:13px;margin-top:8px}
.facts th,.facts td{text-align:left;white-space:normal;vertical-align:top}
.facts thead th{color:var(--soft)}
.facts tbody th{width:240px;border-bottom:1px solid var(--faint)}
details{margin-top:10px}
summary{cursor:pointer;color:var(--accent);font-size:13px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:13px}
dt{font-weight:600}dd{margin:0}
pre{background:var(--wash);border-radius:8px;padding:12px;font-size:12px;overflow-x:auto}
@media (max-width:640px){main{padding:14px 8px 40px}section{padding:14px 12px;border-radius:9px}header h1{font-size:22px}
.panels{grid-template-columns:1fr}.facts tbody th{width:auto;min-width:110px}dl{grid-template-columns:1fr}dd{margin:0 0 6px}}
@media print{body{background:#fff}section{break-inside:avoid;border:none;padding:0}}
"""
)
