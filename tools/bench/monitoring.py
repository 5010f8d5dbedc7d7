"""`make bench-monitoring`: false alarms, power against injected faults, and cost of the drift checks.

Each seeded trial samples whole days of a period of real data, every weekday equally often: some for the
reference, the others for windows, which are checked unchanged and with an injected fault. Results are for the
second half of the days and for synthetic tables. `--chosen` uses the first half and other seeds, for choosing
constants; the second half was inspected while constants were chosen, the seeds of the synthetic tables were
not.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.columns import Ints
from fivestage.common.errors import UserError
from fivestage.common.files import write_between, write_text
from fivestage.common.settings import REPORTS, ROOT, VAR, prepare_environment
from fivestage.contract.contract import LEAST_REFERENCE, Contract
from fivestage.data.event_tables import EventTables
from fivestage.data.labels import labels_of
from fivestage.evaluation.evaluate import decision_day
from fivestage.features.offline import build_features, feature_matrix, learn_categories
from fivestage.monitoring.daily_statistics import Window
from fivestage.monitoring.drift import WEEK, Finding, detect_drift
from fivestage.training.task_trainer import a_few_trees, trainer_of
from problem import PROBLEM
from tools.bench import hand_set
from tools.bench.best_statistic import limit_of
from tools.bench.drift_peers import PeerAlarms, ask, key_of
from tools.bench.drift_trials import (
    Plan,
    Seen,
    Table,
    Unchanged,
    best_of_rate,
    faulty,
    in_parallel,
    labelled,
    unchanged,
)
from tools.bench.faults import Fault, faults, label_faults
from tools.bench.made_up_tables import CHOSEN, JUDGED, independent_rows, plan_of, shop
from tools.bench.memory import peak_bytes
from tools.bench.monitoring_page import page
from tools.bench.peers import installed

JSON = REPORTS / "bench" / "monitoring.json"
PAGE = ROOT / "docs" / "monitoring.md"
SIZES = (1_000, 10_000)  # rows per window
OTHERS = 34  # days in addition to the reference
REFERENCE = 56  # days of reference in the measurement of cost


@dataclass(frozen=True)
class Effort:
    """Number of trials of each kind."""

    unchanged: int
    other: int  # on the other half of the days
    made_up: int  # per kind of synthetic table
    faults: int
    labels: int
    peers: int
    apart: int  # days between the starts of consecutive periods


WHOLE = Effort(unchanged=80, other=24, made_up=150, faults=5, labels=40, peers=1, apart=7)
QUICK = Effort(unchanged=12, other=4, made_up=12, faults=1, labels=6, peers=0, apart=42)


@dataclass(frozen=True)
class Share:
    """A count out of a total, with its 95% interval (Wilson 1927)."""

    found: int
    of: int
    low: float
    high: float


def share_of(found: Sequence[bool], design_effect: float = 1.0) -> Share:
    """Return the share of true values; the design effect is the number of values per independent one."""
    n, z = len(found) / design_effect, NormalDist().inv_cdf(0.975)
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    p = sum(found) / len(found)
    middle, reach = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = ((middle + sign * reach) / (1 + z**2 / n) for sign in (-1, 1))
    return Share(sum(found), len(found), max(low, 0.0), min(high, 1.0))


def share_of_trials(trials: Sequence[Sequence[bool]]) -> Share:
    """Return the share of true values that are dependent within a trial, for example by a common reference.

    The design effect (Kish 1965) is the variance of the trials' means relative to that of independent values.
    """
    found = [one for trial in trials for one in trial]
    p = float(np.mean(found)) if found else 0.0
    if len(trials) < 2 or not 0 < p < 1:  # noqa: PLR2004 (one trial has no variance)
        return share_of(found)
    means = np.array([np.mean(trial) for trial in trials])
    return share_of(found, max(1.0, float(means.var(ddof=1)) * len(found) / len(trials) / (p * (1 - p))))


def measure(effort: Effort, half: str, contract: Contract, spent: dict[str, float]) -> dict[str, Any]:
    """Run all measurements, and return the record."""
    table = real_rows(contract)
    days, middle = np.unique(table.day), middle_of(table.day)
    rows_a_day = len(table.day) / len(days)
    of_half = days[days < middle] if half == "first" else days[days >= middle]
    rules = contract.monitoring
    lengths = sorted({max(1, round(size / rows_a_day)) for size in SIZES} | {1, rules.period_days})
    plan = Plan(
        of_half,
        rules.reference_days,
        OTHERS,
        tuple(one for one in lengths if one * LEAST_REFERENCE <= rules.reference_days),
        rules.false_alarm,
    )
    if len(of_half) < plan.reference + plan.others:
        raise UserError(
            f"Half of the data are {len(of_half)} days, but {plan.reference + plan.others} are needed: "
            "measure on more data."
        )
    null = _unchanged(table, plan, effort.unchanged, "unchanged")
    tables = {
        "the measured half": null,
        "the other half": _unchanged(
            table, replace(plan, days=days[~np.isin(days, of_half)]), effort.other, "the other half"
        ),
    }
    for name, make in (("made-up shops", shop), ("independent rows", independent_rows)):
        work = partial(_made_up, make=make, plan=plan, seeds=JUDGED if half == "second" else CHOSEN)
        tables[name] = Unchanged()
        for more in in_parallel(work, range(effort.made_up), name):
            tables[name].add(more)
    here = np.isin(table.day, of_half)
    some = list(faults(table.frame[here], table.day[here]))
    seen = [Seen() for _ in some]
    for of_trial in in_parallel(
        partial(faulty, table=table, plan=plan, faults=some), range(effort.faults), "faults"
    ):
        for one, there in zip(seen, of_trial, strict=True):
            one.add(there)
    of_labels = label_faults(contract, table.frame[here], table.label[here], _concept_column(some))
    labels = list(of_labels)
    seen_labels, null_labels = [Seen() for _ in labels], Unchanged()
    work_on_labels = partial(labelled, table=table, plan=plan, faults=labels, task=contract.task)
    for more, seen_there in in_parallel(work_on_labels, range(effort.labels), "labels"):
        null_labels.add(more)
        for one, there in zip(seen_labels, seen_there, strict=True):
            one.add(there)
    of_rate = best_of_rate(table, plan, labels, contract.task)
    peers, missing = _peers(effort, table, plan, some)
    return {
        "level": rules.false_alarm,
        "days": [int(of_half[0]), int(of_half[-1])],
        "columns": table.frame.shape[1],
        "rows_a_day": rows_a_day,
        "reference_days": plan.reference + plan.others,
        "false_alarms": [
            {
                "days": length,
                "rows": round(length * rows_a_day),
                "reference_days": plan.reference,
                "trials": len(null.alarms[length]),
                "alarms": asdict(share_of_trials(null.alarms[length])),
                "labels": _of_trials(null_labels.alarms.get(length)),
                **_of_peers(peers, "", length),
            }
            for length in plan.lengths
        ],
        "tables": [
            {"table": name, "days": length, "alarms": _of_trials(found.alarms.get(length))}
            for name, found in tables.items()
            for length in (1, WEEK)
        ],
        "as_they_came": consecutive_periods(table, contract, effort.apart),
        "faults": [
            _line(fault.name, fault.where, one, gross=fault.gross)
            | _limits(one, null, rules.false_alarm)
            | {
                f"{name}_{window}": share
                for window, length in (("day", 1), ("week", WEEK))
                for name, share in _of_peers(peers, key_of(fault), length).items()
            }
            for fault, one in zip(some, seen, strict=True)
            if one.day
        ],
        "labels": [
            _line(fault.name, "", one, gross=False) | _limits(one, null_labels, rules.false_alarm)
            for fault, one in zip(labels, seen_labels, strict=True)
        ],
        "rate_tests": [{"fault": fault, "rows": rows, "week": seen} for fault, rows, seen in of_rate],
        "peers": missing,
        "cost": spent,
    }


def real_rows(contract: Contract) -> Table:
    """Return the project's monitored features, with forecasts for each half by a model of the other half."""
    rows, event_tables, _ = EventTables.ingest(
        PROBLEM.load(contract), contract, VAR / "bench" / "quarantine", "bench"
    )
    features = build_features(PROBLEM.features, rows, event_tables.events, event_tables.reference)
    categories = learn_categories(features, np.arange(len(features)))
    numbers, label, day = feature_matrix(features, categories), labels_of(rows, contract), decision_day(rows)
    first = day < middle_of(day)
    learn = a_few_trees(trainer_of(contract))
    halves = [np.flatnonzero(first), np.flatnonzero(~first)]
    forecasts = [learn(numbers, label, train, other) for train, other in (halves[::-1], halves)]
    forecast = np.empty((len(rows), *forecasts[0].shape[1:]))
    for where, predicted in zip(halves, forecasts, strict=True):
        forecast[where] = predicted
    monitored = [name for name in features if name not in contract.monitoring.unwatched]
    return Table(features[monitored].reset_index(drop=True), day, label, forecast)


