"""`make examples`: write the example problems, for tables of scikit-learn."""

from pathlib import Path

from fivestage.scaffold.draft import InitOptions, draft
from fivestage.scaffold.write import write_problem

FOLDER = Path(__file__).with_name("problems")
KEEP = {  # columns that are measured beforehand and predict well
    "binary": ("worst concave points", "worst perimeter", "mean concave points"),
    "multiclass": ("flavanoids", "color_intensity", "proline"),
    "regression": (),
}
SOURCES = {"binary": "sklearn:breast_cancer", "multiclass": "sklearn:wine", "regression": "sklearn:diabetes"}


def write_example(task: str, folder: Path) -> None:
    """Write the example problem of a task."""
    write_problem(draft(InitOptions(SOURCES[task], "target", keep=KEEP[task])), folder)
    (folder / "__init__.py").unlink()


if __name__ == "__main__":
    for one in SOURCES:
        write_example(one, FOLDER / one)
