"""A challenger answers the same requests once the champion has, and is only written down."""

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
from fivestage.serving.store import Shadowed

QUEUE = 1000  # requests that may wait; of more, the oldest are not shadowed
GROUP = 64  # requests of one commit
logger = logging.getLogger("serving")


class Shadow:
    """The challenger that a file names, and the requests that it has yet to answer."""

    def __init__(self, path: Path, definitions: FeatureDefinitions) -> None:
        self._definitions = definitions
        self.model: Model | None = None
        self._path = path
        self._seen: tuple[ServedVersion | None, Model | None] = None, None  # by the last reload
        self._waiting: deque[tuple[str, list[Plain]]] = deque(maxlen=QUEUE)
        self._awake = asyncio.Event()

    async def reload(self, champion: Model | None) -> None:
        """Shadow with the version that is named now; what cannot is refused in the log, and harms nobody."""
        try:
            named = read_served_version(self._path) if self._path.exists() else None
            if champion is None or self._seen == (named, champion):
                return
            self._seen, self.model = (named, champion), None
            self._waiting.clear()
            if named is not None:
                self.model = _onto(champion, await asyncio.to_thread(load_model, named, self._definitions))
                logger.info("shadowing", extra={"version": named.version, "digest": named.digest})
        except UserError as error:
            logger.error("refused a challenger: %s", error)  # noqa: TRY400

    def offer(self, request_id: str, rows: list[Plain]) -> bool:
        """Take a request that has been answered; whether the oldest that waits had to go for it."""
        is_full = len(self._waiting) == QUEUE
        self._waiting.append((request_id, rows))
        self._awake.set()
        return is_full

    async def next_group(self) -> list[Shadowed]:
        """The answers to some requests; other work of the event loop comes between any two."""
        while not self._waiting:
            self._awake.clear()
            await self._awake.wait()
        found: list[Shadowed] = []
        while self._waiting and len(found) < GROUP:
            request_id, rows = self._waiting.popleft()
            if self.model is not None:
                found.append(await _answer(self.model, request_id, rows))
        return found


def _onto(champion: Model, model: Model) -> Model:
    """The model on the champion's history."""
    one, other = model.artifact, champion.artifact
    if one.contract.columns != other.contract.columns or one.reference != other.reference:
        raise UserError(f"version {model.version} has other columns or reference data.")
    model.engine.history = champion.engine.history
    return model


async def _answer(model: Model, request_id: str, rows: list[Plain]) -> Shadowed:
    forecasts = [model.engine.form.forecast(one) for one in await model.predict_between(rows)]
    text = ",".join([repr(one[0]) if len(one) == 1 else repr(list(one)) for one in forecasts])
    return Shadowed(request_id, time.time(), model.version, f"[{text}]")
