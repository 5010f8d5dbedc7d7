"""Pages from templates, filled with measurements and links to lines of code."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import jinja2
from pydantic import TypeAdapter

from fivestage.capacity.cost import Cost, costs, log_gib, predictions
from fivestage.capacity.inputs import ASSUMPTIONS, PRICES, Assumptions, Capacity, Prices, read, read_capacity
from fivestage.capacity.plan import CapacityPlan, plan
from fivestage.common.errors import UserError
from fivestage.common.files import put_between
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import MAX_SHARE
from fivestage.evaluation.metrics import Estimate, evaluate
from fivestage.monitoring.backtest import ERROR
from fivestage.reporting import number_format as fmt
from fivestage.reporting import sentences, task_display
from fivestage.reporting.results import PoliciesSection
from problem.features import LOOKBACK_HOURS
from tools.bench import demo
from tools.book import code
from tools.book.distributed import planner, training
from tools.book.measured import SPEED, Record, command_of, results_of

HERE = Path(__file__).parent
SOURCES, LAYOUTS = HERE / "pages", HERE / "templates"
DESIGN = "docs/design"
# Pages with generated parts, from tools/book/templates/blocks/NAME.md.j2.
MARKED = {"README.md": ("first_run", "results", "comparison"), "docs/speed.md": ("demo",)}
SUFFIX = ".j2"
CONFIDENCE = signature(evaluate).parameters["confidence"].default  # of intervals over days
LOADS = (("ten", 10), ("hundred", 100), ("thousand", 1000))


@dataclass(frozen=True)
class Sizing:
    """The deployment as planned by `make size`."""

    capacity: Capacity
    assumed: Assumptions
    plan: CapacityPlan
    prices: Prices
    costs: tuple[Cost, ...]
    log_gib: float
    predictions: float  # per month


def sizing_of(contract: Contract, times: float = 1) -> Sizing:
    """Plan the deployment for the contract's request rate, or a multiple of it."""
    more = {"requests_per_second": times * contract.service.requests_per_second}
    contract = contract.model_copy(update={"service": contract.service.model_copy(update=more)})
    capacity, assumed, prices = read_capacity(), read(Assumptions, ASSUMPTIONS), read(Prices, PRICES)
    chosen = plan(contract, capacity, assumed)
    found = tuple(costs(contract, chosen, capacity, assumed, prices))
    gib, per_month = log_gib(contract, capacity, assumed), predictions(contract, assumed)
    return Sizing(capacity, assumed, chosen, prices, found, gib, per_month)


@dataclass(frozen=True)
class Facts:
    """Everything that pages may cite."""

    contract: Contract
    records: Mapping[str, Record]
    sizing: Sizing


class Cited:
    """Records by name; remembers the sources of the numbers that a page has used."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records
        self.sentences: list[str] = []

    def record(self, name: str) -> Record:
        """Return a record and cite it; if it is missing, a UserError names the command that measures it."""
        if name not in self._records:
            raise UserError(
                f"A page cites docs/measured/{name}.json, which is missing: "
                f"run `{command_of(name)}`, then `make docs`."
            )
        self.cite(_sentence(name, self._records[name]))
        return self._records[name]

    def cite(self, sentence: str) -> None:
        """Add a source, once."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def __getitem__(self, name: str) -> Any:
        return self.record(name).found


