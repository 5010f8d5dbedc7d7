"""Write the files of `problem/` from a draft."""

import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fivestage.common.database import redacted
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.contract.contract import load_contract
from fivestage.data.cleaning import text
from fivestage.data.source import local_path
from fivestage.data.tables import HAPPENED
from fivestage.reporting.number_format import every, plural
from fivestage.scaffold.column_profiles import ColumnProfile, currency_of, listed, names_of
from fivestage.scaffold.draft import Draft
from fivestage.scaffold.fields import FUTURE, Fields, as_yaml, fields_of, timestamp
from fivestage.scaffold.gates_plan import INTERVAL, USUAL_LABELS, plan_limits
from fivestage.scaffold.sniffing import IMPORTS
from fivestage.scaffold.target import Target

CONTRACT = "problem.yaml"
MODULES = ("dataset.py", "features.py", "candidates.py")
SLICES = 2
SLICE_LEVELS = 20
HISTORY = (4, 12)  # lengths of an entity's history windows, in monitoring periods
MISS = 100  # cost of an error: a miss, a wrong class, or a number one standard deviation off
ACT = (1, 95)  # range of the cost of acting, for this cost of a miss
UNDER = 2  # cost ratio of a number too low to one too high
LARGEST_SUM = 1_000_000  # approximate maximum of the whole numbers that histories sum
LONGEST_NAME = 40  # characters, Grafana's limit
TITLES = {
    "binary": "Will “{}” be {}?",
    "multiclass": "Which “{}” will it be?",
    "regression": "How much will “{}” be?",
}
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 (no HTML)
)
TEMPLATES.globals |= {"q": as_yaml, "py": repr, "plural": plural, "every": every, "listed": listed}


def write_problem(draft: Draft, folder: Path) -> None:
    """Write contract, dataset, features and candidates into a folder, all or none of them."""
    content = _content(draft)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for file in (CONTRACT, *MODULES):
            written = TEMPLATES.get_template(f"{file}.j2").render(content)
            if file == CONTRACT:  # no empty lines within a block, and at most one in a row
                written = re.sub(r"\n{3,}", "\n\n", re.sub(r"\n{2,}(?= )", "\n", written))
            (scratch / file).write_text(written, encoding="utf-8")
        load_contract(scratch / CONTRACT)
        _format([scratch / file for file in MODULES])
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "__init__.py").exists():
            (folder / "__init__.py").write_text('"""Stage 1: the problem."""\n', encoding="utf-8")
        for file in (CONTRACT, *MODULES):
            shutil.copyfile(scratch / file, folder / file)


def report(draft: Draft) -> list[str]:
    """Return the lines that `make init` prints: what is learnt, left out, renamed and assumed."""
    place = local_path(draft.options.data)
    outside = place.name if place and not place.resolve().is_relative_to(ROOT) else ""
    text = TEMPLATES.get_template("report.txt.j2").render(vars(draft) | {"draft": draft, "outside": outside})
    return [line for line in text.splitlines() if line]


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


def _content(draft: Draft) -> Fields:
    """Return the variables of the templates."""
    target, windows, seasons, known_share = draft.target, draft.windows, draft.seasons, draft.known_share
    trending = draft.trending
    days = [many * windows.period_days for many in HISTORY]
    history = max(days) if draft.keys else 0
    rates = [f"rate_{place}" for place in range(len(target.classes))]
    kinds = {"binary": ["rate"], "regression": ["mean"]}.get(target.task, rates)
    columns = _columns(draft, trending)
    slices, largest_share = _slices(draft)
    data = _within_project(draft.options.data)
    return vars(draft) | {
        "data": data,
        "imports": IMPORTS,
        "source": redacted(data),
        "name": _name(draft),
        "title": TITLES[target.task].format(target.header, *target.classes[-1:]),
        "prices": _prices(target),
        "interval": INTERVAL,
        "currency": draft.currency,
        "unit": currency_of(draft.table[target.header]),
        "time": draft.time.name,
        "known": f"at the time in the column “{draft.known.header}”"
        if draft.known
        else "an hour after the decision",
        "identity": draft.identity.name,
        "columns": columns,
        "keys": [key.name for key in draft.keys],
        "outcome": _outcome(draft, {column["name"]: column["fields"] for column in columns}),
        "slices": slices,
        "largest_slice": round(windows.holdout_rows * largest_share),
        "limits": plan_limits(target, windows, draft.period_rows, draft.quick.score, seasons),
        "seasons": seasons,
        "known_share": known_share,
        "label_share": USUAL_LABELS,
        "unwatched": [
            *trending,
            *(
                f"{key.name}_{many}d_{kind}"
                for key in draft.keys
                for many in days
                for kind in (*kinds, "count")
            ),
        ],
        "plain": [column.name for column in draft.features if column.numeric or column.kind == "category"],
        "texts": [column.name for column in draft.features if column.kind == "text"],
        "times": [column.name for column in draft.features if column.kind == "timestamp"],
        "calendar": not windows.simulated,
        "history_days": days,
        "lookback_days": f"({history} + {windows.holdout_days})" if history else windows.holdout_days,
        "dataset": _dataset(draft),
    }


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
        largest = max(abs(target.low), abs(target.high))
        return {"over": over, "under": under, "scale": 10.0 ** math.floor(math.log10(LARGEST_SUM / largest))}
    even = MISS / len(target.classes)
    missed = {name: _short(even / share) for name, share in zip(target.classes, target.shares, strict=True)}
    actions = names_of(target.classes, prefix="class").items()
    return {"actions": {name: missed | {right: 0} for right, name in actions}}


