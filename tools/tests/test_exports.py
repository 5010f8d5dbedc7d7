"""A project imports few names of the library, and their arguments and results are documented."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "packages" / "fivestage" / "src"
MOST = 80  # names that a project's code uses; 80 are the aim
PROJECT = ("problem", "steps", "pipelines", "serving", "monitoring", "tools/template/problems")


def imported() -> set[tuple[str, str]]:
    """Return the library's modules and names that a project's code uses.

    The attributes of an imported module count as names, not the module.
    """
    found = set()
    for path in [ROOT / "run.py", *(path for folder in PROJECT for path in (ROOT / folder).rglob("*.py"))]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fivestage"):
                for alias in node.names:
                    module = f"{node.module}.{alias.name}"
                    if (LIBRARY / f"{module.replace('.', '/')}.py").exists():
                        modules[alias.asname or alias.name] = module
                    else:
                        found.add((str(node.module), alias.name))
        found |= {
            (modules[node.value.id], node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
        }
    return found


def functions() -> dict[str, ast.FunctionDef]:
    """Return the imported functions."""
    found = {}
    for module, name in imported():
        path = LIBRARY / f"{module.replace('.', '/')}.py"
        if path.exists():
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    found[f"{module}.{name}"] = node
    return found


def test_a_project_needs_few_names_of_the_library() -> None:
    """To get below the limit, replace several functions by one object."""
    assert len(imported()) <= MOST


def test_exported_functions_say_what_they_take_and_return() -> None:
    exported = functions()
    assert len(exported) > len(PROJECT)
    silent = []
    for name, node in exported.items():
        text = ast.get_docstring(node) or ""
        if (node.args.args or node.args.kwonlyargs) and "Args:" not in text:
            silent.append(f"{name}: Args")
        returned = "" if node.returns is None else ast.unparse(node.returns)
        if returned != "None" and not {"Returns:", "Yields:"} & set(text.split()):
            silent.append(f"{name}: Returns")
    assert silent == []
