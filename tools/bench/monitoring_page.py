"""The results of `make bench-monitoring` in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np

from fivestage.monitoring.drift import WEEK

TARGET = 0.95
EPOCH = date(1970, 1, 1).toordinal()
Line = Mapping[str, Any]


def page(found: Mapping[str, Any]) -> str:
    """Return all tables."""
    parts = _false_alarms, _tables, _as_they_came, _faults, _labels, _short, _cost
    return "\n\n".join(text for part in parts if (text := "\n".join(part(found))))


def _false_alarms(found: Mapping[str, Any]) -> Iterator[str]:
    first, last = (date.fromordinal(EPOCH + day) for day in found["days"])
    yield f"{found['columns']} columns, {found['rows_a_day']:.0f} rows a day. Windows of up to"
    yield f"{_days(found['reference_days'])} in all are drawn from {first} to {last}."
    yield f"The stated false-alarm rate is {found['level']:.0%} of checks. Brackets: 95% intervals (Wilson)."
    yield ""
    yield from _head(
        "nothing changed but the days",
        "reference",
        "checks",
        "alarms",
        "labels' alarms",
        "Evidently's preset, half of the columns",
        "any column",
        "NannyML, any column",
        "its CBPE",
    )
    for one in found["false_alarms"]:
        labels, *others = (
            one.get(name) for name in ("labels", "evidently", "evidently_any", "nannyml", "cbpe")
        )
        yield _row(
            f"{one['rows']:,} rows, {_days(one['days'])}",
            _days(one["reference_days"]),
            f"{one['alarms']['of']:,}",
            _percent(one["alarms"], 1),
            _percent(labels, 1),
            *map(_percent, others),
        )


def _tables(found: Mapping[str, Any]) -> Iterator[str]:
    yield "The hand-set numbers were chosen on the other half of the days, but this half was inspected, too,"
    yield "so neither half is unseen. The synthetic tables are: no number was chosen on these seeds."
    yield "Each trial on synthetic tables has its own table; trials on a half draw from the same days again."
    yield "Windows of several days share days within a trial; the intervals allow for that."
    yield "Alarms without a change:"
    yield ""
    yield from _head("table", "window", "checks", "alarms")
    for one in found["tables"]:
        if one["alarms"]:
            checks = f"{one['alarms']['of']:,}"
            yield _row(one["table"], _days(one["days"]), checks, _percent(one["alarms"], 1))


def _as_they_came(found: Mapping[str, Any]) -> Iterator[str]:
    year = found["as_they_came"]
    named = ", ".join(f"{name} {times}" for name, times in sorted(year["named_broken"].items()))
    yield f"Of {year['drifted']['of']} consecutive periods of the year,"
    yield f"starting every {year['apart']} days and compared with the days before,"
    yield f"{_percent(year['drifted'])} cause a warning, for {year['columns_drifted']:.1f} columns on average"
    yield f"(seasons, which one year cannot tell from faults). {_percent(year['broken'])} count as broken"
    yield f"({named or 'none'})."


def _faults(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _head(
        "fault (gross ones first)",
        "columns",
        "seen within a day, mean (least)",
        "within a week",
        "days until seen",
        "alarms name the column",
        "call the data broken",
        "Evidently's preset, a day",
        "a week",
        "NannyML, any column, a day",
    )
    ordered = sorted(found["faults"], key=lambda one: (not one["gross"], one["fault"]))
    for (gross, name), group in groupby(ordered, key=lambda one: (one["gross"], one["fault"])):
        some = list(group)
        yield _row(
            f"**{name}**" if gross else name,
            str(len(some)),
            _power(some, "day"),
            _power(some, "week"),
            _until([one["days_until"] for one in some]),
            *(
                _joined(some, key)
                for key in ("named", "broken", "evidently_day", "evidently_week", "nannyml_day")
            ),
        )


def _labels(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _head(
        "labels otherwise, inputs as they were",
        "seen within a day",
        "best statistic alone",
        "within a week",
        "best statistic alone",
        "days until seen",
        "best statistic",
    )
    for one in found["labels"]:
        yield _row(
            one["fault"],
            _percent(one["day"]),
            _limit(one, "day"),
            _percent(one["week"]),
            _limit(one, "week"),
            _until([one["days_until"]]),
            _best(one, "week"),
        )
    yield ""
    yield "*Best statistic alone*: the detection rate of an alarm that knows the fault beforehand, uses only"
    yield "the statistic that shows it best, knows its distribution in unchanged windows, and spends all"
    yield f"{found['level']:.0%} of false alarms on it. Nobody knows the fault beforehand: the difference is"
    yield "the price of monitoring everything. If its rate is low too, the window has too little information."
    yield ""
    yield "A z-test of a week's label bias that knows the variance of days, and spends all false alarms on"
    yield "that one number, would detect:"
    yield ""
    yield from _head("labels otherwise", "rows counted", "within a week")
    for one in found["rate_tests"]:
        yield _row(one["fault"], one["rows"], f"{one['week']:.0%}")


def _short(found: Mapping[str, Any]) -> Iterator[str]:
    """List the faults that fall short of the target, with the noise of their columns."""
    short = [one for one in found["faults"] if _falls_short(one)]
    if not short:
        return
    yield f"Faults detected in less than {TARGET:.0%} of cases (gross ones in a day, others in a week),"
    yield "with the statistic that reacts most within a day, how far the median of faulty days reaches to the"
    yield "limit (1 or more is an alarm), and how far the furthest unchanged day reaches."
    yield "*Best statistic alone* is as above; the detection rate may exceed it if other columns alarm."
    yield ""
    yield from _head(
        "fault",
        "column",
        "within a day",
        "best statistic alone",
        "within a week",
        "best statistic alone",
        "best statistic",
        "reaches",
        "unchanged days reach",
    )
    for one in sorted(short, key=lambda one: (not one["gross"], one["fault"], one["where"])):
        name = f"**{one['fault']}**" if one["gross"] else one["fault"]
        reach = (one["by"], f"{one['reach']:.2f}", f"{one['unchanged_reach']:.2f}")
        seen = (text for window in ("day", "week") for text in (_percent(one[window]), _limit(one, window)))
        yield _row(name, one["where"], *seen, *reach)


def _limit(one: Line, window: str) -> str:
    found = one.get(f"limit_{window}")
    return f"{found['seen']:.0%}" if found else ""


def _best(one: Line, window: str) -> str:
    found = one.get(f"limit_{window}")
    if not found:
        return ""
    return str(found["column"] if found["kind"] == "overall" else found["kind"])


def _cost(found: Mapping[str, Any]) -> Iterator[str]:
    spent = found["cost"]
    yield f"{spent['rows']:,.0f} rows by {spent['columns']:.0f} columns take {spent['wall_seconds']:.1f} s"
    yield f"({spent['cpu_seconds']:.1f} s of CPU) and {spent['peak_memory_gb']:.2f} GB at the peak."
    if found["peers"]:
        yield found["peers"]


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row("---", *["---:"] * (len(names) - 1))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _falls_short(one: Line) -> bool:
    share = one["day" if one["gross"] else "week"]
    return bool(share["of"] and share["found"] < TARGET * share["of"])


def _percent(share: Line | None, digits: int = 0) -> str:
    if share is None or not share["of"]:
        return ""
    low, value, high = share["low"], share["found"] / share["of"], share["high"]
    return f"{value:.{digits}%} ({low:.{digits}%} to {high:.{digits}%})"


def _power(some: Sequence[Line], window: str) -> str:
    shares = [one[window]["found"] / one[window]["of"] for one in some if one[window]["of"]]
    least = f" ({min(shares):.0%})" if len(shares) > 1 else ""
    return f"{np.mean(shares):.0%}{least}" if shares else ""


def _joined(some: Sequence[Line], key: str) -> str:
    known = [one[key] for one in some if one.get(key)]
    of = sum(one["of"] for one in known)
    return f"{sum(one['found'] for one in known) / of:.0%}" if of else ""


def _until(found: Sequence[float | None]) -> str:
    known = [days for days in found if days is not None]  # None: no window was large enough
    if not known:
        return ""
    middle = float(np.median(known))
    return f"over {WEEK}" if middle > WEEK else f"{middle:g}"


def _days(number: int) -> str:
    return f"{number} day{'s' if number > 1 else ''}"
