"""What the handlers need of the running application: they find it in the state of their request."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from gateway.clients.releases import Releases
from gateway.experiments.serving import LiveExperiments
from gateway.health import Dependency
from gateway.live.store import CatalogueStore
from gateway.pipeline.parts import Pipeline
from gateway.rules.book import RuleBook
from gateway.rules.checks import RuleChecks
from gateway.searches import SearchCounts


@dataclass(frozen=True)
class Live:
    """What the lifespan opens and keeps in the application's state while the process serves."""

    pipeline: Pipeline
    dependencies: list[Dependency]
    releases: Releases
    experiments: LiveExperiments
    searches: SearchCounts
    rule_book: RuleBook
    rule_checks: RuleChecks
    catalogue: CatalogueStore | None = None


def live_of(request: Request) -> Live:
    live: Live = request.state.live
    return live
