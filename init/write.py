"""The files of `problem/`, written from what was found."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.contract import RESERVED, iso, load_contract
from core.errors import UserError
from core.source import named, read_table
from core.tables import HAPPENED, OUTCOME, moment, number, text
from init.inspect import Found, inspect_column, names_of
from init.leaks import reach, refuse_copies, suspects
from init.plan import Windows, plan_limits, plan_windows
from init.target import Target, find_target, require_column

TEMPLATES = Path(__file__).with_name("templates")
FILES = ("problem.yaml", "dataset.py", "features.py")
SIMULATED_TIME = "decided_at"
ROW = "row_number"
FAR = 100  # years after the last row until which moments are accepted
SLICES = 2
SLICE_LEVELS = 20
HISTORY = (4, 12)  # periods that the windows of an entity's history hold
MARGIN = 1.0  # of a number's range, beyond which a value is refused
YEAR = 365 * 86_400


@dataclass(frozen=True)
class Wishes:
    """What the user has said; headers of the table."""

    data: str
    target: str
    time: str = ""
    keys: tuple[str, ...] = ()
    group: str = ""
    known: str = ""
    task: str = ""
    positive: str = ""
    leave_out: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What was made of a table, in sentences for a person."""

    target: Target
    rows: int
    features: int
    left_out: tuple[Found, ...]
    windows: Windows
    notes: tuple[str, ...]


def write_problem(wishes: Wishes, folder: Path, name: str = "") -> Written:
    """Inspect a table and write the contract, the dataset and the features into a folder.

    Raises:
        UserError: when the table cannot work, saying why and what to do.
    """
    if not wishes.data or not wishes.target:
        raise UserError(
            "Name a table and what to predict: make init DATA=customers.csv TARGET=churned TIME=signed_up_at"
        )
    table = read_table(wishes.data)
    target = find_target(table, wishes.target, wishes.task, wishes.positive)
    wishes = _as_in(table, wishes)
    table = table[table[target.header].notna()]
    others = [str(header) for header in table if header != target.header]
    label = names_of([target.header], RESERVED)[target.header]
    names = names_of(others, (*RESERVED, label, HAPPENED, ROW, SIMULATED_TIME))
    found = [inspect_column(table[header], names[header], is_time=header == wishes.time) for header in others]
    found = [_wished(column, wishes) for column in found]
    by_header = {column.header: column for column in found}
    decided = _decided(table, by_header, wishes)
    if decided is not None:
        table, decided = table[decided.notna()], decided.dropna()
    windows = plan_windows(decided, len(table))
    order = wishes.time if windows.simulated and wishes.time else ""
    keep = {*wishes.keys, *([wishes.time] if wishes.time and not windows.simulated else [])}
    features = [
        column for column in found if not column.left_out and column.header not in {*keep, wishes.time}
    ]
    if not features:
        raise UserError(
            "No column is left to learn from: every other one is empty, constant or an identifier."
        )
    refuse_copies(table, target, features)
    evidence = suspects(table, target, features, decided)
    features, leaking = _parted(features, evidence, wishes)
    if not features:
        worst = "; ".join(f"{one.header}: {one.left_out}" for one in leaking)
        raise UserError(
            f'Every column tells the target too well ({worst}). If that is right: KEEP="{leaking[0].header}"'
        )
    reached = reach(table, target, features)
    duplicates, drop = _duplicates(table, found)
    identifier = next((column for column in found if column.identifier and not column.nullable), None)
    time = by_header[wishes.time].name if decided is not None and not windows.simulated else SIMULATED_TIME
    keys = [by_header[header] for header in wishes.keys]
    period_rows = max(1, round(len(table) * windows.period_days / max(1, _span(decided, windows))))
    columns = _columns(features, keys, identifier, time, by_header, wishes, windows)
    identity = [identifier.name] if identifier else [ROW]
    days = [max(1, many * windows.period_days) for many in HISTORY]
    reach_hours = (max(days) if keys else 0) * 24 + windows.contest_days * 24
    left_out = [column for column in found if column.left_out and column is not identifier] + leaking
    rate = _rate(table, target)
    act = float(f"{100 * min(0.95, max(0.01, target.shares[-1] if target.shares else 0.5)):.2g}")
    label_values = _label_fields(target, table)
    content: dict[str, Any] = {
        "rows": f"{len(table):,}",
        "source": named(wishes.data),
        "name": name or label.replace("_", "-"),
        "title": f"What will “{target.header}” be?"
        if target.task != "binary"
        else f"Will “{target.header}” be {target.classes[-1]}?",
        "target": target,
        "label": label,
        "time": time,
        "known": f"the column {wishes.known}" if wishes.known else "an hour after the decision",
        "windows": windows,
        "identity": identity,
        "columns": columns,
        "keys": [key.name for key in keys],
        "outcome": _outcome(identity, keys, columns, label, label_values),
        "slices": _slices(features, table, target),
        "threshold": act / 100,
        "act": f"{act:g}",
        "limits": plan_limits(target, windows, period_rows, reached),
        "reached": reached,
        "left_out": left_out,
        "unwatched": _unwatched(keys, days, target),
        "task": target.task,
        "classes": target.classes,
        "plain": [column.name for column in features if column.kind in ("number", "integer", "category")],
        "texts": [column.name for column in features if column.kind == "text"],
        "moments": [column.name for column in features if column.kind == "moment"],
        "calendar": not windows.simulated,
        "history_days": days,
        "reach_hours": reach_hours,
        "rate": rate,
        "scale": _scale(table, target),
    }
    headers = {column.name: column.header for column in (*features, *keys)}
    if identifier:
        headers[identifier.name] = identifier.header
    if time != SIMULATED_TIME:
        headers[time] = wishes.time
    options: dict[str, Any] = {}
    comma = [column.name for column in features if column.comma]
    if comma:
        options["comma"] = tuple(comma)
    if order:
        options["time"] = by_header[order].name
        headers[options["time"]] = order
    if wishes.group:
        options["group"] = names[wishes.group]
        headers[names[wishes.group]] = wishes.group
    if not identifier:
        options["row"] = ROW
    if wishes.known:
        options["known"] = wishes.known
    if windows.simulated:
        options["simulated_days"] = windows.simulated
    if not drop:
        options["drop_duplicates"] = False
    written = {
        column.name: column.written for column in found if column.kind == "moment" and column.name in headers
    }
    if wishes.known:
        written["known"] = by_header[wishes.known].written
    parts = content | {"headers": headers, "options": options}
    _write(
        folder,
        content,
        parts | {"moments": {name: how for name, how in written.items() if how}, "source": wishes.data},
    )
    load_contract(folder / FILES[0])
    return Written(
        target, len(table), len(features), tuple(left_out), windows, _notes(found, duplicates, drop=drop)
    )


