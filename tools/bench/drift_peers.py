"""Evidently's default preset and NannyML's defaults on the same windows.

Both judge column by column, so the faulty columns of all faults are judged at once, next to each other; with
the unchanged columns they give each fault's verdict. Faults that change rows are judged separately.
"""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd

from fivestage.common.columns import Ints
from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import Window
from fivestage.monitoring.drift import WEEK
from tools.bench.drift_trials import TOUCHED, Plan, Table, consecutive, drawn, window_of
from tools.bench.faults import Fault, touched
from tools.bench.peers import environment_of, installed

HALF = 0.5  # the preset's default share of drifted columns, and the threshold of decisions for CBPE
WINDOWS = {1: 4, WEEK: 3}  # number by length, one of them with faults, as Evidently's reports are slow
MONDAY = pd.Timestamp("2024-01-01")
FOLDER = VAR / "bench" / "drift"


@dataclass
class PeerAlarms:
    """The alarms of other libraries, by fault ("" for none) and length of the window."""

    half: dict[tuple[str, int], list[bool]] = field(default_factory=partial(defaultdict, list))
    any: dict[tuple[str, int], list[bool]] = field(default_factory=partial(defaultdict, list))
    nannyml: dict[tuple[str, int], list[bool]] = field(default_factory=partial(defaultdict, list))
    cbpe: dict[tuple[str, int], list[bool]] = field(default_factory=partial(defaultdict, list))

    def add(self, other: "PeerAlarms") -> None:
        """Add the alarms of another trial."""
        for name in ("half", "any", "nannyml", "cbpe"):
            for key, found in getattr(other, name).items():
                getattr(self, name)[key].extend(found)


@dataclass(frozen=True)
class TrialWindows:
    """The windows of a trial: a reference, other days, and these with each fault, by its key."""

    reference: Window
    others: Window
    faults: dict[str, Fault]
    broken: dict[str, Window]
    shares: dict[str, Floats]

    def side_by_side(self, *, new: bool) -> pd.DataFrame:
        """Return a window's columns and those of every fault, with or without the faults."""
        frame = (self.others if new else self.reference).frame
        more = {
            f"{key}: {name}": (self.broken[key] if new else self.reference).frame[name].to_numpy()
            for key, fault in self.faults.items()
            for name in fault.columns
        }
        return pd.concat([frame, pd.DataFrame(more, index=frame.index)], axis=1)

    def verdicts(self, windows: Mapping[str, bool], weight: Floats) -> Iterator[tuple[str, dict[str, bool]]]:
        """Yield each fault, and "" for none, with the verdict on each column, if enough rows changed."""
        own = {str(name): windows[str(name)] for name in self.others.frame}
        yield "", own
        for key, fault in self.faults.items():
            if fault.columns and weight @ self.shares[key] / weight.sum() >= TOUCHED[fault.gross]:
                yield key, own | {name: windows[f"{key}: {name}"] for name in fault.columns}


def key_of(fault: Fault) -> str:
    """Return a unique name of a fault."""
    return f"{fault.name} | {fault.where}"


def ask(number: int, table: Table, plan: Plan, faults: list[Fault], *, nannyml: bool) -> PeerAlarms:
    """Run both libraries on the windows of one trial."""
    draw = np.random.default_rng([3, number])
    of_reference, of_others = drawn(plan, draw)
    (reference, then), (others, now) = (window_of(table, one) for one in (of_reference, of_others))
    by_key = {key_of(fault): fault for fault in faults}
    broken = {key: fault.put(others, reference.frame, draw) for key, fault in by_key.items()}
    for key, fault in by_key.items():
        if len(broken[key].frame) != len(others.frame):
            by_key[key] = replace(fault, columns=())
    shares = {key: touched(others, window) for key, window in broken.items()}
    windows, found = TrialWindows(reference, others, by_key, broken, shares), PeerAlarms()
    usual, current = (windows.side_by_side(new=new) for new in (False, True))
    for length, most in WINDOWS.items():
        for place, weight in enumerate(consecutive(length, others.days)[:most]):
            inside = _inside(others, weight)
            if place:
                verdicts = {"": evidently(reference.frame, others.frame[inside])}
            else:
                verdicts = dict(windows.verdicts(evidently(usual, current[inside]), weight))
                for key in (key for key, fault in by_key.items() if not fault.columns):
                    some = broken[key].frame[_inside(broken[key], weight)]
                    verdicts[key] = evidently(reference.frame, some)
            for key, drifted in verdicts.items():
                found.half[key, length].append(bool(np.mean(list(drifted.values())) >= HALF))
                found.any[key, length].append(any(drifted.values()))
    if nannyml:
        frames = (usual, _cbpe_columns(table, then)), (current, _cbpe_columns(table, now))
        for name, (frame, more), window in zip(
            ("reference", "current"), frames, (reference, others), strict=True
        ):
            when = MONDAY + pd.to_timedelta(np.asarray(window.day), unit="D")
            FOLDER.mkdir(parents=True, exist_ok=True)
            frame.assign(_when=when, **more).to_parquet(FOLDER / f"{name}-{number}.parquet")
        _nannyml(found, windows, number)
    return found


def evidently(usual: pd.DataFrame, current: pd.DataFrame) -> dict[str, bool]:
    """Return whether the default preset reports drift, by column; False for a column without values."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    empty = [str(name) for name in usual if current[name].isna().all()]
    found = Report([DataDriftPreset()]).run(current.drop(columns=empty), usual.drop(columns=empty)).dict()
    verdicts = dict.fromkeys(empty, False)
    for one in found["metrics"]:
        if (column := one["config"].get("column")) is not None:
            value, threshold = float(one["value"]), float(one["config"]["threshold"])
            by_chance = "p_value" in one["metric_name"]
            verdicts[column] = value < threshold if by_chance else value >= threshold
    return verdicts


def _inside(window: Window, weight: Floats) -> pd.Series:
    return pd.Series(weight[np.asarray(window.day)] > 0)


def _cbpe_columns(table: Table, where: Ints) -> dict[str, Floats]:
    """Return the additional columns for CBPE, if forecasts are probabilities."""
    if table.forecast.ndim > 1:
        return {}
    chance = table.forecast[where]
    return {"_chance": chance, "_said": (chance >= HALF).astype(np.int64), "_label": table.label[where]}


def _nannyml(found: PeerAlarms, windows: TrialWindows, number: int) -> None:
    done = subprocess.run(  # noqa: S603
        [str(installed("nannyml")), "-m", "tools.bench.peer_nannyml", str(FOLDER), str(number)],
        env=environment_of("nannyml"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"NannyML failed: {done.stderr[-1000:]}")
    written = json.loads((FOLDER / f"alerts-{number}.json").read_bytes())
    for length, period in ((1, "day"), (WEEK, "week")):
        for place, weight in enumerate(consecutive(length, windows.others.days)):
            alerts = {name: found[place] for name, found in written[period].items()}
            if "CBPE" in alerts:
                found.cbpe["", length].append(alerts["CBPE"])
            for key, drifted in windows.verdicts(alerts, weight):
                found.nannyml[key, length].append(any(drifted.values()))
