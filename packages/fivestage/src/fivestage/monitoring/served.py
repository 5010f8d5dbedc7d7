"""The part of the prediction log that belongs to a period, and which periods to check."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.contract.contract import Contract
from fivestage.monitoring.retraining import SUMMARIES, Span
from fivestage.serving.log import open_store, predictions
from fivestage.serving.store import ShadowRecord

ROWS_AT_ONCE = 20_000  # of the log; those of other periods are dropped before more are read
SHADOW = "challenger's forecast"  # a column of the log, with a name that no input can have


@dataclass(frozen=True)
class Served:
    """Logged predictions of the decisions of a period.

    The log's column `row` is the position of each one's row in the data; -1 if they lack it, as for made-up
    requests.
    """

    span: Span
    log: pd.DataFrame
    challenger: str = ""  # the version whose forecasts are in the column `SHADOW`; empty if there are none
    as_of: int = 0  # labels known by then count, epoch seconds; 0 is the period's end

    @property
    def versions(self) -> list[str]:
        """The versions that served, and the challenger if there is one."""
        served: list[str] = self.log["model_version"].unique().tolist()
        return [*served, self.challenger] if self.challenger else served

    def label_share(self, rows: pd.DataFrame) -> float:
        """Return the share of the requested rows whose labels were known at `as_of`, as `judge` counts it."""
        if self.log.empty:
            return 0.0
        known = rows["known_at"].iloc[self.log["row"][self.log["row"] >= 0]] < self.as_of
        return float(known.sum()) / len(self.log)


def read_served(database: str, rows: pd.DataFrame, contract: Contract, span: Span) -> Served:
    """Read a period's predictions from the log, with those of the challenger.

    Of several predictions per identity the last counts. A period that is read again is read only up to its
    last predictions, because rows that were sent again later were not decided by these. Of what was logged
    after the period's end, which is much where periods were missed, reading stops at `ROWS_AT_ONCE` rows in a
    row that are all of later periods. Requests for a day more than `reference_days` ahead are not waited for.
    """
    start, end, ends = span.start, span.end, span.last or (math.inf, math.inf)
    inside, later, last, logged_at = [], [], span.after[0], 0.0
    with closing(open_store(database)) as store:
        logged = predictions(store, contract, span.after[0])
        logged = takewhile(lambda one: one["number"] <= ends[0], logged)
        while some := list(islice(logged, ROWS_AT_ONCE)):
            frame, last, logged_at = pd.DataFrame(some), some[-1]["number"], some[-1]["answered_at"]
            at = frame[contract.decision.time_column] - contract.decision.lead_seconds
            inside.append(frame[(at >= start) & (at < end)])
            seen_by = np.maximum(frame["answered_at"], end)
            near = (at >= end) & (at < seen_by + contract.monitoring.reference_days * DAY)
            later.append(frame.loc[near, ["number", "request_id"]].drop_duplicates())
            if some[0]["answered_at"] >= end and (at >= end).all() and any(map(len, inside)):
                last = some[0]["number"] - 1  # the next period reads these rows again
                break
        if not inside:
            nothing = pd.DataFrame(columns=["row", "model_version"])
            return Served(replace(span, last=span.after, next=span.after), nothing)
        log = pd.concat(inside).drop_duplicates([*contract.identity], keep="last", ignore_index=True)
        ahead = pd.concat(later)
        asked, asked_ahead = set(log["request_id"]), set(ahead["request_id"])
        wanted = asked | asked_ahead
        # Challengers predict a request within minutes of its answer.
        logged_shadows = takewhile(
            lambda one: one[0] <= ends[1] and one[1].at <= logged_at + DAY, store.shadows(span.after[1])
        )
        shadows = [one for one in logged_shadows if one[1].request_id in wanted]
    # Later periods read again what was logged for them before the last row of this one.
    before_next = [int(number) - 1 for number in ahead["number"].head(1)]
    shadow_before_next = [number - 1 for number, one in shadows if one.request_id in asked_ahead][:1]
    shadows = [one for one in shadows if one[1].request_id in asked]
    last_shadow = shadows[-1][0] if shadows else span.after[1]
    challenger = shadows[-1][1].model_version if shadows else ""
    log = log.assign(
        row=_places(rows, log, contract, span),
        **{SHADOW: _forecasts_of(challenger, (one for _, one in shadows), log)},
    )
    read = replace(
        span,
        last=(int(log["number"].max()) if len(log) else span.after[0], last_shadow),
        next=(min([last, *before_next]), min([last_shadow, *shadow_before_next])),
        has_later=not ahead.empty,
    )
    return Served(read, log, challenger)


def _forecasts_of(challenger: str, shadows: Iterable[ShadowRecord], log: pd.DataFrame) -> pd.Series:
    """Return a challenger's forecast of each logged row; None for those that it has not predicted."""
    predicted = {
        one.request_id: [row if isinstance(row, list) else [row] for row in json.loads(one.probabilities)]
        for one in shadows
        if one.model_version == challenger
    }
    places = zip(log["request_id"], log["place"], strict=True)
    answers = [predicted[name][place] if name in predicted else None for name, place in places]
    return pd.Series(answers, index=log.index, dtype=object)


def periods_to_check(
    database: str,
    rows: pd.DataFrame,
    span: tuple[int, int],
    log_offsets: tuple[int, int],
    past: Sequence[Any],
    contract: Contract,
) -> Iterator[Served]:
    """Yield the past periods that had too few labels and have enough now, then the period of a span.

    A period is not judged by the labels that arrive first, because easy cases often end first. It is checked
    again while it is at most `reference_days` old, and then once more, so that missing labels are noticed.

    Args:
        database: The URL of the prediction log, as for `open_store`.
        rows: All decisions in the data, with the times when their labels became known.
        span: The start and the end of the period in epoch seconds.
        log_offsets: The numbers up to which predictions and challengers' predictions have been read.
        past: The summaries of all earlier periods, also as in JSON.
        contract: The problem's contract.

    Returns:
        The logged predictions of each period, the latest last.

    Raises:
        UserError: If the kind of the URL is unknown, or the database cannot be opened.
    """
    (start, end), rules = span, contract.monitoring
    for one in SUMMARIES.validate_python(past):
        if not one.is_due(end, rules):
            continue
        served = replace(read_served(database, rows, contract, one.span), as_of=end)
        last_chance = len(served.log) and not one.is_due(end + rules.period_seconds, rules)
        if last_chance or served.label_share(rows) >= rules.min_label_share:
            yield served
    yield read_served(database, rows, contract, Span(start, end, log_offsets))


def rows_in(rows: pd.DataFrame, start: int, end: int) -> np.ndarray:
    """Return the positions of the rows decided in [start, end)."""
    return np.flatnonzero((rows["decision_at"] >= start) & (rows["decision_at"] < end))


def _places(rows: pd.DataFrame, log: pd.DataFrame, contract: Contract, span: Span) -> np.ndarray:
    """Return the position of each logged row in the data; -1 if they lack it, as for made-up requests."""
    identity, near = list(contract.identity), rows_in(rows, span.start, span.end)
    known = rows.iloc[near][identity].assign(place=near)
    places = log[identity].merge(known, on=identity, how="left")["place"]
    return places.fillna(-1).to_numpy(dtype=np.int64)
