"""`make bench-monitoring`: false alarms, power against injected faults, and cost of the drift checks.

Real rows, seeded. A reference of 56 days and the other 34 of the same 90 are drawn at random, day by day;
single days and weeks of those 34 are checked as they are and with a fault put in. Beside it, Evidently's
default preset on the same rows.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from core.columns import Ints
from core.contract import load_contract
from core.files import write_between
from core.settings import REPORTS, ROOT, VAR, prepare_environment
from monitoring.counted import count, examine
from monitoring.days import Bools, Floats
from monitoring.distances import Window
from monitoring.drift import alarms, chances_of, detect_drift

JSON = REPORTS / "bench" / "monitoring.json"
PAGE = ROOT / "docs" / "monitoring.md"
REFERENCE, OTHERS, WEEK = 56, 34, 7
WEEKS = 20
EVIDENTLY_ROWS = 2_000  # its plots take seconds, so it sees fewer rows, and only some of the faults
EVERY, QUIET = 5, 6

Fault = Callable[[pd.DataFrame, pd.DataFrame, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True)
class Line:
    """How often a fault was seen, in one day and in a week, and what saw it most."""

    fault: str
    gross: bool
    day: float
    week: float
    kind: str
    evidently: bool | None = None


@dataclass(frozen=True)
class Chance:
    """How often an unchanged window alarmed."""

    days: int
    rows: int
    checks: int
    alarms: float
    evidently: float | None = None


def shifted(column: str, size: float) -> Fault:
    """A mean that moves by some standard deviations."""
    return lambda frame, usual, _: frame.assign(**{column: frame[column] + size * usual[column].std()})


def shared(column: str, points: float) -> Fault:
    """A level, the second most frequent, that takes some points from the others."""

    def fault(frame: pd.DataFrame, usual: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
        level = usual[column].value_counts().index[1]
        other = (frame[column] != level).to_numpy()
        takes = other & (draw.random(len(frame)) < points / max(other.mean(), points))
        return frame.assign(**{column: frame[column].mask(takes, level)})

    return fault


def missing(column: str, points: float) -> Fault:
    """Values that are lost."""
    return lambda frame, _, draw: frame.assign(
        **{column: frame[column].mask(draw.random(len(frame)) < points)}
    )


def default(column: str, points: float, value: float) -> Fault:
    """A default in the place of some values."""
    return lambda frame, _, draw: frame.assign(
        **{column: frame[column].mask(draw.random(len(frame)) < points, value)}
    )


def changed(column: str, change: Callable[[pd.Series], pd.Series]) -> Fault:
    """Any change of one column."""
    return lambda frame, _usual, _draw: frame.assign(**{column: change(frame[column])})


def rounded(column: str, step: float) -> Fault:
    """A loss of precision."""
    return changed(column, lambda values: (values / step).round() * step)


def swapped(one: str, other: str) -> Fault:
    """Two columns in each other's place."""
    return lambda frame, _usual, _draw: frame.assign(
        **{one: frame[other].to_numpy(), other: frame[one].to_numpy()}
    )


def scrambled(column: str) -> Fault:
    """A column's own values in another order: nothing that the column alone could show."""
    return lambda frame, _, draw: frame.assign(**{column: draw.permutation(frame[column].to_numpy())})


def frozen(column: str) -> Fault:
    """A feed that repeats its last value."""
    return lambda frame, _usual, _draw: frame.assign(**{column: frame[column].dropna().iloc[0]})