def middle_of(day: Ints) -> int:
    """Return the first day of the second half."""
    return int(day.min() + day.max() + 1) // 2


def consecutive_periods(table: Table, contract: Contract, apart: int) -> dict[str, Any]:
    """Check consecutive periods of the year, to see the effect of seasons and of the data."""
    rules = contract.monitoring
    first, last = int(table.day.min()) + rules.reference_days, int(table.day.max()) + 1
    starts = range(first, last - rules.period_days + 1, apart)

    def period(number: int) -> list[Finding]:
        start = starts[number]
        before, now = (
            Window(table.frame[inside], table.day[inside], begin, days)
            for begin, days in (
                (start - rules.reference_days, rules.reference_days),
                (start, rules.period_days),
            )
            for inside in [(table.day >= begin) & (table.day < begin + days)]
        )
        return detect_drift(before, now, rules.false_alarm)

    reports = list(in_parallel(period, range(len(starts)), "as they came"))
    drifted = [{one.column for one in found if one.drifted} for found in reports]
    broken = [{one.column for one in found if one.is_broken} for found in reports]
    overlapping = max(1.0, rules.period_days / apart)
    return {
        "apart": apart,
        "drifted": asdict(share_of([bool(one) for one in drifted], overlapping)),
        "broken": asdict(share_of([bool(one) for one in broken], overlapping)),
        "columns_drifted": float(np.mean([len(one) for one in drifted])),
        "named_broken": dict(Counter(name for one in broken for name in one)),
    }


