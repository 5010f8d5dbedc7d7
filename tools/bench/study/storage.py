"""The same rows in several formats: size, and seconds to write, to read, and to read one column."""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv, feather, parquet

from tools.bench.study.sample import best_seconds, studied

TIMES = 3


def measure() -> dict[str, Any]:
    """Measure all rows with their features, as the pipeline passes them on."""
    study = studied()
    frame = pd.concat([study.rows.reset_index(drop=True), study.features.reset_index(drop=True)], axis=1)
    frame = frame.loc[:, ~frame.columns.duplicated()]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    one = study.features.columns[-1]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, read, column) in formats(table, frame, str(one)).items():
            path = Path(folder) / "table"
            write(path)
            line: dict[str, Any] = {"format": name, "megabytes": path.stat().st_size / 1e6}
            for what, work in (("read_s", read), ("column_s", column)):
                line[what] = best_seconds(partial(work, path), TIMES, time.perf_counter)
            path.unlink()
            line["write_s"] = best_seconds(partial(write, path), 1, time.perf_counter)
            lines.append(line)
            path.unlink()
    return {"rows": len(frame), "columns": len(frame.columns), "lines": lines}


Work = Callable[[Path], Any]


def formats(table: pa.Table, frame: pd.DataFrame, one: str) -> dict[str, tuple[Work, Work, Work]]:
    """Return for each format functions that write, read, and read one column."""

    def write_sqlite(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            frame.to_sql("rows", database, index=False)
            database.commit()

    def ask(query: str) -> Work:
        def work(path: Path) -> Any:
            with closing(sqlite3.connect(path)) as database:
                return pd.read_sql(query, database)

        return work

    only = csv.ConvertOptions(include_columns=[one])

    def parquet_as(codec: str) -> tuple[Work, Work, Work]:
        return (
            lambda path: parquet.write_table(table, path, compression=codec),
            parquet.read_table,
            lambda path: parquet.read_table(path, columns=[one]),
        )

    return {
        "CSV": (
            lambda path: csv.write_csv(table, path),
            csv.read_csv,
            lambda path: csv.read_csv(path, convert_options=only),
        ),
        "SQLite": (write_sqlite, ask("SELECT * FROM rows"), ask(f'SELECT "{one}" FROM rows')),  # noqa: S608 (our own column)
        "Feather (LZ4)": (
            lambda path: feather.write_feather(table, str(path), compression="lz4"),
            lambda path: feather.read_table(str(path)),
            lambda path: feather.read_table(str(path), columns=[one]),
        ),
        "Parquet (Snappy)": parquet_as("snappy"),
        "Parquet (Zstandard)": parquet_as("zstd"),
    }
