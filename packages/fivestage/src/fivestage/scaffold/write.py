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
from fivestage.contract.contract import Contract
from fivestage.data.cleaning import text
from fivestage.data.source import Source
from fivestage.reporting.number_format import every, plural
from fivestage.scaffold.column_profiles import currency_of, listed, names_of
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
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 (no HTML)
)
TEMPLATES.globals |= {
    "q": as_yaml,
    "py": repr,
    "plural": plural,
    "every": every,
    "listed": listed,
    "fields_of": fields_of,
    "INTERVAL": INTERVAL,
    "USUAL_LABELS": USUAL_LABELS,
}


def _one_line(value: object) -> str:
    """Return a text that stays within a comment: without line breaks and control characters."""
    return " ".join("".join(one if one.isprintable() else " " for one in str(value)).split())


TEMPLATES.filters["one_line"] = _one_line


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
        Contract.load(scratch / CONTRACT)
        _format([scratch / file for file in MODULES])
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "__init__.py").exists():
            (folder / "__init__.py").write_text('"""Stage 1: the problem."""\n', encoding="utf-8")
        for file in (CONTRACT, *MODULES):
            shutil.copyfile(scratch / file, folder / file)


def report(draft: Draft) -> list[str]:
    """Return the lines that `make init` prints: what is learnt, left out, renamed and assumed."""
    place = Source(draft.options.data).path
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
    target, windows = draft.target, draft.windows
    rates = [f"rate_{place}" for place in range(len(target.classes))]
    kinds = {"binary": ["rate"], "regression": ["mean"]}.get(target.task, rates)
    days = [many * windows.period_days for many in HISTORY]
    slices, largest_share = _slices(draft)
    data = _within_project(draft.options.data)
    return vars(draft) | {
        "draft": draft,
        "data": data,
        "source": redacted(data),
        "imports": IMPORTS,
        "name": _name(draft),
        "prices": _prices(target),
        "unit": currency_of(draft.table[target.header]),
        "served": datetime.combine(windows.test_start, time(), UTC),
        "latest": timestamp(draft.time.high + FUTURE),
        "history_days": days,
        "history_features": tuple(
            f"{key.name}_{many}d_{kind}" for key in draft.keys for many in days for kind in (*kinds, "count")
        ),
        "slices": slices,
        "largest_slice": round(windows.holdout_rows * largest_share),
        "limits": plan_limits(target, windows, draft.period_rows, draft.quick.score, draft.seasons),
        "headers": _headers(draft),
    }


def _within_project(data: str) -> str:
    """The path of a table in the project, relative to it; any other path or address as it is."""
    place = Source(data).path
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


def _headers(draft: Draft) -> dict[str, str]:
    """Return the headers that differ from the columns' names in the contract, and these names."""
    options, profiles = draft.options, draft.profiles
    roles = (profiles[header] for header in (options.time, options.group, options.known) if header)
    names = {column.header: column.name for column in (*draft.read, *roles)} | {
        draft.target.header: draft.label
    }
    # An unused column keeps its header, unless another column now has that name.
    taken = set(names.values())
    names = {column.header: column.name for column in profiles.values() if column.header in taken} | names
    return {old: names[old] for old in map(str, draft.table) if names.get(old, old) != old}


def _slices(draft: Draft) -> tuple[list[str], float]:
    """Return the categories with few levels, the most even first, and the share of the largest level."""
    shares = {
        column.name: text(draft.table[column.header]).value_counts(normalize=True, dropna=False)
        for column in draft.features
        if column.kind == "category" and column.distinct <= SLICE_LEVELS
    }
    slices = sorted(shares, key=lambda name: float(shares[name].max()))[:SLICES]
    levels = (shares[name][shares[name].index.notna()].max() for name in slices)
    return slices, max(map(float, levels), default=0.0)
