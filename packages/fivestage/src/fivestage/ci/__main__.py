"""`python -m fivestage.ci issue|propose|facts NOTICE`, as the make targets of the workflows call it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fivestage.ci import github
from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice, read_notice

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
NoticeFile = Annotated[Path, typer.Argument(metavar="NOTICE", help="the notice that a command has written")]


@app.command()
def issue(notice: NoticeFile) -> None:
    """Open, update or close the one issue of the notice's kind."""
    if found := _read_if_written(notice):
        typer.echo(github.update_issue(found))


@app.command()
def facts(notice: NoticeFile) -> None:
    """Print what the notice says to the next steps, a name=value a line, as a workflow's outputs."""
    if found := _read_if_written(notice):
        typer.echo("\n".join(f"{name}={value}" for name, value in found.facts.items()))


@app.command()
def propose(
    notice: NoticeFile,
    files: Annotated[list[str], typer.Argument(help="what to commit")],
    base: Annotated[str, typer.Option(help="the branch to merge into")] = "main",
    source: Annotated[Path, typer.Option("--from", help="the folder that holds their new content")] = Path(),
) -> None:
    """Open or update a pull request with these files and the notice's text."""
    typer.echo(github.propose(read_notice(notice), files, base, source))


def _read_if_written(path: Path) -> Notice | None:
    if path.exists():
        return read_notice(path)
    typer.echo(f"There is no {path}: there is nothing to report.", err=True)
    return None  # no period was over, or no training was due


def main() -> None:
    """Run a command; an error is one sentence, and the exit code 1."""
    try:
        app()
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
