"""Screenshots for the pages: a run's page, the service's page, a dashboard."""

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
PATIENCE_MS = 5000  # of virtual time, for the page's requests
COLOURS = 64  # enough for a page
SERVICE = "http://127.0.0.1:8000"
GRAFANA = "GRAFANA_URL"
LOOKED_BACK = "15m"


def picture_of_report(page: Path = REPORTS / "index.html", to: Path = FOLDER / "report.png") -> Path:
    """Take a screenshot of the top of a run's page."""
    if not page.exists():
        raise UserError(f"The screenshot needs {page}: run `make demo` first.")
    return _shoot(page.as_uri(), (1180, 560), to)


def picture_of_service(url: str = SERVICE, to: Path = FOLDER / "service.png") -> Path:
    """Take a screenshot of a running service's page, with the contract's example request."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (http, by our own words)
            pass
    except OSError as error:
        raise UserError(
            f"The screenshot needs the service at {url}: run `make serve` in another terminal."
        ) from error
    return _shoot(f"{url}/#ask", (1040, 840), to)


def picture_of_dashboard(url: str = "", to: Path = FOLDER / "dashboard.png") -> Path:
    """Take a screenshot of the dashboard in a Grafana without login, by default at `GRAFANA_URL`."""
    url = url or os.environ.get(GRAFANA, "http://127.0.0.1:3000")
    name = json.loads((ROOT / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))["uid"]
    try:
        with urllib.request.urlopen(f"{url}/api/dashboards/uid/{name}", timeout=5):  # noqa: S310 (as above)
            pass
    except OSError as error:
        raise UserError(
            f"The screenshot needs a Grafana at {url} with the dashboard {name}, without login ({error}): "
            f"import monitoring/dashboard.json there, allow anonymous access, or set {GRAFANA} to another."
        ) from error
    return _shoot(f"{url}/d/{name}?kiosk&from=now-{LOOKED_BACK}&to=now", (1400, 1960), to)


PICTURES: dict[str, Callable[[], Path]] = {
    "report": picture_of_report,
    "service": picture_of_service,
    "dashboard": picture_of_dashboard,
}


def _shoot(address: str, size: tuple[int, int], to: Path) -> Path:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError("The screenshot needs Chromium: install it (Debian: apt install chromium).")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [browser, *FLAGS, f"--user-data-dir={folder}", f"--virtual-time-budget={PATIENCE_MS}"]
        command += [f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
        if not shot.exists():
            raise UserError(f"{browser} took no screenshot: {done.stderr.strip()}")
        to.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(to, optimize=True)
    return to
