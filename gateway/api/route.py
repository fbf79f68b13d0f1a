"""One route of the API, as the application, the guard and the OpenAPI document read it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel

from gateway.auth.guard import Handler, PublicUse
from gateway.auth.keys import Scope


@dataclass(frozen=True)
class RouteSpec:
    """One route of the API: its handler, who may ask it, and what /docs says about it.

    `scope` None: everyone. `public`: what a key of scope `public` needs.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    bodies: tuple[type[BaseModel], ...] = field(default=())
    scope: Scope | None = None
    public: PublicUse = "nothing"
    body_type: str = "application/json"