def _write(folder: Path, contract: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (no HTML)
    )
    environment.globals |= {"q": quoted, "py": repr}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((FILES[0], contract), (FILES[1], dataset), (FILES[2], contract)):
        made = environment.get_template(f"{name}.j2").render(content)
        if name == FILES[0]:
            made = "\n".join(line for line in _without_gaps(made.split("\n")))
        (folder / name).write_text(made, encoding="utf-8")
    (folder / "__init__.py").write_text('"""Stage 1: the problem."""\n', encoding="utf-8")
    subprocess.run(  # noqa: S603 (our own interpreter)
        [
            sys.executable,
            "-m",
            "ruff",
            "format",
            "--quiet",
            "--line-length",
            "110",
            *(str(folder / name) for name in FILES[1:]),
        ],
        check=False,
    )


def _without_gaps(lines: Sequence[str]) -> list[str]:
    """Without empty lines inside of a block, and never two together."""
    kept: list[str] = []
    for place, line in enumerate(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        if not line and (following.startswith(" ") or not following) and place + 1 < len(lines):
            continue
        kept.append(line)
    return kept


def quoted(value: object) -> str:
    """A value as YAML, texts in quotes that no parser takes for something else."""
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or not value.isprintable())


def _as_in(table: pd.DataFrame, wishes: Wishes) -> Wishes:
    """The wishes with headers as the table spells them."""

    def spelled(header: str, what: str) -> str:
        return require_column(table, header, what) if header else ""

    return replace(
        wishes,
        target=spelled(wishes.target, "TARGET"),
        time=spelled(wishes.time, "TIME"),
        group=spelled(wishes.group, "GROUP"),
        known=spelled(wishes.known, "KNOWN"),
        keys=tuple(spelled(one, "KEYS") for one in wishes.keys),
        leave_out=tuple(spelled(one, "LEAVE_OUT") for one in wishes.leave_out),
        keep=tuple(spelled(one, "KEEP") for one in wishes.keep),
    )


def _wished(column: Found, wishes: Wishes) -> Found:
    if column.header in wishes.leave_out:
        return replace(column, left_out="LEAVE_OUT names it")
    if column.header in wishes.keys:
        kind = replace(column, kind="category", identifier=False, left_out="")
        return replace(kind, longest=max(column.longest, 32), levels=())
    if column.header in (wishes.known, wishes.group):
        return replace(
            column,
            left_out="it says when the target was known"
            if column.header == wishes.known
            else "rows are grouped by it",
        )
    if column.header in wishes.keep:
        return replace(column, left_out="", identifier=False)
    return column


