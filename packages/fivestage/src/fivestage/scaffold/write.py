"""The files of `problem/`, written from a draft."""

import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fivestage.common.database import named
from fivestage.contract.contract import load_contract
from fivestage.data.tables import HAPPENED, text
from fivestage.scaffold.column_profiles import names_of
from fivestage.scaffold.draft import ROW, SIMULATED_TIME, Draft
from fivestage.scaffold.fields import (
    POSITIONAL,
    bare_moment,
    fields_of,
    key_fields,
    label_fields,
    plain,
    quoted,
    row_fields,
)
from fivestage.scaffold.gates_plan import INTERVAL, plan_limits
from fivestage.scaffold.target import Target

TEMPLATES = Path(__file__).with_name("templates")
CONTRACT, DATASET, FEATURES = "problem.yaml", "dataset.py", "features.py"
CANDIDATES = "candidates.py"
SLICES = 2
SLICE_LEVELS = 20
HISTORY = (4, 12)  # periods that the windows of an entity's history hold
MISS = 100  # what an error costs: a miss, a wrong class, a number that is a standard deviation off
ACT = (1, 95)  # between which the price of acting lies, where a miss costs as much
UNDER = 2  # times as much as a number too high costs one that is too low
EXACT = 1_000_000  # about the largest whole number that a history adds up
LONGEST_NAME = 40  # characters, as Grafana has it
TITLES = {
    "binary": "Will “{}” be {}?",
    "multiclass": "Which “{}” will it be?",
    "regression": "How much will “{}” be?",
}

Fields = dict[str, Any]


def write_problem(found: Draft, folder: Path) -> None:
    """Write contract, dataset, features and candidates into a folder, all or none.

    Raises:
        UserError: when the contract is not a legal one.
    """
    content = _content(found)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (no HTML)
    )
    environment.globals |= {"q": quoted, "py": repr, "limit": _limit}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for file in (CONTRACT, DATASET, FEATURES, CANDIDATES):
            made = environment.get_template(f"{file}.j2").render(content)
            lines = _without_gaps(made.split("\n")) if file == CONTRACT else made.split("\n")
            (scratch / file).write_text("\n".join(lines), encoding="utf-8")
        load_contract(scratch / CONTRACT)
        modules = [str(scratch / file) for file in (DATASET, FEATURES, CANDIDATES)]
        ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "--config", "line-length=110", *modules]
        subprocess.run(ruff, check=False)  # noqa: S603 (fixed words)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "__init__.py").exists():
            (folder / "__init__.py").write_text('"""Stage 1: the problem."""\n', encoding="utf-8")
        for file in (CONTRACT, DATASET, FEATURES, CANDIDATES):
            shutil.copyfile(scratch / file, folder / file)


def _content(found: Draft) -> Fields:
    """What the templates ask for."""
    target, windows, wishes, seasons = found.target, found.windows, found.wishes, found.seasons
    columns = _columns(found)
    days = [many * windows.period_days for many in HISTORY]
    history = max(days) if found.keys else 0
    told = {"binary": ("rate", "count"), "regression": ("mean", "count")}
    kinds = told.get(target.task, (*(f"rate_{place}" for place in range(len(target.classes))), "count"))
    return {
        "rows": f"{len(found.table):,}",
        "source": named(wishes.data),
        "data": wishes.data,
        "name": _name(found),
        "title": TITLES[target.task].format(target.header, *target.classes[-1:]),
        "target": target,
        "prices": _prices(target),
        "interval": INTERVAL,
        "label": found.label,
        "time": found.time,
        "known": f"the column {_known(found)}" if _known(found) else "an hour after the decision",
        "windows": windows,
        "identity": found.identity,
        "columns": columns,
        "keys": [key.name for key in found.keys],
        "outcome": _outcome(found, {str(column["name"]): column["fields"] for column in columns}),
        "slices": _slices(found),
        "limits": plan_limits(target, windows, found.period_rows, found.reached, seasons),
        "seasons": f"{seasons.mean:.0%}" if target.classes else f"{seasons.mean:.2g}",
        "held": f"{seasons.held:.1%}",
        "reached": found.reached,
        "left_out": found.left_out,
        "unwatched": [
            *found.trending,
            *(f"{key.name}_{many}d_{kind}" for key in found.keys for many in days for kind in kinds),
        ],
        "plain": [one.name for one in found.features if one.kind in ("number", "integer", "category")],
        "texts": [one.name for one in found.features if one.kind == "text"],
        "moments": [one.name for one in found.features if one.kind == "moment"],
        "calendar": not windows.simulated,
        "history_days": days,
        "reach_hours": (history + windows.contest_days) * 24,
        "headers": _headers(found),
        "options": _options(found),
    }


