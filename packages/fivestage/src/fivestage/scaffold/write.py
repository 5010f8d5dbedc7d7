"""Write the files of `problem/` from a draft."""

import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fivestage.common.database import redacted
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.contract.contract import load_contract
from fivestage.data.cleaning import EPOCH_UNITS, text
from fivestage.data.source import local_path
from fivestage.data.tables import HAPPENED
from fivestage.reporting.number_format import plural
from fivestage.scaffold.column_profiles import ALSO, ColumnProfile, currency_of, names_of
from fivestage.scaffold.draft import ROW, SIMULATED_TIME, Draft
from fivestage.scaffold.fields import (
    Fields,
    as_yaml,
    decision_time_fields,
    fields_of,
    key_fields,
    label_fields,
    row_fields,
    time_fields,
)
from fivestage.scaffold.gates_plan import FEW_LABELS, INTERVAL, min_label_share, plan_limits
from fivestage.scaffold.sniffing import IMPORTS
from fivestage.scaffold.target import Target

TEMPLATES = Path(__file__).with_name("templates")
CONTRACT, DATASET, FEATURES = "problem.yaml", "dataset.py", "features.py"
CANDIDATES = "candidates.py"
SLICES = 2
SLICE_LEVELS = 20
HISTORY = (4, 12)  # lengths of an entity's history windows, in monitoring periods
MISS = 100  # cost of an error: a miss, a wrong class, or a number one standard deviation off
ACT = (1, 95)  # range of the cost of acting, for this cost of a miss
UNDER = 2  # cost ratio of a number too low to one too high
EXACT = 1_000_000  # approximate maximum of the whole numbers that histories sum
LONGEST_NAME = 40  # characters, Grafana's limit
TITLES = {
    "binary": "Will “{}” be {}?",
    "multiclass": "Which “{}” will it be?",
    "regression": "How much will “{}” be?",
}


def write_problem(found: Draft, folder: Path) -> None:
    """Write contract, dataset, features and candidates into a folder, all or none of them."""
    content = _content(found)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (no HTML)
    )
    environment.globals |= {"q": as_yaml, "py": repr, "plural": plural}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for file in (CONTRACT, DATASET, FEATURES, CANDIDATES):
            made = environment.get_template(f"{file}.j2").render(content)
            if file == CONTRACT:  # no empty lines within a block, and at most one in a row
                made = re.sub(r"\n{3,}", "\n\n", re.sub(r"\n{2,}(?= )", "\n", made))
            (scratch / file).write_text(made, encoding="utf-8")
        load_contract(scratch / CONTRACT)
        _format([scratch / file for file in (DATASET, FEATURES, CANDIDATES)])
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "__init__.py").exists():
            (folder / "__init__.py").write_text('"""Stage 1: the problem."""\n', encoding="utf-8")
        for file in (CONTRACT, DATASET, FEATURES, CANDIDATES):
            shutil.copyfile(scratch / file, folder / file)