def _decided(table: pd.DataFrame, columns: Mapping[str, Found], wishes: Wishes) -> pd.Series | None:
    """The moments of decision.

    Raises:
        UserError: when the time column holds none.
    """
    if not wishes.time:
        return None
    column = columns[wishes.time]
    if column.kind != "moment":
        seen = table[wishes.time].dropna().astype("str").drop_duplicates().head(3).tolist()
        raise UserError(
            f"The time column {wishes.time!r} does not parse: {', '.join(map(repr, seen))} are no moments in one of the "
            "usual forms. Write them in ISO 8601 (2025-01-31T09:30:00Z), name another column, or leave TIME out."
        )
    unreadable = column.missing
    if unreadable > 0.01:  # noqa: PLR2004
        values = table[wishes.time]
        bad = values[moment(values, column.written).isna()].astype("str").drop_duplicates().head(3).tolist()
        raise UserError(
            f"The time column {wishes.time!r} has no moment in {unreadable:.1%} of the rows (such as "
            f"{', '.join(map(repr, bad))}): mend or remove those rows, or name another column."
        )
    return moment(table[wishes.time], column.written)


def _parted(
    features: Sequence[Found], evidence: Mapping[str, str], wishes: Wishes
) -> tuple[list[Found], list[Found]]:
    leaking = [
        replace(column, left_out=f"suspected leak, {evidence[column.name]}")
        for column in features
        if column.name in evidence and column.header not in wishes.keep
    ]
    names = {column.name for column in leaking}
    return [column for column in features if column.name not in names], leaking


def _duplicates(table: pd.DataFrame, found: Sequence[Found]) -> tuple[int, bool]:
    """How many rows repeat another one whole, and whether they are to go: unless so few columns make it chance."""
    again = int(table.duplicated().sum())
    told_apart = any(
        column.kind in ("moment", "number") and column.distinct > len(table) / 4 for column in found
    )
    return again, told_apart or again <= len(table) / 5


def _span(decided: pd.Series | None, windows: Windows) -> float:
    if windows.simulated or decided is None:
        return windows.simulated
    return float(decided.max() - decided.min()) / 86_400


def _rate(table: pd.DataFrame, target: Target) -> float:
    if target.task == "regression":
        return float(number(table[target.header]).median())
    return target.shares[-1]


def _scale(table: pd.DataFrame, target: Target) -> int:
    """What makes whole numbers of outcomes without losing more than a thousandth of their spread."""
    if target.task != "regression":
        return 1
    spread = float(number(table[target.header]).std()) or 1.0
    return int(10 ** max(0, math.ceil(3 - math.log10(spread))))


