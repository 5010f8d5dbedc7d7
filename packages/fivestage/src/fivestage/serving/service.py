"""The prediction service without HTTP: one model, its history and the log; it runs on one event loop."""

import asyncio
import gc
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import msgspec

from fivestage.artifact.engine import MANY
from fivestage.artifact.trees import UnsupportedError
from fivestage.common.errors import UserError
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.stores import LoggedEvent, UnlearnableEventError
from fivestage.serving.background import BackgroundTasks
from fivestage.serving.decoders import Plain, Receipt
from fivestage.serving.group_commit import GroupCommit, Spool
from fivestage.serving.log import open_store
from fivestage.serving.model import Model, learn_event, load_model, replay_events
from fivestage.serving.problems import ProblemError, too_many
from fivestage.serving.prometheus_metrics import ServiceMetrics
from fivestage.serving.served_version import ServedVersion, configured_version
from fivestage.serving.service_settings import Settings
from fivestage.serving.shadow import Shadow
from fivestage.serving.store import EventRecord, PredictionRecord

logger = logging.getLogger("serving")
RETRY = {"Retry-After": "1"}
MAX_EXPLAINED = 10  # rows per request, each of which takes some milliseconds
PRUNE_SECONDS = 1.0
CHECKPOINT_SECONDS = 0.25