class Book:
    """Renders the pages."""

    def __init__(self, facts: Facts, sources: Path = SOURCES) -> None:
        self._facts, self._sources = facts, sources
        self._environment = jinja2.Environment(  # noqa: S701 (Markdown, of our own files)
            loader=jinja2.FileSystemLoader([sources, LAYOUTS]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def pages(self) -> dict[str, str]:
        """Render every page with a template, by its path in the repository."""
        names = [
            path.relative_to(self._sources).as_posix() for path in sorted(self._sources.rglob(f"*{SUFFIX}"))
        ]
        return {f"{DESIGN}/{name.removesuffix(SUFFIX)}": self._rendered(name) for name in names}

    def marked(self, root: Path = ROOT) -> dict[str, str]:
        """Render every page with generated parts."""
        found = {}
        for path, blocks in MARKED.items():
            text = (root / path).read_text(encoding="utf-8")
            for block in blocks:
                part = self._rendered(f"blocks/{block}.md{SUFFIX}", path).strip()
                text = put_between(text, block, part, path)
            found[path] = text
        return found

    def _rendered(self, template: str, page: str = "") -> str:
        page = page or f"{DESIGN}/{template.removesuffix(SUFFIX)}"
        cited = Cited(self._facts.records)
        facts = self._facts
        variables: dict[str, Any] = {
            "contract": facts.contract,
            "bench": cited,
            "run": _DemoResults(cited),
            "policies": lambda: TypeAdapter(PoliciesSection).validate_python(cited["year"]),
            "sizing": _CitedSizing(facts.sizing, cited),
            "sized": partial(sizing_of, facts.contract),
            "fmt": fmt,
            "speed": lambda: TypeAdapter(demo.Found).validate_python(cited[SPEED]),
            "speed_table": demo.table,
            "estimate": lambda name, found: fmt.estimate(name, Estimate(**found)),
            "sentences": sentences,
            "task_display": task_display,
            "stakes": partial(_stakes, facts.contract, cited),
            "confidence": f"{CONFIDENCE:.0%}",
            "confidence_of_all": f"{1 - ERROR:.0%}",  # of the simultaneous intervals of policies
            "max_share": MAX_SHARE,
            "lookback_hours": LOOKBACK_HOURS,
            "loads": LOADS,
            "code": lambda path, name="": code.link(path, name, Path(page)),
            "measured": lambda: cited.sentences,
            "contents": self._contents,
            "plan": _CitedPlanner(cited),
            "training": partial(training, cited),
        }
        try:
            text = self._environment.get_template(template).render(variables)
        except jinja2.TemplateError as error:
            raise UserError(f"tools/book/pages/{template} cannot be filled: {error.message}.") from error
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

    def _contents(self) -> dict[str, list[tuple[str, str]]]:
        """Return the pages of each stage: path and question."""
        stages: dict[str, list[tuple[str, str]]] = {}
        for path in sorted(self._sources.glob(f"*/*{SUFFIX}")):
            question = re.search(r"{% block question %}(.+?){% endblock %}", path.read_text(encoding="utf-8"))
            if question is None:
                raise UserError(f"{path} has no block `question`.")
            name = path.relative_to(self._sources).as_posix().removesuffix(SUFFIX)
            stages.setdefault(path.parent.name, []).append((name, question[1]))
        return stages


class _DemoResults:
    """The demo's results; access to a stage cites them."""

    def __init__(self, cited: Cited) -> None:
        self._cited = cited

    def __getattr__(self, stage: str) -> Any:
        return getattr(results_of(self._cited.record("demo")), stage)


class _CitedPlanner:
    """The planner of distributed training; access cites it."""

    def __init__(self, cited: Cited) -> None:
        self._cited = cited

    def __getattr__(self, name: str) -> Any:
        self._cited.cite("`make plan`, projected or published, not measured here")
        return planner()[name]


class _CitedSizing:
    """The deployment; access to anything but assumptions and prices cites the measurement."""

    def __init__(self, sizing: Sizing, cited: Cited) -> None:
        self._sizing, self._cited = sizing, cited

    def __getattr__(self, name: str) -> Any:
        if name not in {"assumed", "prices"}:
            capacity = self._sizing.capacity
            self._cited.cite(f"`make bench-serving`, {fmt.day(capacity.measured)}, {capacity.machine}")
        return getattr(self._sizing, name)


def _stakes(contract: Contract, cited: Cited, rate: float) -> dict[str, float]:
    """Return the costs per 1,000 decisions of deciding without a model, at another label rate."""
    data = results_of(cited.record("demo")).data
    assert data is not None  # noqa: S101 (a demo always has it)
    week = replace(data.label_rate[0], rate=rate, rows=1)
    return task_display.stakes(contract, replace(data, label_rate=(week,)))[1]


def _sentence(name: str, record: Record) -> str:
    commit, changed, _ = record.commit.partition("-")
    after = " with uncommitted changes" if changed else ""
    where = f"commit `{fmt.short(commit)}`{after}, {record.machine}"
    return f"`{command_of(name)}`, {fmt.day(record.on)}, {where}"
