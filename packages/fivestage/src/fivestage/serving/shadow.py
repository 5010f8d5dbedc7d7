"""Shadow mode: a challenger predicts the champion's requests; its predictions are only logged."""

import asyncio
import logging
import time
from collections import deque
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.features.definitions import FeatureDefinitions
from fivestage.serving.decoders import Plain
from fivestage.serving.model import Model, load_model
from fivestage.serving.served_version import ServedVersion, read_served_version
from fivestage.serving.store import ShadowRecord

QUEUE = 1000  # requests that may wait; if there are more, the oldest are dropped
GROUP = 64  # requests per commit
logger = logging.getLogger("serving")


class Shadow:
    """The challenger that a file names, and the queue of requests that it has yet to predict."""

    def __init__(self, path: Path, definitions: FeatureDefinitions) -> None:
        self._definitions = definitions
        self.model: Model | None = None
        self._path = path
        # Challenger and champion at the last reload.
        self._seen: tuple[ServedVersion | None, Model | None] = None, None
        self._waiting: deque[tuple[str, list[Plain]]] = deque(maxlen=QUEUE)
        self._awake = asyncio.Event()

    async def reload(self, champion: Model | None) -> None:
        """Load the challenger if it or the champion has changed; a failure is only logged."""
        try:
            named = read_served_version(self._path) if self._path.exists() else None
            if champion is None or self._seen == (named, champion):
                return
            self._seen, self.model = (named, champion), None
            self._waiting.clear()
            if named is not None:
                model = await asyncio.to_thread(load_model, named, self._definitions)
                self.model = _with_history_of(champion, model)
                logger.info("shadowing", extra={"version": named.version, "digest": named.digest})
        except UserError as error:
            logger.error("challenger refused: %s", error)  # noqa: TRY400

    def offer(self, request_id: str, rows: list[Plain]) -> bool:
        """Queue an answered request; return whether the oldest in the queue was dropped for it."""
        is_full = len(self._waiting) == QUEUE
        self._waiting.append((request_id, rows))
        self._awake.set()
        return is_full

    async def next_group(self) -> list[ShadowRecord]:
        """Wait for requests and predict the next group of them; other tasks run between any two."""
        while not self._waiting:
            self._awake.clear()
            await self._awake.wait()
        records: list[ShadowRecord] = []
        while self._waiting and len(records) < GROUP:
            request_id, rows = self._waiting.popleft()
            if self.model is not None:
                records.append(await _predict(self.model, request_id, rows))
        return records


def _with_history_of(champion: Model, model: Model) -> Model:
    """Let a model use the champion's history."""
    one, other = model.artifact, champion.artifact
    if one.contract.columns != other.contract.columns or one.reference != other.reference:
        raise UserError(f"version {model.version} has other columns or reference data than the champion.")
    model.engine.history = champion.engine.history
    return model


async def _predict(model: Model, request_id: str, rows: list[Plain]) -> ShadowRecord:
    forecasts = [model.engine.form.forecast(one) for one in await model.predict_between(rows)]
    text = ",".join([repr(one[0]) if len(one) == 1 else repr(list(one)) for one in forecasts])
    return ShadowRecord(request_id, time.time(), model.version, f"[{text}]")
