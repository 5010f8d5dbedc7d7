"""Prometheus metrics of the assistant, and the alert rules on them (`make alerts-assistant`)."""

from pathlib import Path
from typing import Any

import yaml
from fivestage.common.files import write_text
from fivestage.common.settings import ROOT
from fivestage.serving.prometheus_metrics import ServiceMetrics, ServingInfo, bound_of
from prometheus_client import Counter, Gauge

from fivestage_assistant.answering import Answer
from fivestage_assistant.assistant_contract import AssistantContract

RULES = ROOT / "assistant" / "rules.yaml"
MIN_QUESTIONS = 20  # in a window for an alert on a share of them
SLOW_SHARE = 0.01  # share of answers that may take longer than the contract's p99
FAILED_SHARE = 0.01  # share of requests that may end with a server error


class AskMetrics(ServiceMetrics):
    """The request metrics of the scoring service, and metrics of answers."""

    def __init__(self) -> None:
        super().__init__()
        own = self._registry
        self.answers = Counter("ask_answers", "Answers, by kind.", ["kind"], registry=own)
        self.empty = Counter("ask_empty_retrievals", "Questions for which nothing was found.", registry=own)
        self.fallbacks = Counter(
            "ask_fallbacks", "Answers of a chat model that failed the checks.", registry=own
        )
        self.thumbs = Counter(
            "ask_feedback", "Feedback, by whether the answer helped.", ["helpful"], registry=own
        )
        self.tokens = Counter("ask_chat_tokens", "Tokens of the chat model.", ["direction"], registry=own)
        self.cost = Counter(
            "ask_chat_cost", "Cost of the chat model, in the contract's currency.", registry=own
        )
        release = Gauge(
            "ask_release_info",
            "The release that serves.",
            ["index", "prompt"],
            registry=own,
            multiprocess_mode="mostrecent",
        )
        self._release = ServingInfo(release)
        for kind in ("extractive", "generated", "unknown"):
            self.answers.labels(kind)
        for helpful in ("true", "false"):
            self.thumbs.labels(helpful)

    def asked(self, answer: Answer, cost: float) -> None:
        """Count a new answer."""
        if not answer.retrieved:
            self.empty.inc()
        response = answer.generated
        if response is not None:
            self.tokens.labels("input").inc(response.input_tokens)
            self.tokens.labels("output").inc(response.output_tokens)
            self.cost.inc(cost)
        if answer.fell_back and answer.kind == "extractive":
            self.fallbacks.inc()

    def set_release(self, index: str, prompt: int) -> None:
        """Publish which release serves."""
        self._release.show(index, str(prompt))


def alert_rules(contract: AssistantContract) -> dict[str, Any]:
    """Return the content of a Prometheus rule file: one group of alerts, with limits from the contract."""
    limits, bad = contract.monitoring, contract.gates
    slow = bound_of(contract.answers.p99_ms)
    answers = "sum(increase(ask_answers_total[6h]))"
    asked = 'handler=~"/ask.*"'
    timed = 'sum(rate(http_request_duration_seconds_%s{handler="/ask"%s}[1h]))'
    quick = f',le="{slow:g}"'
    rules = [
        _alert(
            "AssistantAbsent", "absent(ask_release_info == 1)", "page",
            "No assistant with an index is scraped.", "5m",
        ),
        _alert(
            "AssistantFails",
            f'sum(rate(http_requests_total{{{asked},status=~"5.."}}[1h])) / '
            f"sum(rate(http_requests_total{{{asked}}}[1h])) > {FAILED_SHARE:g}",
            "page",
            "{{ $value | humanizePercentage }} of the last hour's questions ended with a server error.",
        ),
        _alert(
            "AssistantSlow",
            f"1 - {timed % ('bucket', quick)} / {timed % ('count', '')} > {SLOW_SHARE:g}",
            "ticket",
            f"{{{{ $value | humanizePercentage }}}} of the last hour's answers took longer than {slow:g} s.",
        ),
        _share("AssistantDeclines", 'ask_answers_total{kind="unknown"}', answers, limits.max_abstention,
               "questions were answered with I do not know"),
        _share("AssistantFindsNothing", "ask_empty_retrievals_total", answers, limits.max_empty,
               "questions found no passage"),
        _share("AssistantFallsBack", "ask_fallbacks_total",
               'sum(increase(ask_answers_total{kind!="unknown"}[6h]))', 1 - bad.min_prompt_supported,
               "answers of the chat model failed the checks"),
        _share("AssistantUnhelpful", 'ask_feedback_total{helpful="false"}',
               "sum(increase(ask_feedback_total[6h]))", limits.max_thumbs_down, "thumbs are down",
               limits.min_feedback),
    ]  # fmt: skip
    return {"groups": [{"name": "assistant", "rules": rules}]}


def rules_text(contract: AssistantContract) -> str:
    """Return the rule file as YAML."""
    head = "# Generated from assistant/assistant.yaml by `make alerts-assistant`.\n"
    return head + yaml.safe_dump(alert_rules(contract), sort_keys=False, width=110, allow_unicode=True)


def write_rules(contract: AssistantContract, path: Path = RULES) -> Path:
    """Write the rule file."""
    return write_text(path, rules_text(contract))


def _share(
    name: str, counted: str, total: str, limit: float, what: str, least: int = MIN_QUESTIONS
) -> dict[str, Any]:
    """Return an alert for when a share of the last six hours' questions exceeds a limit."""
    when = f"sum(increase({counted}[6h])) / {total} > {limit:g} and {total} >= {least}"
    summary = f"{{{{ $value | humanizePercentage }}}} of the last 6h's {what}; the limit is {limit:.0%}."
    return _alert(name, when, "ticket", summary)


def _alert(name: str, when: str, severity: str, summary: str, lasting: str = "") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": when,
        **({"for": lasting} if lasting else {}),
        "labels": {"severity": severity, "team": "assistant"},
        "annotations": {"summary": summary},
    }
