"""The command-line application of run.py: prepares each command and prints errors as one sentence."""

import gc
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import Any

import typer

from fivestage.common.errors import UserError
from fivestage.common.files import one_at_a_time
from fivestage.common.settings import REPORTS, ROOT, VAR, ensure_writable, prepare_environment
from fivestage.features.problem import Problem

INTERRUPTED = 130
NEW_OBJECTS = 200_000  # between two garbage collections, as the libraries' million objects are never freed
EARLIER_PACKAGES = ("core", "init", "report", "sizing")  # modules that problem/ imported up to v0.2.0
TRACEBACK = "FIVESTAGE_TRACEBACK"  # an environment variable
INSTALLED = {".venv", "site-packages", "packages"}  # folders whose code is not the project's own
MIGRATION = "problem/ is of v0.2.0 or earlier, and docs/how-to/upgrade.md explains how to update it."
Command = Callable[..., None]


class Application:
    """A command line around a problem.

    Args:
        problem: Its contract is checked before a command runs.
        help_text: What `--help` says first.
    """

    def __init__(self, problem: Problem, help_text: str) -> None:
        self.problem = problem
        self.commands = typer.Typer(
            help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
        )
        self.commands.callback()(lambda: None)  # so that a single command keeps its name too

    def command(
        self, *, stores: bool = True, contract: bool = True, alone: bool = False
    ) -> Callable[[Command], Command]:
        """Register a function as a command; its parameters are the options, its docstring the help.

        Args:
            stores: Whether ZenML and MLflow are opened first.
            contract: Whether the contract is read first, to report its errors early.
            alone: Whether a second run is refused while one is running.
        """

        def register(function: Command) -> Command:
            name = function.__name__.replace("_", "-")
            lock = partial(one_at_a_time, VAR / f"{name}.lock", f"`make {name}`") if alone else nullcontext

            @wraps(function)
            def run(**options: Any) -> None:
                try:
                    if contract:
                        self._check_contract()
                    prepare_environment()
                    ensure_writable(REPORTS)
                    if stores:
                        _open_stores()
                    with lock():
                        function(**options)
                except UserError as error:
                    typer.echo(str(error), err=True)
                    raise typer.Exit(1) from error
                except (ImportError, SyntaxError) as error:
                    if not (sentence := _import_failure(error)):
                        raise
                    typer.echo(sentence, err=True)
                    raise typer.Exit(1) from error
                except _interruptions() as error:
                    raise typer.Exit(INTERRUPTED) from error

            about = inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0]
            self.commands.command(name, help=about)(run)
            return function

        return register

    def _check_contract(self) -> None:
        try:
            _ = self.problem.contract
        except UserError:
            _ = self.problem.features  # raises ImportError first if problem/ is of an earlier version
            raise

    def main(self, arguments: list[str] | None = None) -> None:
        """Run a command and exit: with 1 after a `UserError`, which is printed as a sentence."""
        # So that SIGTERM ends a command as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        gc.set_threshold(NEW_OBJECTS)
        try:
            self.commands(arguments)
        finally:
            gc.freeze()  # skips a last garbage collection, which takes seconds


def _import_failure(error: ImportError | SyntaxError) -> str:
    """Return where and why the project's code could not be imported; empty if the fault is elsewhere."""
    if isinstance(error, ModuleNotFoundError) and error.name in EARLIER_PACKAGES:
        return f"{error.name!r} is now in the library: {MIGRATION}"
    lines = [(Path(one.filename), one.lineno) for one in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((Path(error.filename), error.lineno))
    inside = [(path.relative_to(ROOT), line) for path, line in lines if path.is_relative_to(ROOT)]
    own = [(path, line) for path, line in inside if not INSTALLED & set(path.parts)]
    if TRACEBACK in os.environ or not own or own[-1][0].name == "run.py":
        return ""
    path, line = own[-1]
    advice = "Fix that line"
    if isinstance(error, ModuleNotFoundError):
        advice = "Fix the name, or add the package to pyproject.toml and run `make lock setup`"
    return f"{path}, line {line}: {error.msg}. {advice}. ({TRACEBACK}=1 shows the traceback.)"


def _interruptions() -> tuple[type[BaseException], ...]:
    """Return the exceptions that Ctrl-C raises, including ZenML's if that has been imported."""
    zenml = sys.modules.get("zenml.exceptions")
    return (KeyboardInterrupt, *([zenml.RunInterruptedException] if zenml else []))


def _open_stores() -> None:
    from fivestage.orchestration.databases import open_stores, use_stack

    open_stores()
    if "FIVESTAGE_STACK" in os.environ:
        use_stack(Path(os.environ["FIVESTAGE_STACK"]))
