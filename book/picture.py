"""The picture of the README: the page of a run, as a browser shows it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from core.errors import UserError
from core.settings import REPORTS, ROOT

PICTURE = ROOT / "docs" / "pictures" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = (1180, 560)
COLOURS = 64  # a page has few


def take_picture(page: Path = REPORTS / "index.html", to: Path = PICTURE) -> Path:
    """What stands at the top of the page.

    Raises:
        UserError: without a page, or without a browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or not page.exists():
        raise UserError(f"A picture needs {page} (`make demo`) and Chromium.")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        how = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
        ]
        asked = [browser, *how, f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={shot}", page.as_uri()]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
        if not shot.exists():
            raise UserError(f"{browser} takes no picture: {done.stderr.strip()}")
        to.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(to, optimize=True)
    return to
