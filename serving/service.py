"""The service apart from HTTP: one model, one history, one log; used from one event loop."""

import asyncio
import gc
import itertools
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from core.errors import UserError
from core.windows import History
from problem.features import FACTS
from serving.engine import Prediction
from serving.log import Answered, GroupCommit, Told, open_store
from serving.metrics import Metrics
from serving.model import Model, load_model, remember
from serving.pointer import Pointer, read_pointer
from serving.problems import Refusal
from serving.schema import Answer, Plain, Receipt
from serving.settings import Settings
from serving.trees import UnsupportedError

logger = logging.getLogger("serving")
RETRY = {"Retry-After": "1"}
MAX_EXPLAINED = 10  # rows of a request; each takes some milliseconds


class Service:
    """Answers requests with the version that the pointer names, and follows it when it moves."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.store = open_store(settings.database_url)
        self.model: Model | None = None
        self.pointer: Pointer | None = None
        self.trouble = ""  # why the pointer's version does not serve
        self.draining = False  # set when told to stop
        self._heard = 0  # number of the last event in the history
        self._since = 0  # up to here (epoch seconds) the history came with an artifact
        self._commit = GroupCommit(self.store.write_answers)
        process = secrets.token_hex(6)
        self._names = (f"{process}-{number:08x}" for number in itertools.count(1))
        self._encode = msgspec.json.Encoder().encode
        self._tasks: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.model is not None and not self.draining

    async def start(self) -> None:
        """Load the model, if there is one, and begin to watch."""
        await self.reload()
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._tidy())]

    async def stop(self) -> None:
        """Stop watching and close the log; requests have finished before."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()

    # --- requests ---

    async def predict(self, body: bytes, *, explain: bool = False) -> tuple[str, bytes]:
        """Answer rows, once the answer is in the log: the request's name, and the answer.

        Raises:
            Refusal: when there is no model, or the rows are not what the contract says.
        """
        started = time.perf_counter_ns()
        model = self._current()
        rows = model.rows.read(body)
        found = model.engine.predict(rows)
        if explain:
            found = self._explained(model, rows, found)
        name = next(self._names)
        answer = self._encode(Answer(name, model.version, model.artifact.threshold, found))
        spent = (time.perf_counter_ns() - started) // 1000
        logged = Answered(
            name, time.time(), model.version, self._heard, spent, body.decode(), answer.decode()
        )
        await self._commit.add(logged)
        self._count(model, found)
        return name, answer

    def _explained(self, model: Model, rows: list[Plain], found: list[Prediction]) -> list[Prediction]:
        if len(rows) > MAX_EXPLAINED:
            raise Refusal(422, f"{len(rows)} rows are too many to explain: send at most {MAX_EXPLAINED}.")
        try:
            return model.engine.explain(rows, found)
        except UnsupportedError as error:
            raise Refusal(422, f"This model cannot be explained: {error}.") from None

    async def tell(self, body: bytes) -> bytes:
        """Take in events, once they are in the log.

        Raises:
            Refusal: when there is no model, or the events are not what the contract says.
        """
        model = self._current()
        messages = model.events.messages(body)
        events = model.events.plain(messages)
        reference = model.artifact.reference
        kinds = [str(message.__struct_config__.tag) for message in messages]
        rules = model.artifact.contract.events
        facts = [
            FACTS[kind](event, reference) if rules[kind].known_at(event) > self._since else []
            for kind, event in zip(kinds, events, strict=True)
        ]
        now = time.time()
        told = [
            Told(kind, self._identity(model, kind, event), now, self._encode(message).decode())
            for kind, event, message in zip(kinds, events, messages, strict=True)
        ]
        numbers = self.store.write_events(told)
        for number, kind, new in zip(numbers, kinds, facts, strict=True):
            if number is not None:
                model.engine.learn(new)
                self._heard = number
                self.metrics.events[kind] += 1
        accepted = sum(number is not None for number in numbers)
        return self._encode(Receipt(accepted, len(events) - accepted))

    def describe(self) -> dict[str, Any]:
        """What serves, and what it was made from.

        Raises:
            Refusal: when there is no model.
        """
        model = self._current()
        artifact = model.artifact
        return {
            "version": model.version,
            "digest": model.digest,
            "as_of": artifact.as_of,
            "trained_until": artifact.trained_until,
            "threshold": artifact.threshold,
            "sets": artifact.sets,
            "features": artifact.features,
            "lineage": asdict(artifact.lineage),
            "trees": model.engine.scorer.why_slow or "compiled",
            "contract": {
                "name": artifact.contract.name,
                "digest": artifact.contract.digest,
                "decision": artifact.contract.decision.model_dump(),
                "costs": artifact.contract.costs.model_dump(),
            },
            "trouble": self.trouble,
        }

    def _current(self) -> Model:
        if self.model is None:
            raise Refusal(503, self.trouble or "The model is being loaded.", headers=RETRY)
        return self.model

    def _identity(self, model: Model, kind: str, event: Plain) -> str:
        names = model.artifact.contract.events[kind].identity
        return self._encode([event[name] for name in names]).decode()

    def _count(self, model: Model, predictions: Sequence[Prediction]) -> None:
        decision = model.artifact.contract.decision
        acts = sum([one.decision == decision.act for one in predictions])
        self.metrics.decisions[model.version, decision.act] += acts
        self.metrics.decisions[model.version, decision.wait] += len(predictions) - acts
        for one in predictions:
            if one.unknown:
                self.metrics.unknown.update(one.unknown)

    # --- the model ---

    async def reload(self) -> None:
        """Serve what the pointer names, if it has moved; if that is refused, the old version stays."""
        async with self._reloading:
            try:
                pointer = read_pointer(self.settings.pointer)
                if pointer != self.pointer:
                    self.pointer = pointer
                    await self._take_up(pointer)
            except UserError as error:
                if self.trouble != str(error):
                    self.trouble = str(error)
                    self.metrics.reloads["refused"] += 1
                    logger.error("refused a model: %s", error)  # noqa: TRY400

    async def _take_up(self, pointer: Pointer) -> None:
        model = await asyncio.to_thread(load_model, pointer)
        old = self.model
        if old is not None and old.artifact.reference == model.artifact.reference:
            model.engine.history = old.engine.history
        else:
            history = model.engine.history
            heard = await asyncio.to_thread(self._recall, history, model)
            self._heard = remember(history, self.store, model, heard)  # what came meanwhile
            self._since = model.artifact.as_of
        self.model, self.trouble = model, ""
        gc.collect()
        gc.freeze()  # the model and its history stay: collections need not walk them
        self.metrics.model = (model.version, model.digest)
        self.metrics.reloads["taken up"] += 1
        slow = model.engine.scorer.why_slow
        self.metrics.gauges["trees_compiled"] = ("Whether the trees run as compiled tables.", float(not slow))
        if slow:
            logger.warning("the trees run in treelite's interpreter: %s", slow)
        logger.info("serving", extra={"version": model.version, "digest": model.digest})

    def _recall(self, history: History, model: Model) -> int:
        store = open_store(self.settings.database_url)
        try:
            return remember(history, store, model)
        finally:
            store.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.watch_seconds)
            await self.reload()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                await asyncio.to_thread(self.store.tidy)
            except Exception:  # the log itself tells requests of its troubles
                logger.exception("the log could not be tidied")