def _peers(effort: Effort, table: Table, plan: Plan, some: list[Fault]) -> tuple[PeerAlarms, str]:
    peers, missing = PeerAlarms(), ""
    if effort.peers:
        try:
            installed("nannyml")
        except UserError as error:
            missing = f"NannyML is not among them: {error}"
    work = partial(ask, table=table, plan=plan, faults=some, nannyml=not missing)
    for found in in_parallel(work, range(effort.peers), "Evidently and NannyML"):
        peers.add(found)
    return peers, missing


def _of_peers(peers: PeerAlarms, key: str, length: int) -> dict[str, Any]:
    names = {
        "evidently": peers.half,
        "evidently_any": peers.any,
        "nannyml": peers.nannyml,
        "cbpe": peers.cbpe,
    }
    return {name: _share(found.get((key, length))) for name, found in names.items()}


def _made_up(number: int, make: Callable[[int], Table], plan: Plan, seeds: range) -> Unchanged:
    """Run a trial on a new synthetic table."""
    table = make(seeds[number])
    return unchanged(number, table, plan_of(table, plan.reference, (1, WEEK), plan.false_alarm))


def _unchanged(table: Table, plan: Plan, trials: int, what: str) -> Unchanged:
    found = Unchanged()
    for more in in_parallel(partial(unchanged, table=table, plan=plan), range(trials), what):
        found.add(more)
    return found


