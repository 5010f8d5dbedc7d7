"""The limit of detection: the power of an alarm that knows the relevant statistic and its noise in advance.

If a statistic's distribution with and without a fault is known, no test at the same false-alarm rate has more
power than the likelihood-ratio test (Neyman and Pearson, 1933): for a fault that raises the statistic, it
alarms above a quantile of unchanged windows. The limit is that of the statistic with the most power. Our
alarms have less, as they know neither the fault nor, with few days, the exact noise.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import DailyStatistic
from fivestage.monitoring.drift import Statistics

Names = Mapping[str, Sequence[str]]  # the column of each number of a statistic
Reached = dict[tuple[int, str, str], list[float]]  # by days of the window, statistic and column


def names_of(statistics: Sequence[DailyStatistic]) -> Names:
    """Return the columns of each statistic's numbers."""
    return {one.kind.name: one.columns for one in statistics}


def reached(found: Statistics, names: Names, days: int, some: Sequence[str] | None = None) -> Reached:
    """Return each window's distance by kind and column, for all columns or some."""
    far: Reached = {}
    for kind, value in found.items():
        of = np.array(names[kind])
        for name in dict.fromkeys(names[kind]):
            if some is None or name in some:
                far[days, kind, name] = value[:, of == name].max(axis=1).tolist()
    return far


def gather(total: Reached, more: Reached) -> None:
    """Add the values of another trial."""
    for key, values in more.items():
        total.setdefault(key, []).extend(values)


def limit_of(
    fault: Reached, unchanged: Reached, days: int, false_alarm: float
) -> dict[str, float | str] | None:
    """Return the share of faulty windows that the best single statistic detects, and that statistic."""
    best: dict[str, float | str] | None = None
    for (length, kind, name), values in fault.items():
        null: Floats = np.array(unchanged.get((length, kind, name), []))
        if length != days or not null.size or not values:
            continue
        seen = float((np.array(values) > np.quantile(null, 1 - false_alarm)).mean())
        if best is None or seen > float(best["seen"]):
            best = {"seen": seen, "kind": kind, "column": name, "unchanged": null.size}
    return best