def _prices(target: Target) -> Fields:
    """Prices of errors by which no decision that is always the same is cheaper than another."""
    if target.task == "binary":
        return {"act": _short(max(ACT[0], min(ACT[1], MISS * target.shares[-1]))), "miss": MISS}
    if target.task == "regression":
        over, under = (_short(times * MISS / UNDER / target.spread) for times in (1, UNDER))
        return {"over": over, "under": under, "scale": _scale(target)}
    even = MISS / len(target.classes)
    missed = {one: _short(even / share) for one, share in zip(target.classes, target.shares, strict=True)}
    actions = names_of(target.classes, prefix="class").items()
    return {"actions": {name: missed | {right: 0} for right, name in actions}}


def _name(found: Draft) -> str:
    """The project's name for it: of the table, then of the target."""
    table = re.split(r"[/:#]", found.wishes.data.rstrip("/"))[-1].split(".")[0]
    words = [*names_of([table]).values(), found.label] if re.fullmatch(r"[\w -]+", table) else [found.label]
    return "-".join(words).replace("_", "-")[:LONGEST_NAME].rstrip("-")


def _short(value: float) -> int | str:
    """Two digits, as YAML reads them."""
    return plain(float(f"{value:.2g}"), whole=False)


def _limit(value: float) -> float | int | str:
    """A limit of two digits; what is very small, as YAML reads it."""
    return value if value >= POSITIONAL[0] else plain(value, whole=False)


def _scale(target: Target) -> float:
    """What numbers are multiplied with to be added up as whole ones."""
    return 10.0 ** math.floor(math.log10(EXACT / max(abs(target.low), abs(target.high))))


def _columns(found: Draft) -> list[Fields]:
    """The contract's columns: what tells rows apart, the moment of decision, entities, and the features."""
    one, windows = found.identifier, found.windows
    made: list[Fields] = []
    if one is None:
        made.append({"name": ROW, "note": "the table has no identifier", "fields": row_fields()})
    else:
        made.append({"name": one.name, "note": "tells rows apart, no feature", "fields": key_fields(one)})
    if found.time == SIMULATED_TIME:
        fields = bare_moment(windows.test_start)
        made.append({"name": found.time, "note": "made up in the table", "fields": fields})
    else:
        fields = fields_of(found.found[found.wishes.time], nullable=False)
        made.append({"name": found.time, "note": "", "fields": fields})
    made.extend(
        {"name": key.name, "note": "its history is looked up", "fields": key_fields(key)}
        for key in found.keys
    )
    for column in found.features:
        notes = [
            f"missing in {column.missing:.1%}" if column.missing else "",
            f"{column.unreadable:,} values cannot be read" if column.unreadable else "",
            f"{column.distinct:,} values" if column.kind == "category" and not column.levels else "",
        ]
        note = "; ".join(note for note in notes if note)
        made.append({"name": column.name, "note": note, "fields": fields_of(column)})
    return made


def _outcome(found: Draft, fields: Mapping[str, Fields]) -> dict[str, Fields]:
    """The columns of the event that tells what became of a row."""
    told = {name: fields[name] for name in (found.identity, *(key.name for key in found.keys))}
    happened = fields[found.time] | {"about": quoted("when that was known")}
    return told | {found.label: label_fields(found.target), HAPPENED: happened}


def _headers(found: Draft) -> dict[str, str]:
    """The table's headers by the contract's names."""
    wishes = found.wishes
    more = [found.found[header] for header in (wishes.time, wishes.group) if header]
    more += [found.identifier] if found.identifier else []
    return {one.name: one.header for one in (*more, *found.keys, *found.features)}


def _options(found: Draft) -> Fields:
    """What else the layout of the table is told."""
    wishes, windows, names = found.wishes, found.windows, found.found
    moments = {
        one.name: one.written
        for one in names.values()
        if one.kind == "moment" and one.name in _headers(found)
    }
    known = {"known": names[wishes.known].written} if _known(found) else {}
    told: Fields = {
        "positive": found.target.positive,
        "moments": {name: written for name, written in (moments | known).items() if written},
        "comma": (
            *(one.name for one in found.features if one.comma),
            *([found.label] if found.target.comma else []),
        ),
        "time": names[wishes.time].name if wishes.time and windows.simulated else "",
        "group": names[wishes.group].name if wishes.group else "",
        "row": "" if found.identifier else ROW,
        "known": _known(found),
        "simulated_days": windows.simulated,
    }
    options = {name: value for name, value in told.items() if value}
    return options if found.drop_repeated else options | {"drop_duplicates": False}


def _known(found: Draft) -> str:
    """The header of the moment at which the target was known; none where moments are made up."""
    return "" if found.windows.simulated else found.wishes.known


def _slices(found: Draft) -> list[str]:
    """Categories of few levels, those first whose shares are most even."""

    def largest(header: str) -> int:
        return int(text(found.table[header]).value_counts().iloc[0])

    few = [one for one in found.features if one.kind == "category" and one.distinct <= SLICE_LEVELS]
    return [one.name for one in sorted(few, key=lambda one: largest(one.header))[:SLICES]]


def _without_gaps(lines: Sequence[str]) -> list[str]:
    """Without empty lines inside of a block, and never two together."""
    kept: list[str] = []
    for place, line in enumerate(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        if not line and (following.startswith(" ") or not following) and place + 1 < len(lines):
            continue
        kept.append(line)
    return kept
