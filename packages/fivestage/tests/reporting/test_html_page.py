import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fivestage.contract.contract import Contract
from fivestage.evaluation.daily import NAN
from fivestage.evaluation.metrics import Estimate
from fivestage.reporting.documents import card_text
from fivestage.reporting.documents import page_text as page
from fivestage.reporting.results import CauseRow, ProblemSection, Results
from fivestage.reporting.sentences import STAGES
from fivestage.reporting.terminal_summary import summary
from tests.reporting.conftest import WATCHED, for_task

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Read(HTMLParser):
    """Checks that elements are closed in order, and keeps what the tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: Counter[str] = Counter()
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids[values["id"]] += 1
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag != "use":
            self.loaded += [values[name] for name in ("src", "href", "xlink:href", "data") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data


@pytest.fixture(scope="module")
def html(contract: Contract, results: Results) -> str:
    return page(contract, results)


@pytest.fixture(scope="module")
def card_of_run(contract: Contract, results: Results) -> str:
    return card_text(contract, results)


def test_every_stage_asks_decides_and_shows(html: str, contract: Contract) -> None:
    text = " ".join(Read(html).text.split())
    assert contract.title in text
    for stage in STAGES:
        assert stage.question in text
    assert "Not run yet" not in text
    for shown in (
        "from a probability of 0.333,",  # problem: the threshold of the contract's costs
        "3 of 3 leakage probes passed",
        "336,750 rows were kept; 26 rows or values were quarantined",
        "log-loss 0.468, against 0.472 for the best baseline, logistic regression",
        "0.730 to 0.773",  # the interval of the test's ROC-AUC
        "4 of 4 gates passed",
        "differ from the offline ones by at most 2.2e",
        "11.4 ms",
        "13 periods were monitored, 2 of them bad, 2 with broken data; 1 retraining, 1 promoted",
        "pressure: missing in 40.0% of rows",
        "3 min 12 s",  # all stages together
        "make ui",
    ):
        assert shown in text


def test_decisions_are_counted_by_outcome_and_scored(html: str) -> None:
    assert "<h3>Decisions by outcome, holdout window</h3>" in html
    assert "<b>18</b> <small>90.0%</small>" in html
    assert "100 <small>10.0%</small>" in html
    scores = '<td class="number">88.2%</td>\n    <td class="number">74.8%</td><td class="number">1,000</td>'
    assert f"<td>very late or lost</td><td>call ahead</td>{scores}" in html


def test_windows_have_one_name(html: str, card_of_run: str, contract: Contract, results: Results) -> None:
    for text in (html, card_of_run, summary(contract, results, Path("page.html"))):
        assert not re.search(r"champion/challenger (window|evaluation)|evaluation window", text)
    assert html.count(">holdout<") == 2  # in the plot, and in the table of windows
    assert html.count(">validation folds<") == 1


def test_no_finding_is_hidden_and_few_labels_are_not_good_ones(contract: Contract, results: Results) -> None:
    assert results.monitoring is not None
    first = results.monitoring.periods[0]
    causes = tuple(CauseRow("input shift", f"column {at}", f"finding {at}") for at in range(5))
    one = replace(first, judged=False, causes=causes)
    text = page(contract, replace(results, monitoring=replace(results.monitoring, periods=(one,))))
    assert all(f"finding {at}" in text for at in range(5))
    assert "1 period was monitored, 0 of them bad, 1 with too few labels to judge;" in text


def test_every_plot_is_drawn_once_and_described(html: str) -> None:
    read = Read(html)
    tables = 3  # two heat maps and the importance of the features are tables
    assert read.tags["svg"] == read.tags["figure"] - tables + 2 == 10  # two periods show their causes' days
    assert html.count('role="img" aria-label="') == 10
    assert [name for name, times in read.ids.items() if times > 1] == []


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    read = Read(html)
    assert read.tags["script"] == 0
    assert [address for address in read.loaded if address != "data:,"] == []
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_links_stay_in_the_project_or_open_the_service(html: str, results: Results) -> None:
    assert results.serving is not None
    read = Read(html)
    for link in read.links:
        if link.startswith("#"):
            assert link[1:] in read.ids
        elif "://" in link:
            assert link == f"{results.serving.url}/docs"
    assert "model_card.md" in read.links
    assert "drift/2013-10-01.html" in read.links


def test_colours_come_from_the_page(html: str) -> None:
    drawn = re.sub(r"var\(--\w+, #\w+\)", "", "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()


def test_text_from_outside_is_escaped(html: str, contract: Contract) -> None:
    assert "value &lt;out&gt; of range" in html
    bold = contract.model_copy(update={"title": "<script>alert(1)</script>"})
    assert Read(page(bold, Results())).tags["script"] == 0


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize("stage", [stage.name for stage in STAGES if stage.name != "problem"])
def test_a_stage_stands_alone_and_the_others_are_said(
    stage: str, contract: Contract, results: Results
) -> None:
    text = Read(page(contract, Results(**{stage: getattr(results, stage)}))).text
    assert text.count("Not run yet.") == 2 * 3  # each in its tile and in its section


@pytest.mark.usefixtures("without_plots")
def test_a_refused_model_is_why_nothing_is_served(contract: Contract, results: Results) -> None:
    model = results.model
    assert model
    gates = (replace(model.gates[0], passed=False), *model.gates[1:])
    text = Read(page(contract, Results(model=replace(model, gates=gates, promoted=False)))).text
    assert text.count(f"Not run, because version {model.version} was refused.") == 2 * 2  # tiles and sections
    assert text.count("change `gates` in problem/problem.yaml") == 1
    assert text.count("Not run yet.") == 2  # of the data


def test_before_any_run_there_is_a_page(contract: Contract) -> None:
    read = Read(page(contract, Results()))
    assert read.text.count("Not run yet.") == 8
    assert read.tags["svg"] == 0


def test_results_of_another_contract_are_pointed_out(html: str, contract: Contract) -> None:
    assert "problem.yaml has changed" not in html
    assert "problem.yaml has changed" in page(contract, Results(problem=ProblemSection("another")))


def test_missing_numbers_are_a_dash(contract: Contract, results: Results) -> None:
    assert results.model is not None
    assert results.monitoring is not None
    unknown = Estimate(NAN)
    waiting = tuple(
        replace(
            period,
            metrics=dict.fromkeys(period.metrics, unknown),
            drift=tuple(replace(one, score=NAN) for one in period.drift),
            label_share=0.0,
            estimated_cost=NAN,
        )
        for period in results.monitoring.periods
    )
    rows = tuple(replace(row, metrics=row.metrics | {"roc_auc": unknown}) for row in results.model.slices)
    html = page(
        contract,
        replace(
            results,
            model=replace(results.model, slices=rows, test={"roc_auc": unknown}),
            monitoring=replace(results.monitoring, periods=waiting),
        ),
    )
    assert re.search(r"\b(nan|inf)\b", Read(html).text) is None


def test_the_same_results_give_the_same_page(html: str, contract: Contract, results: Results) -> None:
    assert page(contract, results) == html


@pytest.mark.usefixtures("without_plots")
def test_a_policy_pays_only_where_its_interval_lies_above_zero(contract: Contract, results: Results) -> None:
    html = page(contract, results)
    assert "retraining “every 4 periods” saves most" in html
    assert "No significant savings: on drift." in html
    assert results.policies is not None
    doubtful = replace(
        results.policies,
        policies=tuple(replace(one, saved=replace(one.saved, low=-1.0)) for one in results.policies.policies),
    )
    html = page(contract, replace(results, policies=doubtful))
    assert "no policy saves significantly more than its training costs" in html


@pytest.mark.usefixtures("without_plots")
def test_policies_are_compared_where_no_service_was_monitored(contract: Contract, results: Results) -> None:
    html = page(contract, Results(policies=results.policies))
    assert "Comparison of retraining policies" in Read(html).text
    assert "every 4 periods" in html


def test_each_period_is_shown_by_slice(html: str) -> None:
    text = Read(html).text
    assert "Bias by slice and period" in text
    assert text.count("by slice") == 14  # the plot's, and a table for each of 13 periods
    assert "origin EWR" in text


def test_heat_maps_show_how_far_each_column_and_slice_is_from_its_limit(html: str) -> None:
    drift = html[html.index("Input drift by period") : html.index("Estimates before")]
    assert drift.count('<td class="name">') == len(WATCHED)
    assert drift.count("\u00d7") == 4  # two columns in two bad periods
    assert 'title="171.4% of the limit"' in drift
    bias = html[html.index("Bias by slice and period") : html.index("<h3>Retrainings")]
    assert bias.count('<td class="name">origin') == 3
    assert "% of the limit" in bias


@pytest.mark.usefixtures("without_plots")
def test_a_long_heat_map_says_what_it_leaves_out(contract: Contract, results: Results) -> None:
    assert results.monitoring is not None
    first = results.monitoring.periods[0]
    many = tuple(replace(first.drift[0], column=f"column_{at}", score=at / 100) for at in range(30))
    one = replace(results.monitoring, periods=(replace(first, drift=many),))
    html = page(contract, replace(results, monitoring=one))
    assert (
        "the highest scores come first. Crossed: above the limit. Shown: the first 24 of 30.</small>" in html
    )
    assert 'class="name">column_29' in html
    assert 'class="name">column_5<' not in html


def test_numbers_say_what_they_are(html: str) -> None:
    text = " ".join(Read(html).text.split())
    for explained in (
        "95% interval",
        "Achievable savings: the cost of the best constant decision, less that of knowing every outcome.",
        "Increase of the log-loss on the test window",
        "Grey: fewer than 50 rows",
        "Labels: share of the outcomes that had arrived when the period was scored.",
    ):
        assert explained in text


def test_a_cause_comes_with_its_days(html: str) -> None:
    assert "<b>data broken</b>: pressure: missing in 40.0% of rows" in html
    assert html.count("<summary>What moved in the period from ") == 2


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        ("multiclass", "the lowest expected cost decides"),
        ("regression", "quantile of the predicted distribution"),
    ],
)
def test_each_task_has_its_page_and_card(task: str, rule: str, results: Results) -> None:
    contract, made_over = for_task(task, results)
    read = Read(page(contract, made_over))
    assert rule in " ".join(read.text.split())
    assert read.tags["svg"] == 10
    costs = page(contract, made_over).partition("Cost of a decision by outcome")[0]
    assert costs.rstrip().endswith('<div class="pair">\n<div>\n<h3>') is (task != "multiclass")
    assert "## Limits" in card_text(contract, made_over)
