"""The service apart from HTTP: one model, one history, one log; used from one event loop."""

import asyncio
import gc
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import msgspec

from fivestage.artifact.tree_tables import UnsupportedError
from fivestage.common.errors import UserError
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.stores import UnlearnableEventError
from fivestage.serving.commit import GroupCommit, Then
from fivestage.serving.decoders import Plain, Receipt
from fivestage.serving.log import open_store
from fivestage.serving.metrics import Metrics, Shared
from fivestage.serving.model import Model, load_model, remember
from fivestage.serving.pointer import Pointer, pointer_of
from fivestage.serving.problems import ProblemError
from fivestage.serving.settings import Settings
from fivestage.serving.shadow import Shadow
from fivestage.serving.spool import Spool
from fivestage.serving.store import EventRecord, PredictionRecord

logger = logging.getLogger("serving")
RETRY = {"Retry-After": "1"}
MAX_EXPLAINED = 10  # rows of a request; each takes some milliseconds


Given = TypeVar("Given")
Found = TypeVar("Found")


class Service:
    """Answers requests with the version that the pointer names, and follows it when it moves."""

    def __init__(self, settings: Settings, definitions: FeatureDefinitions) -> None:
        self.settings = settings
        self._definitions = definitions
        self.metrics = Metrics()
        self.shared = Shared(settings.counts, settings.worker, self.metrics) if settings.worker else None
        self.store = open_store(settings.database_url)
        self.model: Model | None = None
        self.pointer: Pointer | None = None
        self.trouble = ""  # why the pointer's version does not serve
        self.draining = False  # set when told to stop
        self._heard = 0  # number of the last event in the history
        self._since = 0  # up to here (epoch seconds) the history came with an artifact
        process = secrets.token_hex(6)
        self.shadow = Shadow(settings.shadow_pointer, definitions)
        self._spool = Spool(settings.folder / "spool", process)
        self._commit = GroupCommit(self.store, self._spool if settings.when_log_fails == "spool" else None)
        self._names = (f"{process}-{number:08x}" for number in itertools.count(1))
        self._encode = msgspec.json.Encoder().encode
        self._tasks: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()

    @property
    def notice(self) -> str:
        """What an operator should know while the service answers."""
        waiting, unlogged = self._spool.waiting, self._commit.trouble
        if self.trouble or unlogged:
            return self.trouble or f"Answers cannot be logged: {unlogged}."
        return f"The database is away: {waiting} answers wait on disk." if waiting else ""

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.model is not None and not self.draining

    async def start(self) -> None:
        """Load the model, if there is one, and begin to watch."""
        await self.reload()
        if self.shared:
            self.shared.keep()
        self._tasks = [
            asyncio.create_task(one()) for one in (self._watch, self._tidy, self._listen, self._shadow)
        ]

    async def stop(self) -> None:
        """Stop watching and close the log; requests have finished before."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._commit.finish()
        if self.shared:
            self.shared.keep()
        self._spool.close()
        self.store.close()

    # --- requests ---

    async def predict(self, body: bytes, *, explain: bool = False) -> tuple[str, bytes]:
        """Answer rows, once the answer is in the log: the request's name, and the answer.

        Raises:
            Refusal: when there is no model, or the rows are not what the contract says.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def then(failed: Exception | None) -> None:
            if not done.done():  # else its request was cancelled
                done.set_result(None) if failed is None else done.set_exception(failed)

        name, answer = self.answer(body, then, explain=explain)
        await done
        return name, answer

    def answer(self, body: bytes, then: Then, *, explain: bool = False) -> tuple[str, bytes]:
        """The same without waiting: `then` hears when the answer may leave, or why it may not.

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
        answer = self._encode(model.engine.form.whole(name, model.version, found))
        spent = (time.perf_counter_ns() - started) // 1000
        logged = PredictionRecord(
            name, time.time(), model.version, self._heard, spent, body.decode(), answer.decode()
        )

        def kept(failed: Exception | None) -> None:
            if failed is not None:  # whatever the database said
                then(ProblemError(503, "The answer could not be logged.", headers=RETRY))
                return
            self._count(model, found)
            if self.shadow.model is not None:
                self.shadow.offer(name, rows)
            then(None)

        self._commit.add(logged, kept)
        return name, answer

    def _explained(self, model: Model, rows: list[Plain], found: list[Any]) -> list[Any]:
        if len(rows) > MAX_EXPLAINED:
            raise ProblemError(
                422, f"{len(rows)} rows are too many to explain: send at most {MAX_EXPLAINED}."
            )
        try:
            return model.engine.explain(rows, found)
        except UnsupportedError as error:
            raise ProblemError(422, f"This model cannot be explained: {error}.") from None

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
        try:
            facts = [
                self._definitions.logged(kind, event, reference)
                if rules[kind].known_at(event) > self._since
                else []
                for kind, event in zip(kinds, events, strict=True)
            ]
        except UnlearnableEventError as error:
            raise ProblemError(422, str(error)) from error
        now = time.time()
        told = [
            EventRecord(kind, self._identity(model, kind, event), now, self._encode(message).decode())
            for kind, event, message in zip(kinds, events, messages, strict=True)
        ]
        try:
            numbers = await self._call(self.store.write_events, told)
        except Exception as error:  # whatever the database says
            logger.warning("the database takes no events: %s", error)
            raise ProblemError(503, "The database is away: tell this again.", headers=RETRY) from error
        fresh = [place for place, number in enumerate(numbers) if number is not None]
        next_ones = range(self._heard + 1, self._heard + 1 + len(fresh))
        if model is self.model and [numbers[place] for place in fresh] == list(next_ones):
            for place in fresh:
                model.engine.learn(facts[place])
            self._heard += len(fresh)
        else:
            await self._hear()
        self.metrics.events.update((kinds[place],) for place in fresh)
        return self._encode(Receipt(len(fresh), len(events) - len(fresh)))

    async def _hear(self) -> None:
        """Take in, in their order, the events that have not been: other processes were told some of them."""
        try:
            told = await self._call(lambda after: list(self.store.events(after)), self._heard)
        except Exception as error:  # noqa: BLE001 (the database is away: later, then)
            logger.warning("events cannot be heard: %s", error)
            return
        if self.model is not None:
            self._heard = remember(self.model, told, self._heard, self._since)

    async def _call(self, function: Callable[[Given], Found], given: Given) -> Found:
        """Ask the database: where it waits for a network, from a thread."""
        return await asyncio.to_thread(function, given) if self.store.remote else function(given)

    def describe(self) -> dict[str, Any]:
        """What serves, and what it was made from.

        Raises:
            Refusal: when there is no model.
        """
        shadow = self.shadow.model
        more = {"shadow": shadow.version if shadow else None, "trouble": self.trouble}
        return self._current().describe() | more

    def _current(self) -> Model:
        if self.model is None:
            raise ProblemError(503, self.trouble or "The model is being loaded.", headers=RETRY)
        return self.model

    def _identity(self, model: Model, kind: str, event: Plain) -> str:
        names = model.artifact.contract.events[kind].identity
        return self._encode([event[name] for name in names]).decode()

    def _count(self, model: Model, predictions: Sequence[Any]) -> None:
        decisions, version, kind = self.metrics.decisions, model.version, model.engine.form.kind
        for one in predictions:
            decisions[version, kind(one.decision)] += 1
            if one.unknown:
                self.metrics.unknown.update((name,) for name in one.unknown)

    # --- the model ---

    async def reload(self) -> None:
        """Serve what the pointer names, if it has moved; if that is refused, the old version stays."""
        async with self._reloading:
            try:
                pointer = pointer_of(self.settings)
                if pointer != self.pointer:
                    self.pointer = pointer
                    await self._take_up(pointer)
            except UserError as error:
                self._refuse(str(error))
            except Exception as error:  # noqa: BLE001 (the database is away: later, then)
                self.pointer = None
                self._refuse(f"The history cannot be rebuilt: {error}")
            await self.shadow.reload(self.model)

    def _refuse(self, reason: str) -> None:
        if self.trouble != reason:
            self.trouble = reason
            self.metrics.reloads["refused",] += 1
            logger.error("refused a model: %s", reason)

    async def _take_up(self, pointer: Pointer) -> None:
        model = await asyncio.to_thread(load_model, pointer, self._definitions)
        old = self.model
        if old is not None and old.artifact.reference == model.artifact.reference:
            model.engine.history = old.engine.history
        else:
            self._heard = await asyncio.to_thread(self._recall, model)
            self._since = model.artifact.as_of
        self.model, self.trouble = model, ""
        await self._hear()  # what came meanwhile
        gc.collect()
        gc.freeze()  # the model and its history stay: collections need not walk them
        self.metrics.model = (model.version, model.digest)
        self.metrics.reloads["taken up",] += 1
        slow = model.engine.scorer.why_slow
        self.metrics.gauges["trees_compiled"] = ("Whether the trees run as compiled tables.", float(not slow))
        if slow:
            logger.warning("the trees run in treelite's interpreter: %s", slow)
        logger.info("serving", extra={"version": model.version, "digest": model.digest})

    def _recall(self, model: Model) -> int:
        try:
            store = open_store(self.settings.database_url)
        except UserError as error:
            raise ConnectionError(str(error)) from error
        with closing(store):
            return remember(model, store.events(), 0, model.artifact.as_of)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.watch_seconds)
            await self.reload()

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(self.settings.hear_seconds)
            await self._hear()

    async def _shadow(self) -> None:
        while True:
            shadows = await self.shadow.next_group()
            try:
                await self._call(self.store.write_shadows, shadows)
            except Exception as error:  # noqa: BLE001 (the database is away: these are lost, which is no harm)
                logger.warning("the database takes no shadows: %s", error)
            about = "Requests that a challenger was too slow to shadow."
            self.metrics.gauges["shadows_dropped"] = (about, float(self.shadow.dropped))

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                await asyncio.to_thread(self.store.tidy)
                if self._spool.waiting or self._spool.orphans():
                    await asyncio.to_thread(self._drain)
            except Exception as error:  # noqa: BLE001 (the database is away: later, then)
                logger.warning("the log cannot be tidied: %s", error)
            about = "Answers that wait on disk for the database."
            self.metrics.gauges["answers_spooled"] = (about, float(self._spool.waiting))
            if self.shared:
                self.shared.keep()

    def _drain(self) -> None:
        with closing(open_store(self.settings.database_url)) as store:
            self._spool.drain(store)
