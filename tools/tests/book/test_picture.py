"""Screenshots, taken by a fake browser."""

import http.server
import sys
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from fivestage.common.errors import UserError
from tools.book.picture import picture_of_dashboard, picture_of_report, picture_of_service

BROWSER = f"""#!{sys.executable}
import pathlib, shutil, sys, urllib.parse
from PIL import Image
[to] = [word.partition("=")[2] for word in sys.argv if word.startswith("--screenshot=")]
Image.new("RGB", (8, 8), "white").save(to)
address = urllib.parse.urlparse(sys.argv[-1])
to = pathlib.Path(__file__).with_name("shown.html")
if address.scheme == "file":
    shutil.copy(urllib.parse.unquote(address.path), to)
else:
    to.write_text(sys.argv[-1])
"""


class Page(http.server.BaseHTTPRequestHandler):
    """Serve a stand-in for the service's page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<title>A question</title><form></form>")

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "chromium").write_text(BROWSER)
    (folder / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def service() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_service_is_asked_before_its_page_is_taken(service: str, programs: Path, tmp_path: Path) -> None:
    to = picture_of_service(service, tmp_path / "pictures" / "service.png")
    assert Image.open(to).size == (8, 8)
    assert (programs / "shown.html").read_text() == f"{service}/#ask"
    page = Path(str(files("fivestage.serving"))) / "page.html"
    assert 'location.hash === "#ask"' in page.read_text(encoding="utf-8")


def test_the_dashboard_is_taken_where_grafana_has_it(
    service: str, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_URL", service)
    assert Image.open(picture_of_dashboard(to=tmp_path / "dashboard.png")).size == (8, 8)
    shown = (programs / "shown.html").read_text()
    assert shown.startswith(f"{service}/d/fivestage?kiosk")


def test_what_a_picture_needs_is_said(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="run `make demo` first"):
        picture_of_report(tmp_path / "index.html")
    with pytest.raises(UserError, match="run `make serve` in another terminal"):
        picture_of_service("http://127.0.0.1:9", tmp_path / "service.png")
    with pytest.raises(UserError, match=r"import monitoring/dashboard\.json there"):
        picture_of_dashboard("http://127.0.0.1:9", tmp_path / "dashboard.png")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs Chromium"):
        picture_of_service(service, tmp_path / "service.png")
