"""Tables larger than memory, partitioned by time into Parquet files in a folder or a bucket."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fivestage.common.columns import Ints


def parquet_of(frame: pd.DataFrame) -> pa.Buffer:
    """Write a frame as Parquet bytes, with dictionary encoding for text columns only."""
    text = [str(column) for column, kind in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    sink = pa.BufferOutputStream()
    # Dictionary encoding of measured numbers takes three times as long and saves no space.
    pq.write_table(pa.Table.from_pandas(frame), sink, compression="zstd", use_dictionary=text)
    return sink.getvalue()


@dataclass(frozen=True)
class Partitions:
    """Frames stored by name and by period, the number of whole stretches of `seconds` since 1970.

    `place` is a folder, or a URL that fsspec supports. Each period of a frame is a folder of files (pieces).
    """

    place: str
    seconds: int

    def spread(self, name: str, frame: pd.DataFrame, at: Ints, piece: str) -> Counter[int]:
        """Write a frame as one piece per period; returns the number of rows by period."""
        order = np.argsort(at // self.seconds, kind="stable")
        in_order = frame if (order[1:] > order[:-1]).all() else frame.iloc[order]
        periods, starts = np.unique(at[order] // self.seconds, return_index=True)
        bounds = pairwise([*starts.tolist(), len(frame)])
        rows: Counter[int] = Counter()
        for period, (start, end) in zip(periods.tolist(), bounds, strict=True):
            self.write(name, period, in_order.iloc[start:end], piece)
            rows[period] = end - start
        return rows

    def write(self, name: str, period: int, frame: pd.DataFrame, piece: str = "whole") -> None:
        """Write a piece of a period, replacing an earlier one of the same name."""
        files, folder = self._at(f"{name}/{period}")
        files.makedirs(folder, exist_ok=True)
        content = parquet_of(frame.reset_index(drop=True))
        with files.open(f"{folder}/{piece}.parquet", "wb") as file:
            file.write(content)

    def read(self, name: str, first: int, last: int, columns: list[str] | None = None) -> pd.DataFrame:
        """Read all pieces of the periods from `first` to `last`, ordered by period and by name."""
        tables = []
        for period in (one for one in self.periods(name) if first <= one <= last):
            files, folder = self._at(f"{name}/{period}")
            for path in sorted(files.ls(folder, detail=False)):
                with files.open(path, "rb") as file:
                    tables.append(pq.read_table(file, columns=columns))
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame()
        return frame

    def periods(self, name: str) -> list[int]:
        """The periods for which a frame has pieces, in order."""
        files, folder = self._at(name)
        if not files.exists(folder):
            return []
        return sorted(int(path.rstrip("/").rpartition("/")[2]) for path in files.ls(folder, detail=False))

    def clear(self, name: str) -> None:
        """Delete a frame, or all frames below a name."""
        files, folder = self._at(name)
        if files.exists(folder):
            files.rm(folder, recursive=True)

    def _at(self, name: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(self.place)
        return files, f"{root}/{name}"
