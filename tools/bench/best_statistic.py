"""What the data allow: an alarm that knew beforehand which statistic to watch, and its noise.

Of one statistic whose law without a fault and with it is known, no test sees more at the same false alarms
than one that alarms where the fault makes values likelier (Neyman and Pearson, 1933): for a fault that raises
it, beyond a quantile of unchanged windows. The limit is that of the statistic which tells most. What our
alarms see less is the price of not knowing the fault, and of few days to know the noise from.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import DailyStatistic
from fivestage.monitoring.drift import Statistics

Names = Mapping[str, Sequence[str]]  # the column that each number of a statistic tells of
Reached = dict[tuple[int, str, str], list[float]]  # by windows' days, statistic and column


def names_of(statistics: Sequence[DailyStatistic]) -> Names:
    """The columns of each statistic's numbers."""
    return {one.kind.name: one.columns for one in statistics}


def reached(found: Statistics, names: Names, days: int, some: Sequence[str] | None = None) -> Reached:
    """How far each window reaches, by kind and column, of all or some columns."""
    far: Reached = {}
    for kind, value in found.items():
        of = np.array(names[kind])
        for name in dict.fromkeys(names[kind]):
            if some is None or name in some:
                far[days, kind, name] = value[:, of == name].max(axis=1).tolist()
    return far


def gather(into: Reached, more: Reached) -> None:
    """Take up another trial's."""
    for key, values in more.items():
        into.setdefault(key, []).extend(values)


def limit_of(
    fault: Reached, unchanged: Reached, days: int, false_alarm: float
) -> dict[str, float | str] | None:
    """The share of the fault's windows that the best statistic alone sees, and which it is."""
    best: dict[str, float | str] | None = None
    for (length, kind, name), values in fault.items():
        usual: Floats = np.array(unchanged.get((length, kind, name), []))
        if length != days or not usual.size or not values:
            continue
        seen = float((np.array(values) > np.quantile(usual, 1 - false_alarm)).mean())
        if best is None or seen > float(best["seen"]):
            best = {"seen": seen, "kind": kind, "column": name, "unchanged": usual.size}
    return best