class PredictionService:
    """Predicts with the version that `current_file` names, and reloads when that changes."""

    def __init__(self, settings: Settings, definitions: FeatureDefinitions) -> None:
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.store = open_store(settings.database_url)
        self.model: Model | None = None
        self.reload_error = ""  # why the named version is not being served
        self.draining = False  # set by the stop signal
        self.shadow = Shadow(settings.shadow_file, definitions)
        self.background = BackgroundTasks(self.metrics)
        self._definitions = definitions
        self._served_version: ServedVersion | None = None
        self._log_offset = 0  # number of the last logged event in the history
        self._since = 0  # epoch seconds; the artifact holds the history until then, the log from then on
        process = secrets.token_hex(6)
        self._spool = Spool(settings.folder / "spool.sqlite")
        self._commit = GroupCommit(self.store, self._spool if settings.when_log_fails == "spool" else None)
        self._request_ids = (f"{process}-{number:08x}" for number in itertools.count(1))
        self._encode = msgspec.json.Encoder().encode
        self._executor, self._jobs = ThreadPoolExecutor(1), 0  # for work that would block the event loop
        self._reload_lock = asyncio.Lock()
        self._history_lock = asyncio.Lock()  # held to change the history, or to keep it unchanged

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.model is not None and not self.draining

    @property
    def status_detail(self) -> str:
        """What an operator should know; empty when all is well."""
        if self.draining:
            return "The service is stopping."
        failing = "; ".join(f"{name}: {reason}" for name, reason in self.background.failing.items())
        details = (
            self.reload_error,
            f"Answers cannot be logged: {self._commit.error}." if self._commit.error else "",
            f"The database is unreachable: {self._spool.waiting} answers wait on disk."
            if self._spool.waiting
            else "",
            f"Background tasks are failing and will be retried ({failing})." if failing else "",
            "" if self.model else "The service is starting.",
        )
        return next(filter(None, details), "")

    async def start(self) -> None:
        """Load the model, if there is one, and start the background tasks."""
        await self.reload()
        repeat, settings = self.background.repeat, self.settings
        repeat("reload", settings.watch_seconds, self.reload)
        repeat("poll", settings.poll_seconds, self._poll)
        repeat("prune", PRUNE_SECONDS, self._prune)
        repeat("checkpoint", CHECKPOINT_SECONDS, self._checkpoint)
        repeat("shadow", 0, self._shadow)

    async def stop(self) -> None:
        """Stop the background tasks and close the log, once all requests have finished."""
        await self.background.stop()
        await self._commit.finish()
        self._executor.shutdown()
        self._spool.close()
        self.store.close()

    # --- requests ---

    async def predict(self, body: bytes, *, explain: bool = False) -> tuple[str, bytes]:
        """Predict rows and log the answer before returning it.

        Args:
            body: JSON: a row, or `{"rows": [...]}`.
            explain: Whether to add the features that contributed most to each prediction.

        Returns:
            The request's identifier, and the answer as JSON.

        Raises:
            ProblemError: If there is no model, the rows violate the contract, or the log cannot be written.
        """
        started = time.perf_counter_ns()
        model = self._current()
        messages, rows = model.rows.parse(body)
        if explain or len(rows) >= MANY:
            predictions, offset = await self._predict_many(model, rows, explain=explain)
        else:
            predictions, offset = model.engine.predict(rows), self._log_offset
        request_id = next(self._request_ids)
        answer = self._encode(model.engine.form.message(request_id, model.version, predictions))
        microseconds = (time.perf_counter_ns() - started) // 1000
        canonical = self._encode(messages[0] if len(messages) == 1 else {model.rows.plural: messages})
        record = PredictionRecord(
            request_id, time.time(), model.version, offset, microseconds, canonical.decode(), answer.decode()
        )
        try:
            await self._commit.add(record)
        except Exception as error:  # of any database driver
            raise ProblemError(503, "The answer cannot be logged: retry.", headers=RETRY) from error
        self._count(model, predictions)
        if self.shadow.model is not None and self.shadow.offer(request_id, rows):
            self.metrics.shadows_dropped.inc()
        return request_id, answer

    async def _predict_many(self, model: Model, rows: list[Plain], *, explain: bool) -> tuple[list[Any], int]:
        """Predict many rows or explain a few without blocking other requests; events wait meanwhile."""
        engine = model.engine
        if explain and len(rows) > MAX_EXPLAINED:
            raise ProblemError(
                422, f"{len(rows)} rows are too many to explain: send at most {MAX_EXPLAINED} at once."
            )
        async with self._history_lock:
            offset = self._log_offset
            if engine.prefers_columns(len(rows)):
                return await self._in_thread(engine.predict_columns, rows), offset
            predictions = await model.predict_between(rows)
            if not explain:
                return predictions, offset
            features = [engine.features(row) for row in rows]
        try:
            return await self._in_thread(engine.explain, features, predictions), offset
        except UnsupportedError as error:
            raise ProblemError(422, f"This model cannot be explained: {error}.") from None

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the worker thread, or refuse with 503 if its queue is full."""
        if self._jobs >= self.settings.max_waiting_jobs:
            raise too_many("large batches and explanations")
        self._jobs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self._jobs -= 1

    async def ingest(self, body: bytes) -> bytes:
        """Write events to the log, then add them to the history.

        Args:
            body: JSON: an event, or `{"events": [...]}`.

        Returns:
            A `Receipt` as JSON: how many events were new.

        Raises:
            ProblemError: If there is no model, the events violate the contract, or the log cannot be written.
        """
        model = self._current()
        messages, events = model.events.parse(body)
        kinds = [str(message.__struct_config__.tag) for message in messages]
        try:
            logged_events = [
                model.engine.logged_events(kind, event) for kind, event in zip(kinds, events, strict=True)
            ]
        except UnlearnableEventError as error:
            raise ProblemError(422, str(error)) from error
        now = time.time()
        records = [
            EventRecord(kind, self._identity(model, kind, event), now, self._encode(message).decode())
            for kind, event, message in zip(kinds, events, messages, strict=True)
        ]
        try:
            numbers = await self.store.call(self.store.write_events, records)
            await self._learn(model, list(zip(numbers, kinds, events, logged_events, strict=True)))
        except Exception as error:  # of any database driver; a retry is safe, as logged events are not new
            logger.warning("cannot write events to the database: %s", error)
            raise ProblemError(503, "The database is unreachable: retry.", headers=RETRY) from error
        new = [kind for kind, number in zip(kinds, numbers, strict=True) if number is not None]
        for kind in new:
            self.metrics.events.labels(kind).inc()
        return self._encode(Receipt(len(new), len(events) - len(new)))

    def describe(self) -> dict[str, Any]:
        """Describe the version being served, its artifact and its challenger."""
        shadow = self.shadow.model
        status = {"shadow": shadow.version if shadow else None, "reload_error": self.reload_error}
        return self._current().describe() | status

    def _current(self) -> Model:
        if self.model is None:
            raise ProblemError(503, self.reload_error or "The model is being loaded: retry.", headers=RETRY)
        return self.model

    def _identity(self, model: Model, kind: str, event: Plain) -> str:
        names = model.artifact.contract.events[kind].identity
        return self._encode([event[name] for name in names]).decode()

    def _count(self, model: Model, predictions: Sequence[Any]) -> None:
        metrics, kind = self.metrics, model.engine.form.kind
        while model.engine.undefined:
            name, rows = model.engine.undefined.popitem()
            metrics.undefined.labels(name).inc(rows)
        for one in predictions:
            metrics.predicted(model.version, kind(one.decision))
            for name in one.unknown:
                metrics.unknown.labels(name).inc()
            if one.history_gap_hours:
                metrics.outside_history.labels("ahead" if one.history_gap_hours > 0 else "behind").inc()

    # --- the model and its history ---

    async def reload(self) -> None:
        """Load the named version if it has changed; if that fails, keep serving the old one."""
        async with self._reload_lock:
            try:
                named = configured_version(self.settings)
                if named != self._served_version:
                    self._served_version = named
                    await self._activate(named)
            except UserError as error:
                self._refuse(str(error))
            except Exception as error:  # noqa: BLE001 (database unreachable: the next reload retries)
                self._served_version = None
                self._refuse(f"The history cannot be rebuilt: {error}")
            await self.shadow.reload(self.model)

    def _refuse(self, reason: str) -> None:
        if self.reload_error != reason:
            self.reload_error = reason
            self.metrics.reloads.labels("refused").inc()
            logger.error("model refused: %s", reason)

    async def _activate(self, named: ServedVersion) -> None:
        model = await asyncio.to_thread(load_model, named, self._definitions)
        old = self.model
        async with self._history_lock:
            if old is not None and old.artifact.reference == model.artifact.reference:
                model.engine.continue_from(old.engine)
            else:
                self._log_offset = await asyncio.to_thread(self._rebuild_history, model)
                self._since = model.artifact.as_of
            self.model, self.reload_error = model, ""
        await self._poll()  # events logged meanwhile
        gc.collect()
        gc.freeze()  # keep the model and its history out of later collections
        slow = model.engine.scorer.why_slow
        self.metrics.serving(model.version, model.digest, compiled=not slow)
        if slow:
            logger.warning("trees are scored by slower Python code: %s", slow)
        logger.info("serving", extra={"version": model.version, "digest": model.digest})

    def _rebuild_history(self, model: Model) -> int:
        try:
            store = open_store(self.settings.database_url)
        except UserError as error:
            raise ConnectionError(str(error)) from error
        with closing(store):
            return replay_events(model, store.events(), 0, model.artifact.as_of)

    async def _poll(self) -> None:
        """Replay events that other processes have logged, in order."""
        if self.model is None:
            return
        async with self._history_lock:
            logged = await self.store.call(lambda: list(self.store.events(self._log_offset)))
            self._log_offset = replay_events(self.model, logged, self._log_offset, self._since)

    async def _learn(
        self, model: Model, written: list[tuple[int | None, str, Plain, list[LoggedEvent]]]
    ) -> None:
        """Add events just written to the history; those that follow another process's event are replayed."""
        async with self._history_lock:
            for number, kind, event, logged_events in written:
                if number == self._log_offset + 1 and model is self.model:
                    learn_event(model, number, kind, event, self._since, logged_events)
                    self._log_offset = number
        await self._poll()

    async def _shadow(self) -> None:
        shadows = await self.shadow.next_group()
        await self.store.call(self.store.write_shadows, shadows)  # lost if it fails, which is harmless

    async def _prune(self) -> None:
        """Move answers from the spool to the database once it is reachable again."""
        waiting = await asyncio.to_thread(self._spool.count)
        self.metrics.spooled.set(waiting)
        if waiting:
            await asyncio.to_thread(self._drain)

    async def _checkpoint(self) -> None:
        await asyncio.to_thread(self.store.checkpoint)

    def _drain(self) -> None:
        with closing(open_store(self.settings.database_url)) as store:
            self._spool.drain(store)
