"""Tables from buckets and databases; headers and columns of every kind."""

import http.server
import threading
from collections.abc import Iterator
from io import BytesIO

import pandas as pd
import pytest

from fivestage.common.database import connect
from fivestage.common.errors import UserError
from fivestage.data.source import read_table

TABLE = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as reading needs."""

    files: dict[str, bytes] = {}  # noqa: RUF012 (of the class)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        content = self.files.get(self.path.partition("?")[0])
        wanted = self.headers.get("Range", "")
        part = content or b""
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = part[int(first) : int(last) + 1]
        self.send_response(404 if content is None else 206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    parquet = BytesIO()
    TABLE.to_parquet(parquet)
    Bucket.files = {
        "/shop/orders.csv": TABLE.to_csv(index=False, sep=";").encode(),
        "/shop/orders.parquet": parquet.getvalue(),
    }
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["orders.csv", "orders.parquet"])
def test_a_bucket_is_read_without_further_libraries(bucket: str, name: str) -> None:
    pd.testing.assert_frame_equal(read_table(f"s3://shop/{name}{bucket}"), TABLE, check_dtype=False)


def test_what_is_not_in_the_bucket_is_a_sentence(bucket: str) -> None:
    with pytest.raises(UserError, match=r"gone\.csv.* cannot be read as a table"):
        read_table(f"s3://shop/gone.csv{bucket}")


def test_postgres_is_asked_by_the_driver_that_is_there() -> None:
    assert connect("postgresql://me@host/db").driver == "psycopg"
