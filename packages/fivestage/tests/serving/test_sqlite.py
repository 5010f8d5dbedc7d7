from contextlib import closing
from pathlib import Path

from fivestage.serving.sqlite import SqliteStore
from fivestage.serving.store import PredictionRecord

BODY = "x" * 1000


def test_the_write_ahead_log_stays_small_while_answers_come_in(tmp_path: Path) -> None:
    """It grew with every answer: 288 MB after 150,000 requests."""
    with closing(SqliteStore(tmp_path / "log.sqlite")) as store:
        for number in range(2000):
            records = [
                PredictionRecord(f"{number}-{place}", 0.0, "1", 0, 5, BODY, BODY) for place in range(10)
            ]
            store.write_answers(records)
        assert (tmp_path / "log.sqlite-wal").stat().st_size < 10_000_000
