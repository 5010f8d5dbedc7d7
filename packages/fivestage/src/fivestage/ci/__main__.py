"""`python -m fivestage.ci issue|facts NOTICE`, called by the make targets of the workflows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fivestage.ci import github
from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice, read_notice

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
NoticeFile = Annotated[Path, typer.Argument(metavar="NOTICE", help="notice file written by a command")]


@app.command()
def issue(notice: NoticeFile) -> None:
    """Open, update or close the one issue of the notice's kind."""
    if content := _read_if_written(notice):
        typer.echo(github.update_issue(content))


@app.command()
def facts(notice: NoticeFile) -> None:
    """Print the notice's facts for the next steps of a workflow, one name=value per line."""
    if content := _read_if_written(notice):
        typer.echo("\n".join(f"{name}={value}" for name, value in content.facts.items()))


def _read_if_written(path: Path) -> Notice | None:
    if path.exists():
        return read_notice(path)
    typer.echo(f"{path} does not exist: there is nothing to report.", err=True)
    return None  # no period was over, or no training was due


def main() -> None:
    """Run a command; an error prints its message, and the exit code is 1."""
    try:
        app()
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
