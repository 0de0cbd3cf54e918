"""What `check` found as one page that opens offline: the report, and rows to browse, coloured by mask and by loss.

In come the report as a mapping and the rows that are shown; out comes one HTML file. All text of a row is escaped or
written by the page's script as text, and the content-security policy lets nothing else run and loads nothing.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.errors import ConfigError, DiskFull
from chatwright.evals import check_parts, check_shapes
from chatwright.evals.check_rows import PageRow, as_json

ROWS = 10  # of a table, before the rest is folded
Scale = Mapping[str, float]  # a colour each for what is at least so likely, and one more for what is less
USUAL: Scale = {"50 %": 0.5, "20 %": 0.2, "5 %": 0.05, "1 %": 0.01, "0.1 %": 1e-3, "0.01 %": 1e-4}
# For a model that expects little of the data, which would be all of one colour otherwise.
LONG: Scale = {"50 %": 0.5, "5 %": 0.05, "0.1 %": 1e-3, "10⁻⁵": 1e-5, "10⁻⁷": 1e-7, "10⁻⁹": 1e-9}
LONG_FROM = 0.25  # of the learned tokens beyond the usual scale


@dataclass(frozen=True)
class About:
    """What the page says of the data, and of the model that scored the rows ("" where none did).

    `names` spells the ids that the model found likeliest; `vocabulary` is how many it chose from.
    """

    data: str
    model: str = ""
    vocabulary: int = 0
    names: Mapping[int, str] = field(default_factory=dict)


def write(path: Path, report: Mapping[str, Any], rows: Sequence[PageRow], about: About) -> Path:
    """Writes the page whole or not at all, and its folder where there is none.

    Raises DiskFull, and ConfigError where the system lets nobody write there.
    """
    page = html(report, rows, about)
    try:
        disk.write(path, page)
    except DiskFull:
        raise
    except OSError as error:
        raise ConfigError(f"--html {str(path)[:120]} cannot be written ({error.strerror}); give another path") from None
    return path


def html(report: Mapping[str, Any], rows: Sequence[PageRow], about: About) -> str:
    """The page, with its styles, its script and the rows inside."""
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("chatwright.evals")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("check.css", "check.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_cleaned, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["sha256"] = _sha256
    template = environment.from_string(folder.joinpath("check.html.jinja").read_text(encoding="utf-8"))
    unit, scale = str(report.get("unit", "tokens")), _scale(rows)
    return template.render(
        title=f"{about.data}: what a model would learn",
        name=about.data,
        lead=_lead(report, unit),
        tiles=check_parts.tiles(report),
        parts=check_parts.parts(report),
        most=ROWS,
        rows=len(rows),
        unit=unit,
        model=about.model,
        scale=[{"odds": odds, "nats": f"{-math.log(share):.1f}"} for odds, share in scale.items()],
        long=scale is LONG,
        beyond=any(row.losses is not None and not row.losses.ranks[1:].all() for row in rows),
        spread=check_shapes.chart([row.mean for row in rows if row.mean is not None], "nats"),
        cut=sum(1 for row in rows if row.note),
        chosen=_chosen(report, rows),
        style=Markup(style),
        script=Markup(script),
        data=Markup(_data(rows, about, unit, scale)),
    )


def _data(rows: Sequence[PageRow], about: About, unit: str, scale: Scale) -> str:
    """The rows as JSON that cannot end the element it stands in: ASCII alone, and none of the signs of markup."""
    found = {
        "unit": unit,
        "vocabulary": about.vocabulary,
        "levels": [-math.log(share) for share in scale.values()],
        "names": {str(number): name for number, name in about.names.items()},
        "rows": [as_json(row) for row in rows],
    }
    text = json.dumps(found, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _lead(report: Mapping[str, Any], unit: str) -> str:
    """How the data were read, in a sentence or two."""
    kinds = " and ".join(f"{count:,} {kind.lower()}s" for kind, count in report.get("kinds", {}).items())
    read = f"Read as {report['format']}. " if report.get("format") else ""
    window = f" Conversations are cut at {report['seq_len']:,} {unit}." if report.get("seq_len") else ""
    return f"{read}{kinds[:1].upper()}{kinds[1:]}.{window}" if kinds else read.strip()


def _chosen(report: Mapping[str, Any], rows: Sequence[PageRow]) -> str:
    """How the rows that are shown were chosen."""
    places = len({row.place for row in rows})
    kept = int(report.get("kept", places))
    if places >= kept:
        return "All rows that can be used are here."
    return f"{places:,} of {kept:,} rows are here: each had the same chance, and the first that were cut came on top."


def _scale(rows: Sequence[PageRow]) -> Scale:
    nats = [one for row in rows for one in row.learned_nats]
    beyond = sum(1 for one in nats if one > -math.log(min(USUAL.values())))
    return LONG if beyond > LONG_FROM * len(nats) else USUAL


def _sha256(text: str) -> str:
    """As a content-security policy names an inline element."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _cleaned(value: Any) -> Any:
    """Control characters have no place in a page; what is escaped already stays so."""
    return type(value)(console.clean(value)) if isinstance(value, str) else value