def _short(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.2g}")


def _name(draft: Draft) -> str:
    """Return the problem's name, made from the table and the target."""
    table = re.split(r"[/:#]", draft.options.data.rstrip("/"))[-1].split(".")[0]
    words = [*names_of([table]).values()] if re.fullmatch(r"[\w -]+", table) else []
    return "-".join([*words, draft.label]).replace("_", "-")[:LONGEST_NAME].rstrip("-")


def _columns(draft: Draft, trending: Sequence[str]) -> list[Fields]:
    """Return the contract's columns: identifier, decision time, entities and features."""
    identity = "identifies rows, not a feature" if draft.identifier else "the table has no identifier"
    time_note = "simulated, not in the table" if draft.windows.simulated else ""
    served = datetime.combine(draft.windows.test_start, time(), UTC)
    latest = timestamp(draft.time.high + FUTURE)
    return [
        {"name": draft.identity.name, "note": identity, "fields": fields_of(draft.identity)},
        {
            "name": draft.time.name,
            "note": time_note,
            "fields": fields_of(draft.time) | {"max": latest, "example": served},
        },
        *(
            {"name": key.name, "note": "its history is looked up", "fields": fields_of(key)}
            for key in draft.keys
        ),
        *(
            {
                "name": column.name,
                "note": _note(column),
                "fields": fields_of(column, grows=column.name in trending),
            }
            for column in draft.features
        ),
    ]


def _note(column: ColumnProfile) -> str:
    notes = [
        f"missing in {column.missing:.1%}" if column.missing else "",
        f"{plural(column.unreadable, 'value')} not readable" if column.unreadable else "",
        f"{column.sentinel:g} is read as missing" if column.sentinel is not None else "",
        f"seen from {as_yaml(column.low)} to {as_yaml(column.high)}" if column.numeric else "",
        "only its length is a feature" if column.kind == "text" else "",
        plural(column.distinct, "value") if column.kind == "category" and not column.levels else "",
    ]
    return "; ".join(filter(None, notes))


def _outcome(draft: Draft, fields: Fields) -> Fields:
    """Return the columns of the outcome event."""
    happened = fields[draft.time.name] | {"about": "when that was known"}
    names = (draft.identity.name, *(key.name for key in draft.keys))
    label = fields_of(draft.target.profile(draft.label))
    return {name: fields[name] for name in names} | {draft.label: label, HAPPENED: happened}


def _dataset(draft: Draft) -> Fields:
    """Return the code parts of `problem/dataset.py`: reading the table, its columns, target and times."""
    options, windows, profiles = draft.options, draft.windows, draft.profiles
    simulated = bool(windows.simulated)
    read = [
        *filter(None, [draft.identifier]),
        *draft.keys,
        *draft.features,
        *([] if simulated else [draft.time]),
    ]
    more = [profiles[header] for header in (options.time, options.group, options.known) if header]
    used = {column.header: column.name for column in (*read, *more)} | {draft.target.header: draft.label}
    # An unused column keeps its header, unless another column now has that name.
    renamed = set(used.values())
    used = {column.header: column.name for column in profiles.values() if column.header in renamed} | used
    columns = {column.name: f'table["{column.name}"]' for column in profiles.values()}
    code = {column.name: column.code(columns[column.name]) for column in read}
    texts = [name for name, expression in code.items() if expression == f"text({columns[name]})"]
    numbers = [name for name, expression in code.items() if expression == f"number({columns[name]})"]
    known_at = f'rows["{draft.time.name}"] + 3600'
    if draft.known:
        known_at = f"{draft.known.code(columns[draft.known.name], fold=True)}.fillna({known_at})"
    order = ""
    if options.time:
        order = f", order={profiles[options.time].code(columns[profiles[options.time].name])}"
    elif options.group:
        order = f", groups={columns[profiles[options.group].name]}"
    times = f"simulated_times(label, {windows.simulated}, contract.split{order})" if simulated else ""
    zoned = any("zone=ZONE" in expression for expression in (*code.values(), known_at, times))
    return {
        "headers": {old: used[old] for old in map(str, draft.table) if used.get(old, old) != old},
        "texts": texts,
        "numbers": numbers,
        "read": {name: expression for name, expression in code.items() if name not in (*texts, *numbers)},
        "zone": (options.zone or "UTC") if zoned else "",
        "label": draft.target.code(f'table["{draft.label}"]'),
        "row": "" if draft.identifier else draft.identity.name,
        "simulated": times,
        "known": known_at,
        "in_parts": draft.identifier is not None and not simulated,
    }


def _slices(draft: Draft) -> tuple[list[str], float]:
    """Return the categories with few levels, the most even first, and the share of the largest level."""
    categories = (column for column in draft.features if column.kind == "category")
    texts = {
        column.name: text(draft.table[column.header])
        for column in categories
        if column.distinct <= SLICE_LEVELS
    }
    largest = {name: float(values.value_counts(normalize=True).iloc[0]) for name, values in texts.items()}
    slices = sorted(largest, key=largest.__getitem__)[:SLICES]
    return slices, max((largest[name] for name in slices), default=0.0)
