"""What a row has cost, computed from its events, and whether that is within its limits."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.chaos.faults import Scene
from tests.chaos.judge import FALSE, Verdict
from tests.chaos.load import Event
from tests.chaos.rows import Limits


class Figures(NamedTuple):
    """The cost of one fault.

    `failed`: requests without a good answer, but for the `excused` ones, which needed what was away and got 503 or 504.
    `degraded`: good answers that are not personal, with a warning. `early`: requests without a right answer before the
    fault: this machine is then too busy for the rate, and the row says nothing. `error_seconds`: from the first request
    that was not answered to the last one. `back_seconds`: from the end of the fault to the last request whose answer
    was not right; None if that goes on to the end. `silent_seconds`: from the fault to the last popular list without a
    warning. `p50_ms`: before the fault and while it lasts.
    """

    requests: int
    failed: int
    excused: int
    degraded: int
    early: int
    silent: int
    wrong: int
    mixed: int
    error_seconds: float
    back_seconds: float | None
    silent_seconds: float
    acknowledged: int
    lost: int
    died: list[str]
    tracebacks: list[str]
    memory_mb: float
    bystanders: dict[str, int]
    p50_ms: tuple[float, float]
    examples: list[str]

    def broken(self, limits: Limits) -> list[str]:
        """The limits that are exceeded, in words."""
        if self.early:
            return [f"{self.early} failed before the fault: this machine is too busy for this rate"]
        told = [
            (self.failed > limits.share * self.requests, f"{self.failed} of {self.requests} failed"),
            (self.wrong + self.mixed > 0, f"{self.wrong} wrong and {self.mixed} mixed answers"),
            (self.silent_seconds > limits.silent_seconds, f"{self.silent} popular lists without a warning"),
            (self.lost > 0 and not limits.may_lose, f"{self.lost} of {self.acknowledged} writes lost"),
            (bool(self.died), f"ended: {', '.join(self.died)}"),
            (0 < limits.memory_mb < self.memory_mb, f"the gateway took {self.memory_mb:.0f} MB"),
            (bool(strange := self._strange(limits)), f"beside the load: {strange}"),
        ]
        return [words for is_broken, words in told if is_broken]

    def _strange(self, limits: Limits) -> dict[str, int]:
        allowed = limits.bystanders or self.bystanders
        return {outcome: count for outcome, count in self.bystanders.items() if outcome not in allowed}

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


def figures(scene: Scene, events: Sequence[Event], limits: Limits, acknowledged: int, lost: int) -> Figures:
    """The figures of one row."""
    counts = Counter(event.verdict for event in events)
    unserved = [event for event in events if event.verdict in (Verdict.REFUSED, Verdict.FAILED)]
    excused = [event for event in unserved if _is_excused(event, scene, limits)]
    impersonal = [event for event in events if event.verdict is Verdict.DEGRADED]
    failed = len(unserved) - len(excused)
    # popular products are no good answer where the history could be read and encoded
    failed += sum(not _is_away(event, scene, limits) for event in impersonal)
    gateway = scene.system.nodes["gateway-0"]
    silent = [event.sent for event in events if event.verdict is Verdict.SILENT]
    strange = [event for event in events if event.verdict in FALSE] + unserved + impersonal
    return Figures(
        requests=len(events),
        failed=failed,
        excused=len(excused),
        degraded=len(impersonal),
        early=sum(event.verdict is not Verdict.RIGHT and event.done < scene.broken for event in events),
        silent=len(silent),
        wrong=counts[Verdict.WRONG],
        mixed=counts[Verdict.MIXED],
        error_seconds=round(_span([event.sent for event in unserved]), 2),
        back_seconds=_back(scene, events),
        silent_seconds=round(max(silent) - scene.broken, 2) if silent else 0.0,
        acknowledged=acknowledged,
        lost=lost,
        died=scene.system.died(),
        tracebacks=scene.system.tracebacks()[:3],
        memory_mb=round(gateway.memory_mb(), 1) if gateway.is_running() else 0.0,
        bystanders=scene.bystanders,
        p50_ms=(_p50(events, 0, scene.broken), _p50(events, scene.broken, scene.mended or float("inf"))),
        examples=[f"{text} ({count})" for text, count in Counter(map(_describe, strange)).most_common(5)],
    )


def _is_excused(event: Event, scene: Scene, limits: Limits) -> bool:
    """Refused, because it needed what was away."""
    needed = event.ask.needs & limits.without
    return event.verdict is Verdict.REFUSED and bool(needed) and _is_away(event, scene, limits)


def _is_away(event: Event, scene: Scene, limits: Limits) -> bool:
    """Whether the request overlaps the time in which the services `without` may be missing."""
    if not limits.without or event.done < scene.broken:
        return False
    return not scene.mended or event.sent <= scene.mended + limits.back_seconds


def _back(scene: Scene, events: Sequence[Event]) -> float | None:
    if not scene.mended:
        return 0.0
    bad = [event.sent for event in events if event.verdict is not Verdict.RIGHT and event.sent > scene.mended]
    if not bad:
        return 0.0
    is_over = max(bad) < max(event.sent for event in events) - 1
    return round(max(bad) - scene.mended, 2) if is_over else None


def _span(moments: Sequence[float]) -> float:
    return max(moments) - min(moments) if moments else 0.0


def _p50(events: Sequence[Event], begin: float, end: float) -> float:
    times = [event.done - event.sent for event in events if begin <= event.sent < end]
    return round(1000 * statistics.median(times), 1) if times else 0.0


def _describe(event: Event) -> str:
    return f"{event.ask.kind} {event.verdict.value}: {event.note[:160]}"
