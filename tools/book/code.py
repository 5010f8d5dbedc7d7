"""Links to lines of code, by name, as names are more stable than line numbers."""

import ast
import os
import re
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT

LINE = re.compile(r"(\]\([^)#\s]+)#L\d+\)")  # the line of a link to code


def line_of(path: str, name: str, root: Path = ROOT) -> int:
    """Return the line that defines a name: `Class.method` in Python, else the first words of a line."""
    place = root / path
    if not place.is_file():
        raise UserError(f"A page links to {path}, which does not exist.")
    text = place.read_text(encoding="utf-8")
    found = _defined(ast.parse(text), name.split(".")) if place.suffix == ".py" else None
    if found is None:
        words = name if place.suffix != ".py" else f"{name} = "
        found = next(
            (n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(words)), None
        )
    if found is None:
        raise UserError(f"{path} does not define {name}, which a page links to.")
    return found


def _defined(tree: ast.AST, names: list[str]) -> int | None:
    for node in ast.iter_child_nodes(tree):
        targets: list[ast.expr] = []
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if name == names[0]:
                    return _defined(node, names[1:]) if names[1:] else node.lineno
            case ast.Assign():
                targets = node.targets
            case ast.AnnAssign():
                targets = [node.target]
        named = (one for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))
        if len(names) == 1 and names[0] in {one.id for one in named}:
            return int(node.lineno)  # type: ignore[attr-defined]
    return None


def link(path: str, name: str, page: Path, root: Path = ROOT) -> str:
    """Return a link from a page to the definition of a name, or to the file if the name is empty."""
    if not name and not (root / path).exists():
        raise UserError(f"A page links to {path}, which does not exist.")
    target = os.path.relpath(root / path, (root / page).parent)
    if not name:
        return f"[`{path}`]({target})"
    return f"[`{path}: {name.rstrip(':')}`]({target}#L{line_of(path, name, root)})"


def without_lines(text: str) -> str:
    """Remove the line numbers of links to code; the site and the next `make docs` update them."""
    return LINE.sub(r"\1)", text)
