"""Run Python in an image."""

import subprocess

COMPILED = """
from fivestage.artifact import compiled_trees
from fivestage.common.native import library
from fivestage.features import compiled_windows
sources = ((compiled_trees.SOURCE, "margins"), (compiled_windows.SOURCE, "windows"))
print(*(library(*one) is not None for one in sources))
"""


def inside(image: str, code: str) -> str:
    """Return the output of Python code in a read-only container without network."""
    words = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--entrypoint=python",
    ]
    done = subprocess.run([*words, image, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