def _columns(
    features: Sequence[Found],
    keys: Sequence[Found],
    identifier: Found | None,
    time: str,
    by_header: Mapping[str, Found],
    wishes: Wishes,
    windows: Windows,
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if identifier is None:
        whole = {
            "type": "integer",
            "about": quoted("tells a row from the others; any number"),
            "min": 0,
            "max": 2**53,
        }
        made.append({"name": ROW, "note": "the table has no identifier", "fields": whole | {"example": 1}})
    else:
        made.append(
            {
                "name": identifier.name,
                "note": "tells a row from the others, no feature",
                "fields": fields_of(replace(identifier, levels=())),
            }
        )
    if time == SIMULATED_TIME:
        start, end = (
            f"{windows.test_start.year - 10}-01-01T00:00:00Z",
            f"{windows.test_end.year + FAR}-01-01T00:00:00Z",
        )
        example = f"{windows.test_start}T00:00:00Z"
        fields = {
            "type": "timestamp",
            "about": quoted("moment of the decision"),
            "min": start,
            "max": end,
            "example": example,
        }
        made.append({"name": time, "note": "made up in the table", "fields": fields})
    else:
        made.append(
            {"name": time, "note": "", "fields": fields_of(replace(by_header[wishes.time], missing=0))}
        )
    for key in keys:
        made.append(
            {
                "name": key.name,
                "note": "whose history is looked up",
                "fields": fields_of(replace(key, missing=0)),
            }
        )
    for column in features:
        told = []
        if column.missing:
            told.append(f"missing in {column.missing:.1%}")
        if column.unreadable:
            told.append(f"{column.unreadable:,} values cannot be read and count as missing")
        if column.kind == "category" and not column.levels:
            told.append(f"{column.distinct:,} values")
        made.append({"name": column.name, "note": "; ".join(told), "fields": fields_of(column)})
    return made


def fields_of(column: Found) -> dict[str, Any]:
    """A column's fields in the contract."""
    fields: dict[str, Any] = {"about": quoted(column.header)}
    if column.kind in ("category", "text"):
        longest = max(32, 2 * column.longest) if column.kind == "category" else max(1000, 4 * column.longest)
        fields = {"type": "category", **fields}
        if column.levels:
            fields["values"] = "[" + ", ".join(quoted(level) for level in column.levels) + "]"
        if longest > 32:  # noqa: PLR2004 (the contract's own)
            fields["max_length"] = longest
        fields |= {"nullable": "true"} if column.nullable else {}
        return fields | {"example": quoted(str(column.example))}
    if column.kind == "moment":
        low, high = column.low - FAR * YEAR, column.high + FAR * YEAR
        low = max(low, -2_208_988_800)  # 1900
        fields = {"type": "timestamp", **fields, "min": iso(int(low)), "max": iso(int(high))}
        fields |= {"nullable": "true"} if column.nullable else {}
        return fields | {"example": iso(int(column.example))}
    low, high = bounds(column.low, column.high)
    show = (lambda value: int(value)) if column.kind == "integer" else (lambda value: value)  # noqa: PLW0108
    fields = {"type": column.kind, **fields, "min": show(low), "max": show(high)}
    fields |= {"nullable": "true"} if column.nullable else {}
    return {key: _plain(value) for key, value in fields.items()} | {
        "example": _plain(show(float(column.example)))
    }


def _plain(value: Any) -> Any:
    """A float as YAML reads it: with a point, and a sign in the exponent."""
    if not isinstance(value, float):
        return value
    shown = (
        np.format_float_positional(value, trim="-")
        if 1e-4 <= abs(value) < 1e16 or value == 0
        else f"{value:.17e}"
    )
    return shown


def bounds(low: float, high: float) -> tuple[float, float]:
    """Rounded bounds beyond the values seen; what was never negative may not become so."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span))
    below = math.floor((low - MARGIN * span) / step) * step
    above = math.ceil((high + MARGIN * span) / step) * step
    return (0.0 if low >= 0 and below < 0 else float(below)), float(above)


def _label_fields(target: Target, table: pd.DataFrame) -> dict[str, Any]:
    if target.classes:
        longest = max(32, *(len(one) for one in target.classes))
        values = "[" + ", ".join(quoted(one) for one in target.classes) + "]"
        about = {"type": "category", "about": quoted(target.header), "values": values}
        return about | {"max_length": longest, "example": quoted(target.classes[-1])}
    values = number(table[target.header])
    low, high = bounds(float(values.min()), float(values.max()))
    return {
        "type": "number",
        "about": quoted(target.header),
        "min": _plain(low),
        "max": _plain(high),
        "example": _plain(float(values.median())),
    }


def _outcome(
    identity: Sequence[str],
    keys: Sequence[Found],
    columns: Sequence[Mapping[str, Any]],
    label: str,
    label_fields: Mapping[str, Any],
) -> dict[str, Mapping[str, Any]]:
    """The columns of the event that tells what became of a row."""
    fields = {str(column["name"]): column["fields"] for column in columns}
    times = [one for one in fields.values() if one["type"] == "timestamp"][:1]
    told = {name: fields[name] for name in (*identity, *(key.name for key in keys))}
    about = {"about": quoted("when that was known")}
    return told | {label: label_fields, HAPPENED: {**times[0], **about}}


def _slices(features: Sequence[Found], table: pd.DataFrame, target: Target) -> list[str]:
    """Categories of few levels, those first whose shares are most even."""
    few = [one for one in features if one.kind == "category" and 2 <= one.distinct <= SLICE_LEVELS]  # noqa: PLR2004
    del target
    return [
        one.name
        for one in sorted(few, key=lambda one: text(table[one.header]).value_counts().iloc[0])[:SLICES]
    ]


def _unwatched(keys: Sequence[Found], days: Sequence[int], target: Target) -> list[str]:
    kinds = {"binary": ["rate"], "regression": ["mean"]}.get(target.task) or [
        f"share_{place}" for place in range(len(target.classes))
    ]
    return [f"{key.name}_{length}d_{kind}" for key in keys for length in days for kind in (*kinds, "count")]


def _notes(found: Sequence[Found], duplicates: int, *, drop: bool) -> tuple[str, ...]:
    notes = []
    if duplicates:
        fate = "are left out" if drop else "stay, for so few columns repeat by chance"
        notes.append(f"{duplicates:,} rows repeat another one whole and {fate}")
    notes += [
        f"{one.header}: {one.unreadable:,} values cannot be read and count as missing"
        for one in found
        if one.unreadable and not one.left_out
    ]
    return tuple(notes)


assert OUTCOME == "outcome"  # noqa: S101 (the templates spell it)