def _limits(seen: Seen, null: Unchanged, false_alarm: float) -> dict[str, Any]:
    return {
        f"limit_{name}": limit_of(seen.reached, null.reached, length, false_alarm)
        for name, length in (("day", 1), ("week", WEEK))
    }


def _of_trials(found: Sequence[Sequence[bool]] | None) -> dict[str, Any] | None:
    return asdict(share_of_trials(found)) if found else None


def _share(found: Sequence[bool] | None) -> dict[str, Any] | None:
    return asdict(share_of(found)) if found else None


def _concept_column(some: list[Fault]) -> str:
    """Return the column of the concept drift: the first of those with faults."""
    return some[0].where


def _reach(seen: Seen) -> dict[str, Any]:
    """Return the statistic that a fault raises most within a day, and how far, against unchanged days."""
    if not seen.reach:
        return {"by": None, "reach": None, "unchanged_reach": None}
    kind, _ = Counter(kind for kind, _, _ in seen.reach).most_common(1)[0]
    found = [(there, usual) for one, there, usual in seen.reach if one == kind]
    return {
        "by": kind,
        "reach": float(np.median([there for there, _ in found])),
        "unchanged_reach": float(max(usual for _, usual in found)),
    }


def _line(name: str, where: str, seen: Seen, *, gross: bool) -> dict[str, Any]:
    return {
        "fault": name,
        "where": where,
        "gross": gross,
        "day": asdict(share_of(seen.day)),
        "week": asdict(share_of(seen.week)),
        "days_until": float(np.median(seen.until)) if seen.until else None,  # 8 means more than a week
        "named": _share(seen.named),
        "broken": _share(seen.broken),
        **_reach(seen),
    }


def cost(rows: int = 1_000_000, numbers: int = 16, texts: int = 4) -> dict[str, float]:
    """Measure time and memory of one check of a week against 56 days, on synthetic rows."""
    draw = np.random.default_rng(0)
    windows = []
    for days, first in ((REFERENCE, 0), (WEEK, REFERENCE)):
        size = rows * days // (REFERENCE + WEEK)
        day = np.sort(draw.integers(0, days, size))
        level = draw.normal(0, 0.5, (days, numbers))
        columns: dict[str, Any] = {
            f"number {n}": (level[day, n] + draw.normal(size=size)).round(3 + 6 * (n % 2))
            for n in range(numbers)
        }
        for text in range(texts):
            levels = np.array([f"level {one}" for one in range(5 + 20 * text)])
            columns[f"text {text}"] = levels[draw.integers(0, levels.size, size)]
        windows.append(Window(pd.DataFrame(columns), day + first, first, days))
    before, wall = time.process_time(), time.perf_counter()
    detect_drift(windows[0], windows[1], 0.01)
    return {
        "rows": rows,
        "columns": numbers + texts,
        "cpu_seconds": time.process_time() - before,
        "wall_seconds": time.perf_counter() - wall,
        "peak_memory_gb": peak_bytes() / 1e9,
    }


def main() -> None:
    """Measure, and write the results to their files and pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few trials, without other libraries; writes nothing"
    )
    parser.add_argument(
        "--chosen", action="store_true", help="use the data for choosing constants; writes nothing"
    )
    options = parser.parse_args()
    prepare_environment()
    spent, started = cost(), time.perf_counter()
    half = "first" if options.chosen else "second"
    try:
        found = measure(QUICK if options.quick else WHOLE, half, PROBLEM.contract, spent)
    except UserError as error:
        sys.exit(str(error))
    written = not options.quick and not options.chosen
    if written:  # before anything can fail, as it took long
        write_text(JSON, json.dumps(found, indent=1))
    text = page(found)
    print(text)
    print(f"{time.perf_counter() - started:.0f} s")
    if written:
        write_between(PAGE, "measured", text)
        write_between(PAGE, "hand-set", hand_set.table())


if __name__ == "__main__":
    main()
