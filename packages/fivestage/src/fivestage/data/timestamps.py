"""Parse the timestamp columns of a table to score."""

import pandas as pd

from fivestage.common.errors import require_columns
from fivestage.contract.contract import Contract, TimestampColumn


def parse_timestamps(frame: pd.DataFrame, contract: Contract, source: str) -> pd.DataFrame:
    """Convert ISO 8601 texts with a time zone to epoch seconds; validation reports all other texts.

    Raises:
        UserError: when a column is missing.
    """
    require_columns(frame.columns, contract.columns, source)
    parsed = frame.copy()
    for name, column in contract.columns.items():
        if not isinstance(column, TimestampColumn):
            continue
        if not pd.api.types.is_numeric_dtype(frame[name]):
            texts = frame[name].astype("str")
            zoned = texts.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True, na=False)
            times = pd.to_datetime(texts.where(zoned), utc=True, errors="coerce", format="ISO8601")
            seconds = (times - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
            parsed[name] = seconds.astype(object).where(times.notna(), texts)
    return parsed
