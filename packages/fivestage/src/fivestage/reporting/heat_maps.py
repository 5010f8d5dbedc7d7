"""Heat maps of the page: how far columns or slices are from their limit in each period."""

from collections.abc import Mapping, Sequence

from fivestage.contract.contract import Contract
from fivestage.reporting import number_format as fmt
from fivestage.reporting.results import PeriodRow

Cell = tuple[float, bool]  # share of the limit, and whether it is exceeded
Row = tuple[str, list[Cell | None]]  # name, and a cell for each period


def drift(periods: Sequence[PeriodRow]) -> list[Row]:
    """Return the drift score of each column as a share of its limit, the largest score first."""
    cells = [{one.column: (one.score / one.limit, one.drifted) for one in period.drift} for period in periods]
    furthest: dict[str, float] = {}
    for period in cells:
        for column, (share, _) in period.items():
            furthest[column] = max(furthest.get(column, 0.0), share)
    return _rows(sorted(furthest, key=lambda column: -furthest[column]), cells)


def bias(periods: Sequence[PeriodRow], contract: Contract) -> list[Row]:
    """Return the bias of each slice as a share of the limit, which its whole interval must exceed."""
    limit = contract.monitoring.max_bias
    cells: list[dict[str, Cell]] = [{} for _ in periods]
    for period, row in zip(periods, cells, strict=True):
        for one in period.slices:
            if found := one.metrics.get("bias"):
                beyond = min(abs(found.low), abs(found.high)) > limit and found.low * found.high > 0
                share = abs(found.value) / limit if limit else 2.0
                row[f"{fmt.spaced(one.column)} {one.value}"] = share, beyond
    return _rows(sorted({name for row in cells for name in row}), cells)


def _rows(names: Sequence[str], cells: Sequence[Mapping[str, Cell]]) -> list[Row]:
    return [(name, [period.get(name) for period in cells]) for name in names]