def repeated(share: float) -> Fault:
    """Rows that come twice, in the place of their neighbours."""

    def fault(frame: pd.DataFrame, _usual: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
        at = np.arange(len(frame))
        return frame.iloc[np.where(draw.random(len(frame)) < share, np.maximum(at - 1, 0), at)].reset_index(
            drop=True
        )

    return fault


def faults(usual: pd.DataFrame) -> dict[tuple[str, bool], Fault]:
    """By name, and whether it is gross; the columns are chosen by what they are, not by how they do."""
    numbers = [str(name) for name in usual if pd.api.types.is_float_dtype(usual[name])]
    texts = [str(name) for name in usual if not pd.api.types.is_numeric_dtype(usual[name])]
    full = [name for name in numbers if usual[name].notna().mean() > 0.95]  # noqa: PLR2004 (hardly missing)
    some = full[:: max(1, len(full) // 6)][:6]
    found: dict[tuple[str, bool], Fault] = {}
    for name in some:
        found[f"{name}: mean + 0.25 sd", False] = shifted(name, 0.25)
        found[f"{name}: mean + 0.5 sd", False] = shifted(name, 0.5)
        found[f"{name}: 20 points missing", True] = missing(name, 0.2)
        found[f"{name}: unit (x 1.609)", True] = changed(name, lambda values: values * 1.609)
        found[f"{name}: stale, one value", True] = frozen(name)
        found[f"{name}: a default, 0, in 20%", True] = default(name, 0.2, 0.0)
        found[f"{name}: scrambled", False] = scrambled(name)
        found[f"{name}: rounded to a tenth of its sd", False] = rounded(name, usual[name].std() / 10)
    for name in texts:
        found[f"{name}: a level + 5 points", False] = shared(name, 0.05)
        found[f"{name}: a level + 10 points", False] = shared(name, 0.1)
        found[f"{name}: other letter case", True] = changed(name, lambda values: values.str.lower())
    for one, other in zip(some[::2], some[1::2], strict=False):
        found[f"{one} and {other} swapped", True] = swapped(one, other)
    found["30% of the rows twice", True] = repeated(0.3)
    return found


def measure(frame: pd.DataFrame, day: Ints, trials: int, seed: int = 0) -> tuple[list[Chance], list[Line]]:
    """False alarms and power, over some random references."""
    draw = np.random.default_rng(seed)
    false_alarm = load_contract().monitoring.false_alarm
    first, last = int(day.min()), int(day.max())
    null: dict[int, list[Bools]] = {1: [], WEEK: [], 11: []}
    seen: dict[tuple[str, bool], list[tuple[Bools, Bools, str]]] = {}
    told: dict[str, bool | None] = {}
    quiet: list[bool | None] = []
    for trial in range(trials):
        start = int(draw.integers(first, last - REFERENCE - OTHERS + 2))
        days = start + draw.permutation(REFERENCE + OTHERS)
        reference = window(frame, day, days[:REFERENCE], 0)
        others = window(frame, day, days[REFERENCE:], 0)
        examined = examine(reference)
        chances = {length: chances_of(examined, length, false_alarm) for length in null}
        sums, _ = count(examined, others)
        for length, found in null.items():
            found.append(_any(alarms(examined, sums, _windows(length, draw), chances[length])))
        if trial < max(1, trials // 4):
            for number, (name, fault) in enumerate(faults(reference.frame).items()):
                broken = Window(fault(others.frame, reference.frame, draw), others.day, 0, OTHERS)
                sums, _ = count(examined, broken)
                one = alarms(examined, sums, np.eye(OTHERS), chances[1])
                many = alarms(examined, sums, _windows(WEEK, draw), chances[WEEK])
                most = max(many, key=lambda kind: float(one[kind].mean() + many[kind].mean()))
                seen.setdefault(name, []).append((_any(one), _any(many), most))
                if trial == 0 and number % EVERY == 0:
                    told[name[0]] = evidently(reference, broken, draw)
        if trial < QUIET:
            quiet.append(evidently(reference, others, draw))
        print(f"trial {trial + 1} of {trials}", flush=True)  # noqa: T201 (for a person)
    rows = len(frame) / (last - first + 1)
    chances_found = [
        Chance(
            length,
            round(length * rows),
            int(np.concatenate(found).size),
            float(np.concatenate(found).mean()),
            _share(quiet) if length == 1 else None,
        )
        for length, found in null.items()
    ]
    lines = [
        Line(
            name,
            gross,
            float(np.concatenate([one for one, _, _ in some]).mean()),
            float(np.concatenate([week for _, week, _ in some]).mean()),
            some[0][2],
            told.get(name),
        )
        for (name, gross), some in seen.items()
    ]
    return chances_found, lines


def window(frame: pd.DataFrame, day: Ints, days: Ints, first: int) -> Window:
    """Some days, numbered anew in their order."""
    rows = [np.flatnonzero(day == one) for one in days]
    of_day = np.repeat(np.arange(first, first + len(days)), [len(some) for some in rows])
    return Window(frame.iloc[np.concatenate(rows)].reset_index(drop=True), of_day, first, len(days))


def _windows(length: int, draw: np.random.Generator) -> Floats:
    """Single days, each once, or random sets of days."""
    if length == 1:
        return np.eye(OTHERS)
    weight = np.zeros((WEEKS, OTHERS))
    for row in weight:
        row[draw.permutation(OTHERS)[:length]] = 1
    return weight


def _share(answers: list[bool | None]) -> float | None:
    given = [one for one in answers if one is not None]
    return float(np.mean(given)) if given else None


def _any(found: dict[str, Bools]) -> Bools:
    return np.asarray(np.any(list(found.values()), axis=0), dtype=np.bool_)


def evidently(reference: Window, current: Window, draw: np.random.Generator, day: int = 0) -> bool | None:
    """Whether its default preset calls a day drifted, half of the columns and more; None where it fails.

    It fails on a column that has no value that day.
    """
    from evidently import Report
    from evidently.presets import DataDriftPreset

    some = reference.frame.sample(EVIDENTLY_ROWS, random_state=int(draw.integers(1 << 31)))
    now = current.frame[current.day == day]
    try:
        found = Report([DataDriftPreset()]).run(now, some).dict()
    except ValueError:
        return None
    share = next(one for one in found["metrics"] if "DriftedColumnsCount" in one["metric_name"])["value"][
        "share"
    ]
    return bool(share >= 0.5)  # noqa: PLR2004 (its own default)


def cost(rows: int = 1_000_000, numbers: int = 16, texts: int = 4) -> dict[str, float]:
    """Seconds of CPU, and memory, of one check of a week against 56 days, made-up rows in all."""
    draw = np.random.default_rng(0)
    windows = []
    for days, share, first in ((REFERENCE, REFERENCE, 0), (WEEK, WEEK, REFERENCE)):
        size = rows * share // (REFERENCE + WEEK)
        day = np.sort(draw.integers(0, days, size))
        level = draw.normal(0, 0.5, (days, numbers))
        frame = pd.DataFrame(
            {
                f"number {n}": (level[day, n] + draw.normal(size=size)).round(3 + 6 * (n % 2))
                for n in range(numbers)
            }
        )
        for text in range(texts):
            levels = np.array([f"level {one}" for one in range(5 + 20 * text)])
            frame[f"text {text}"] = levels[draw.integers(0, levels.size, size)]
        windows.append(Window(frame, day + first, first, days))
    before, wall = time.process_time(), time.perf_counter()
    detect_drift(windows[0], windows[1], 0.01)
    return {
        "rows": rows,
        "columns": numbers + texts,
        "cpu_seconds": time.process_time() - before,
        "wall_seconds": time.perf_counter() - wall,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def table(chances: list[Chance], lines: list[Line], spent: dict[str, float]) -> str:
    """The measurements in Markdown."""
    text = [
        "| nothing changed but the days | rows | checks | alarms | Evidently's preset |",
        "|---|---:|---:|---:|---:|",
    ]
    text += [
        f"| {one.days} day{'s' if one.days > 1 else ''} | {one.rows:,} | {one.checks} | {one.alarms:.1%} "
        f"| {'' if one.evidently is None else f'{one.evidently:.0%}'} |"
        for one in chances
    ]
    text += [
        "",
        "| fault | seen in a day | in a week | most by | Evidently's preset, a day |",
        "|---|---:|---:|---|---|",
    ]
    text += [
        f"| {one.fault}{' (gross)' if one.gross else ''} | {one.day:.0%} | {one.week:.0%} | {one.kind} "
        f"| {'' if one.evidently is None else ('seen' if one.evidently else 'not seen')} |"
        for one in sorted(lines, key=lambda line: (not line.gross, line.fault))
    ]
    about = (
        f"{spent['rows']:,.0f} rows by {spent['columns']:.0f} columns: {spent['cpu_seconds']:.1f} s of CPU, "
        f"{spent['peak_memory_gb']:.2f} GB at the peak."
    )
    return "\n".join([*text, "", about])


def main() -> None:
    """Measure, and write the results where they are read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trials", type=int, default=12, help="random references; a quarter of them with faults"
    )
    given = parser.parse_args()
    prepare_environment()
    spent = cost()
    frame, day = real_rows()
    chances, lines = measure(frame, day, given.trials)
    JSON.parent.mkdir(parents=True, exist_ok=True)
    content = {"false_alarms": [asdict(one) for one in chances], "faults": [asdict(one) for one in lines]}
    JSON.write_text(json.dumps(content | {"cost": spent}, indent=1), encoding="utf-8")
    text = table(chances, lines, spent)
    write_between(PAGE, "measured", text)
    print(text)  # noqa: T201 (for a person)


def real_rows() -> tuple[pd.DataFrame, Ints]:
    """The watched features of the project's own data, and the day of each row."""
    from problem.dataset import load
    from steps.data.features import build_features
    from steps.data.world import ingest_tables
    from steps.model.evaluate import decision_day

    contract = load_contract()
    rows, world, _ = ingest_tables(load(), contract, VAR / "bench" / "quarantine", "bench")
    features = build_features(rows, world.events, world.reference)
    watched = [name for name in features if name not in contract.monitoring.unwatched]
    return features[watched], decision_day(rows)


if __name__ == "__main__":
    main()
