"""What the last demo was made from: one of the same code, data and champion has nothing left to compute."""

import json
import time
from pathlib import Path

from fivestage.cli.application import say
from fivestage.common.files import write_whole
from fivestage.common.settings import DEMO
from fivestage.contract.contract import iso
from fivestage.registry.versions import ModelRegistry

FILE = DEMO / "finished.json"


def remember_demo(made_from: str, name: str, file: Path = FILE) -> None:
    """Keep what a demo that has just ended was made from, and the champion that it left.

    Args:
        made_from: Hashes of code and data.
        name: Of the registered model.
        file: Where that is kept.
    """
    content = json.dumps({"from": made_from, "champion": _champion(name), "at": round(time.time())})
    write_whole(file, lambda scratch: scratch.write_text(content, encoding="utf-8"))


def nothing_changed(made_from: str, name: str, page: Path, file: Path = FILE) -> bool:
    """Whether a demo would come to the same as the last one; if so, say it.

    Args:
        made_from: Hashes of code and data as they are now.
        name: Of the registered model.
        page: The report that the last demo wrote.
        file: As `remember_demo` wrote it; it is missing where no demo has ended.

    Returns:
        True where code, data and champion are those of the last demo, and its report is there.
    """
    if not (file.exists() and page.exists()):
        return False
    known = json.loads(file.read_text(encoding="utf-8"))
    if known["from"] != made_from or known["champion"] != _champion(name):
        return False
    say(
        f"Code, data and champion are those of the demo that ended at {iso(known['at'])}: nothing is "
        f"computed again, and {page} has its results. To run it from scratch: make clean demo"
    )
    return True


def _champion(name: str) -> list[str] | None:
    found = ModelRegistry(name).champion()
    return [found.version, found.digest, found.run_id] if found else None
