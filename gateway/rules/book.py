"""The rules in force, from one source: the file where one is set, else Redis. Every gateway follows it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Literal, NamedTuple

from gateway import metrics
from gateway.file_stamp import FileStamp
from gateway.rules.file import read_rules
from gateway.rules.store import RulesStore, RulesVersion
from gateway.schemas.rule import Rules
from twotower.errors import Conflict, SettingsError, TwoTowerError, Unavailable

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25


class InForce(NamedTuple):
    """Rules, the number of their version, and the line of each in the file, by its name."""

    rules: Rules = Rules()
    version: int = 0
    lines: dict[str, int] = {}  # noqa: RUF012  (nobody writes to it)


class RuleBook:
    """The rules in force: the last good ones while the file or Redis cannot be used."""

    def __init__(self, file: Path | None, store: RulesStore) -> None:
        """Raises SettingsError if the file exists and cannot be used."""
        self._path, self._stamp, self._store = file, FileStamp(file), store
        self.current = InForce()
        self._failure = ""
        # a look that began before a write must not put the earlier rules in force after it
        self._turn = asyncio.Lock()
        self._stamp.look()
        if file is not None and self._stamp.exists:
            self.current = _of_file(file, 1)
        self._task = asyncio.create_task(self._run())

    @property
    def source(self) -> Literal["file", "redis"]:
        return "redis" if self._path is None else "file"

    async def put(self, rules: Rules, expected: int, who: str, note: str) -> int:
        """Puts other rules in force; the number of their version. Raises Conflict if it is not the caller's turn."""
        self._check_writable()
        async with self._turn:
            written = await self._store.write(rules, expected, who, note)
            self._take(written)
        return written.version

    async def undo(self, version: int, who: str, note: str) -> int:
        """Puts the rules of an earlier version in force again, as a new version. Raises NotFound if it is not kept."""
        self._check_writable()
        rules = (await self._store.read(version)).rules if version else Rules()
        return await self.put(rules, await self._store.last(), who, note or f"as version {version}")

    async def history(self) -> list[RulesVersion]:
        """The kept versions, newest first; none of a file."""
        return [] if self._path else await self._store.history()

    async def refresh(self) -> None:
        """Looks once whether other rules are in force."""
        if self._path is not None:
            self._follow_file(self._path)
            return
        try:
            async with self._turn:
                last = await self._store.last()
                if last != self.current.version:
                    self._take(await self._store.read(last)) if last else self._forget()
            self._failure = ""
        except Unavailable as error:
            # the breaker logs that Redis is down
            log.debug("the last good rules stay in force: %s", error)
        except TwoTowerError as error:
            if str(error) != self._failure:
                log.error("the last good rules stay in force: %s", error)
            self._failure = str(error)
            metrics.RULES_REFUSED.inc()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.refresh()
            except Exception:
                # without this task nobody would see another rule, and nobody would know
                log.exception("following the rules failed")
            await asyncio.sleep(_LOOK_SECONDS)

    def _follow_file(self, path: Path) -> None:
        if not self._stamp.look():
            return
        number = self.current.version + 1
        try:
            self.current = _of_file(path, number) if self._stamp.exists else InForce(version=number)
        except SettingsError as error:
            metrics.RULES_REFUSED.inc()
            log.error("the last good rules stay in force: %s", error)
            return
        log.info("rules in force", extra={"rules": [one.name for one in self.current.rules.rules]})

    def _take(self, found: RulesVersion) -> None:
        self.current = InForce(found.rules, found.version)
        log.info("rules in force", extra={"version": found.version, "rules": [one.name for one in found.rules.rules]})

    def _forget(self) -> None:
        log.error("Redis has lost the rules: none are in force")
        self.current = InForce()

    def _check_writable(self) -> None:
        if self._path is not None:
            raise Conflict(f"the rules are those of the file {self._path.name}: change it there, or serve without it")


def _of_file(path: Path, number: int) -> InForce:
    found = read_rules(path)
    return InForce(found.rules, number, found.lines)
