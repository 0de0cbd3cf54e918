"""The report of a run, a comparison or a whole road: one page that opens offline, the same as JSON, and plain samples.

In comes a `Report`, out comes the folder `report/`. All text that a model or a user wrote is escaped, and the page runs
no script and loads nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.evals import panel_plots, plots, tables
from chatwright.evals.compare import Comparison
from chatwright.evals.proofs import Proof
from chatwright.evals.results import FINISHES, Report, Sheet, Stage, as_json, samples, samples_text
from chatwright.evals.tables import loss_table, sheet_table, terminal_table

__all__ = ["Report", "Sheet", "Stage", "html", "loss_table", "of_comparison", "show", "terminal_table", "write"]

CAPTIONS = {"Loss": plots.LOSS, "Token accuracy": plots.ACCURACY}


def write(folder: Path, report: Report) -> Path:
    """`index.html` (the path that is returned), `report.json`, `samples.txt`, and the plots where a stage has curves.

    Each file is written whole or not at all, the page last. Raises DiskFull.
    """
    curves = _curves(report)
    if curves:
        plots.write(folder, curves)
        panel_plots.write(folder, curves)
    disk.write_json(folder / "report.json", as_json(report))
    disk.write(folder / "samples.txt", samples_text(report))
    disk.write(folder / "index.html", html(report))
    return folder / "index.html"


def of_comparison(
    comparison: Comparison,
    *,
    title: str,
    machine: Mapping[str, str],
    proofs: Sequence[Proof] = (),
    sheets: Sequence[Sheet] = (),
) -> Report:
    """The report of models that were compared, about whose training nothing is known."""
    stages = tuple(Stage(one.name, one) for one in comparison.evaluations)
    return Report(title, stages, comparison.examination, comparison.changes, proofs, machine, sheets=sheets)


def show(report: Report) -> None:
    """Prints the headline table, the loss table and the sheets, then each proof with its sentence."""
    from rich.text import Text

    out = console.out()
    if tables.headline(report):
        out.print(terminal_table(report))
    if any(stage.losses for stage in report.stages):
        out.print(loss_table(report))
    for sheet in report.sheets:
        out.print(sheet_table(sheet))
        out.print(console.clean(sheet.hint), style="dim", markup=False)
    for proof in report.proofs:
        colour = {"green": "green", "red": "bold red", "warning": "yellow"}.get(proof.state, "dim")
        out.print(Text.assemble((f"{proof.name}: {proof.state}. ", colour), console.clean(proof.says)))


def html(report: Report) -> str:
    """The page, with its styles and plots inside."""
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_cleaned, trim_blocks=True, lstrip_blocks=True
    )
    for show in (tables.percent, tables.number, tables.signed, tables.duration, tables.label):
        environment.filters[show.__name__] = show
    source = files("chatwright.evals").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        report=report,
        headline=tables.headline(report),
        samples=samples(report),
        splits=list(dict.fromkeys(split for stage in report.stages for split in stage.losses)),
        pictures=_pictures(report),
        settings=_settings(report),
        finishes=FINISHES,
        several=len(report.stages) > 1,
    )


def _cleaned(value: Any) -> Any:
    """Control characters have no place in a page; what is escaped already stays so."""
    return type(value)(console.clean(value)) if isinstance(value, str) else value


def _curves(report: Report) -> dict[str, Sequence[Mapping[str, Any]]]:
    return {stage.name: stage.metrics for stage in report.stages if stage.metrics}


@dataclass(frozen=True)
class _Picture:
    """A figure on light and on dark paper, as base64 of a PNG; `wide` ones fill the page."""

    caption: str
    light: str
    dark: str
    wide: bool


def _picture(caption: str, draw: Callable[[plots.Theme], bytes], wide: bool) -> _Picture:
    light, dark = (base64.b64encode(draw(theme)).decode("ascii") for theme in (plots.PAPER, plots.DARK))
    return _Picture(caption, light, dark, wide)


def _pictures(report: Report) -> list[_Picture]:
    curves = _curves(report)
    wanted = CAPTIONS if curves else {}
    found = [
        _picture(name, partial(plots.render, curves, curve, "png"), len(curves) > 1) for name, curve in wanted.items()
    ]
    if panel_plots.recorded(curves):
        found.append(_picture("Guard rails", partial(panel_plots.render, curves, "png"), wide=True))
    return found


def _settings(report: Report) -> list[tuple[str, list[Any]]]:
    """(name, one value a stage) for every setting that any stage has."""
    names = dict.fromkeys(name for stage in report.stages for name in stage.settings)
    return [(name, [stage.settings.get(name, "") for stage in report.stages]) for name in names]
