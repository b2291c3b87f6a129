"""The report of a comparison while it is put together: the parts that it has in every domain, the page, and the pictures as files."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gnnrl.config.experiment import Experiment
from gnnrl.config.loader import dump_config
from gnnrl.evaluation.canvas import Picture
from gnnrl.evaluation.figures import Figure
from gnnrl.evaluation.learning import learning_curve, read_training_log
from gnnrl.evaluation.page import (
    definitions,
    details,
    facts,
    figure,
    page,
    revision,
    section,
    target_table,
    training_facts,
)
from gnnrl.training.run_folder import code_revision
from gnnrl.whole_file import write_text

__all__ = ["Report"]


class Report:
    """One HTML file, section by section.

    Args:
        config: the experiment that was compared.
        compared: what was, after the experiment's name in the title.
        streams: what it was compared on, in a few words.
        label: what was evaluated, e.g. the run's folder; '' = nothing to say.
    """

    def __init__(self, config: Experiment, compared: str, streams: str, label: str) -> None:
        self._config = config
        self._title = f"{config.name}: {compared}"
        self._subtitle = (
            streams,
            f"evaluated: {label}" if label else "",
            f"revision {str(code_revision()['revision'] or 'unknown')[:10]}",
        )
        self._sections: list[str] = []
        self._pictures: dict[str, Picture] = {}

    def add(self, heading: str, *parts: str) -> None:
        """A section of HTML parts."""
        self._sections.append(section(heading, "".join(parts)))

    def picture(self, name: str, picture: Picture, caption: str) -> str:
        """The HTML of a picture, which is kept under its name for `write_pictures`; `caption` is HTML."""
        self._pictures[name] = picture
        return figure(picture.html(), caption)

    def add_targets(self, figures: Sequence[Figure], remark: str = "") -> None:
        """What was to be reached, if there is anything; `remark` is HTML."""
        if figures:
            self.add("Figures to reach", target_table(figures), remark)

    def add_learning(
        self,
        run: Path | None,
        wanted: Mapping[str, str],
        episode_length: int,
        bounds: Mapping[str, float] | None = None,
        caption: str = "Logged while training, and smoothed.",
    ) -> None:
        """The learning curve of a run's folder, where it has one.

        Args:
            run: the folder; None = there is none.
            wanted: scalars, and what each is called.
            episode_length: environment steps of an episode.
            bounds: the best that a scalar can be.
            caption: HTML.
        """
        log = read_training_log(run) if run is not None else []
        curve = learning_curve(log, wanted, bounds)
        if curve is not None:
            self.add("Learning", self.picture("learning", curve, caption), training_facts(log, episode_length))

    def add_small_print(self, rows: Iterable[tuple[str, object]], metrics: Mapping[str, str], *more: str) -> None:
        """What must be said, what is measured, configuration and revision.

        Args:
            rows: names, and what is to be said of each.
            metrics: names, and what each means.
            more: further HTML, before what is measured.
        """
        self.add(
            "Small print",
            facts(rows),
            *more,
            details("What is measured", definitions(metrics)),
            details("Configuration", f"<pre>{html.escape(dump_config(self._config))}</pre>"),
            revision(),
        )

    def html(self) -> str:
        """The whole file."""
        return page(self._title, self._subtitle, "".join(self._sections))

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        write_text(path, self.html())

    def write_pictures(self, folder: Path) -> list[Path]:
        """Writes each picture as `NAME.png`, and gives their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{name}.png" for name in self._pictures]
        for path, picture in zip(paths, self._pictures.values(), strict=True):
            picture.write_png(path)
        return paths
