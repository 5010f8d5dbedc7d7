"""Pictures of what runs make, as a browser shows them: a run's page, the service's own, a dashboard."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from fivestage.common.errors import UserError
from fivestage.common.settings import REPORTS, ROOT

FOLDER = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
PATIENCE_MS = 5000  # of the page's own time, until what it asks for has come
COLOURS = 64  # a page has few
SERVICE = "http://127.0.0.1:8000"
GRAFANA = "GRAFANA_URL"
LOOKED_BACK = "15m"


def picture_of_report(page: Path = REPORTS / "index.html", to: Path = FOLDER / "report.png") -> Path:
    """What stands at the top of the page of a run.

    Raises:
        UserError: without a page, or without a browser.
    """
    if not page.exists():
        raise UserError(f"A picture needs {page}: run `make demo` first.")
    return _shoot(page.as_uri(), (1180, 560), to)


def picture_of_service(url: str = SERVICE, to: Path = FOLDER / "service.png") -> Path:
    """The page at `/` of a running service, asked about the contract's example.

    Raises:
        UserError: when no service answers there, or without a browser.
    """
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (http, by our own words)
            pass
    except OSError as error:
        raise UserError(f"A picture needs the service at {url}: run `make serve` beside.") from error
    return _shoot(f"{url}/#ask", (1040, 840), to)


def picture_of_dashboard(url: str = "", to: Path = FOLDER / "dashboard.png") -> Path:
    """The dashboard in a Grafana that shows it without a login; by default the one that `GRAFANA_URL` names.

    Raises:
        UserError: when no such dashboard is there, or without a browser.
    """
    url = url or os.environ.get(GRAFANA, "http://127.0.0.1:3000")
    name = json.loads((ROOT / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))["uid"]
    try:
        with urllib.request.urlopen(f"{url}/api/dashboards/uid/{name}", timeout=5):  # noqa: S310 (as above)
            pass
    except OSError as error:
        raise UserError(
            f"A picture needs a Grafana at {url} that shows the dashboard {name} to anybody ({error}): "
            f"import monitoring/dashboard.json there, allow anonymous access, or set {GRAFANA} to another."
        ) from error
    return _shoot(f"{url}/d/{name}?kiosk&from=now-{LOOKED_BACK}&to=now", (1400, 1960), to)


PICTURES: dict[str, Callable[[], Path]] = {
    "report": picture_of_report,
    "service": picture_of_service,
    "dashboard": picture_of_dashboard,
}


def _shoot(address: str, size: tuple[int, int], to: Path, *more: str) -> Path:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError("A picture needs Chromium: install it (Debian: apt install chromium).")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        asked = [browser, *FLAGS, *more, f"--user-data-dir={folder}", f"--virtual-time-budget={PATIENCE_MS}"]
        asked += [f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}", address]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
        if not shot.exists():
            raise UserError(f"{browser} takes no picture: {done.stderr.strip()}")
        to.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(to, optimize=True)
    return to