def _format(modules: Sequence[Path]) -> None:
    """Sort imports, remove unused ones, and format the code as `make check` requires."""
    style = ("--config", "line-length=110", "--config", "lint.isort.known-first-party=['fivestage']")
    for verb in (("check", "--fix", "--select=I,F401"), ("format",)):
        ruff = [sys.executable, "-m", "ruff", *verb, "--quiet", *style, *map(str, modules)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
        if done.returncode:
            why = (done.stderr or done.stdout).strip()
            raise UserError(
                f"ruff, which formats the files of problem/, failed: {why}. Nothing was written: "
                "install ruff with `make setup`, then run `make init` again."
            )


def _content(found: Draft) -> Fields:
    """Return the variables of the templates."""
    target, windows, options, seasons = found.target, found.windows, found.options, found.seasons
    columns = _columns(found)
    days = [many * windows.period_days for many in HISTORY]
    history = max(days) if found.keys else 0
    kinds_of = {"binary": ("rate", "count"), "regression": ("mean", "count")}
    kinds = kinds_of.get(target.task, (*(f"rate_{place}" for place in range(len(target.classes))), "count"))
    more = {
        "data": _within_project(options.data),
        "imports": IMPORTS,
        "source": redacted(_within_project(options.data)),
        "name": _name(found),
        "title": TITLES[target.task].format(target.header, *target.classes[-1:]),
        "prices": _prices(target),
        "interval": INTERVAL,
        "currency": found.currency,
        "unit": currency_of(found.table[target.header]),
        "time": found.time,
        "known": _known_words(found),
        "identity": found.identity,
        "columns": columns,
        "keys": [key.name for key in found.keys],
        "outcome": _outcome(found, {str(column["name"]): column["fields"] for column in columns}),
        "slices": _slices(found),
        "largest_slice": _largest_slice(found),
        "limits": plan_limits(target, windows, found.period_rows, found.reached, seasons),
        "seasons": seasons,
        "known_share": found.known_share,
        "few_labels": found.known_share < FEW_LABELS,
        "label_share": f"{min_label_share(found.known_share):.2g}",
        "unwatched": [
            *found.trending,
            *(f"{key.name}_{many}d_{kind}" for key in found.keys for many in days for kind in kinds),
        ],
        "plain": [one.name for one in found.features if one.kind in ("number", "integer", "category")],
        "texts": [one.name for one in found.features if one.kind == "text"],
        "times": [one.name for one in found.features if one.kind == "timestamp"],
        "calendar": not windows.simulated,
        "history_days": days,
        "lookback_days": f"({history} + {windows.holdout_days})" if history else windows.holdout_days,
        "dataset": _dataset(found),
    }
    return vars(found) | more


def _within_project(data: str) -> str:
    """The path of a table in the project, relative to it; any other path or address as it is."""
    place = local_path(data)
    inside = place is not None and place.resolve().is_relative_to(ROOT)
    return place.resolve().relative_to(ROOT).as_posix() if place and inside else data


def _prices(target: Target) -> Fields:
    """Return costs for which no constant decision is cheaper than another."""
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
    """Return the problem's name, made from the table and the target."""
    table = re.split(r"[/:#]", found.options.data.rstrip("/"))[-1].split(".")[0]
    words = [*names_of([table]).values(), found.label] if re.fullmatch(r"[\w -]+", table) else [found.label]
    return "-".join(words).replace("_", "-")[:LONGEST_NAME].rstrip("-")


def _short(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.2g}")


def _scale(target: Target) -> float:
    """Return the factor that scales numbers to whole ones for exact sums."""
    return 10.0 ** math.floor(math.log10(EXACT / max(abs(target.low), abs(target.high))))


def _columns(found: Draft) -> list[Fields]:
    """Return the contract's columns: identifier, decision time, entities and features."""
    one, served = found.identifier, datetime.combine(found.windows.test_start, time(), UTC)
    made: list[Fields] = []
    if one is None:
        made.append({"name": ROW, "note": "the table has no identifier", "fields": row_fields()})
    else:
        made.append({"name": one.name, "note": "identifies rows, not a feature", "fields": key_fields(one)})
    if found.time == SIMULATED_TIME:
        fields = decision_time_fields(served)
        made.append({"name": found.time, "note": "simulated, not in the table", "fields": fields})
    else:
        fields = time_fields(found.found[found.options.time]) | {"example": served}
        made.append({"name": found.time, "note": "", "fields": fields})
    made.extend(
        {"name": key.name, "note": "its history is looked up", "fields": key_fields(key)}
        for key in found.keys
    )
    for column in found.features:
        notes = [
            f"missing in {column.missing:.1%}" if column.missing else "",
            f"{plural(column.unreadable, 'value')} not readable" if column.unreadable else "",
            f"{column.sentinel:g} is read as missing" if column.sentinel is not None else "",
            _seen(column) if column.kind in ("number", "integer") else "",
            "only its length is a feature" if column.kind == "text" else "",
            plural(column.distinct, "value") if column.kind == "category" and not column.levels else "",
        ]
        note = "; ".join(note for note in notes if note)
        fields = fields_of(column, grows=column.name in found.trending)
        made.append({"name": column.name, "note": note, "fields": fields})
    return made


def _seen(column: ColumnProfile) -> str:
    return f"seen from {as_yaml(column.low)} to {as_yaml(column.high)}"


def _outcome(found: Draft, fields: Mapping[str, Fields]) -> dict[str, Fields]:
    """Return the columns of the outcome event."""
    outcome = {name: fields[name] for name in (found.identity, *(key.name for key in found.keys))}
    happened = fields[found.time] | {"about": "when that was known"}
    return outcome | {found.label: label_fields(found.target), HAPPENED: happened}


def _dataset(found: Draft) -> Fields:
    """Return the code parts of `problem/dataset.py`: reading the table, its columns, target and times."""
    options, windows, names = found.options, found.windows, found.found
    read = [*([found.identifier] if found.identifier else []), *found.keys, *found.features]
    if not windows.simulated:
        read.append(names[options.time])
    also = [names[header] for header in (options.time, options.group, options.known) if header]
    used = {one.header: one.name for one in (*read, *also)} | {found.target.header: found.label}
    # An unused column keeps its header, unless another column now has that name.
    more = {one.header: one.name for one in names.values() if one.header in used.values()}
    in_order = [header for header in found.table.columns if header in used or header in more]
    plain = {one.name: _kind(one, found) for one in read}
    known = names[options.known] if _known(found) else None
    decided = f'rows["{found.time}"]'
    code = {name: code for name, code in plain.items() if code not in ("text", "number")}
    known_at = f"{_times(known, known=True)}.fillna({decided} + 3600)" if known else f"{decided} + 3600"
    simulated = _simulated(found)
    zoned = any("zone=ZONE" in one for one in (*code.values(), known_at, simulated))
    return {
        "headers": {one: name for one in in_order if (name := (used | more)[one]) != one},
        "texts": [name for name, kind in plain.items() if kind == "text"],
        "numbers": [name for name, kind in plain.items() if kind == "number"],
        "read": code,
        "zone": (options.zone or "UTC") if zoned else "",
        "label": found.target.code(f'table["{found.label}"]'),
        "row": "" if found.identifier else ROW,
        "simulated": simulated,
        "known": known_at,
        "in_parts": found.identifier is not None and not windows.simulated,
    }


def _kind(column: ColumnProfile, found: Draft) -> str:
    """Return how a column is read: `text`, `number`, or its own code."""
    if column.kind == "timestamp" and column not in found.keys:
        return _times(column)
    if column.kind in ("category", "text", "timestamp"):
        return "text"
    if column.decimal == "." and column.sentinel is None:
        return "number"
    decimal = "" if column.decimal == "." else f", {column.decimal!r}"
    code = f'number(table["{column.name}"]{decimal})'
    return code if column.sentinel is None else f'{code}.replace({column.sentinel:g}, float("nan"))'


def _times(column: ColumnProfile, *, known: bool = False) -> str:
    forms = "".join(f", {form!r}" for form in column.written.split(ALSO) if form not in ("", "ISO8601"))
    if ALSO in column.written and "ISO8601" in column.written:
        forms = "".join(f", {form!r}" for form in column.written.split(ALSO))
    zone = ", zone=ZONE" if column.zoneless or column.zone != "UTC" else ""
    zone = "" if column.written in EPOCH_UNITS else zone
    fold = ", fold=1" if known and zone else ""
    return f'timestamp(table["{column.name}"]{forms}{zone}{fold})'


def _simulated(found: Draft) -> str:
    """Return the code of simulated decision times; empty if the table has its own."""
    options, windows, names = found.options, found.windows, found.found
    if not windows.simulated:
        return ""
    more = ""
    if options.time:
        more = f", order={_times(names[options.time])}"
    elif options.group:
        more = f', groups=table["{names[options.group].name}"]'
    return f"simulated_times(label, {windows.simulated}, contract.split{more})"


def _known(found: Draft) -> str:
    """Return the header of the time at which the target became known; empty if times are simulated."""
    return "" if found.windows.simulated else found.options.known


def _known_words(found: Draft) -> str:
    known = _known(found)
    return f"at the time in the column “{known}”" if known else "an hour after the decision"


def _slices(found: Draft) -> list[str]:
    """Return the categories with few levels, the most evenly distributed first."""

    def largest(header: str) -> int:
        return int(text(found.table[header]).value_counts().iloc[0])

    few = [one for one in found.features if one.kind == "category" and one.distinct <= SLICE_LEVELS]
    return [one.name for one in sorted(few, key=lambda one: largest(one.header))[:SLICES]]


def _largest_slice(found: Draft) -> int:
    """About how many rows of the holdout the largest slice has."""
    slices = [one.header for one in found.features if one.name in _slices(found)]
    shares = [float(text(found.table[header]).value_counts(normalize=True).iloc[0]) for header in slices]
    return round(found.windows.holdout_rows * max(shares, default=0.0))
