"""The OpenAPI document behind /docs, generated from the models that check requests."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.route import RouteSpec
from gateway.schemas.answers import Problem, ReadyAnswer

_REFERENCES = "#/components/schemas/{model}"
_READY = "/readyz"
_PROBLEMS = {
    "401": "no key, an unknown key, or an unusable token",
    "403": "the key's scopes do not cover this",
    "429": "the key has used up its rate limit; `RateLimit` and `Retry-After` say when to ask again",
    "4XX": "a problem document; 400 and 422 name the refused field and its value, 404, 413, 414 and 415 the field",
    "503": "a service is down, or there is no room for a request of this cost; try again later",
    "504": "the request took longer than its timeout",
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key; not needed if the gateway serves without"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
    "buyerToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Buyer-Token",
        "description": "a token that the shop has signed for one buyer, beside a key of scope public",
    },
}
_KEYED = ("401", "403", "429")
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def document(routes: list[RouteSpec], title: str, version: str, description: str) -> dict[str, Any]:
    """OpenAPI 3.1 for the routes."""
    models: dict[type[BaseModel], str] = {Problem: "serialization", ReadyAnswer: "serialization"}
    for route in routes:
        models |= dict.fromkeys(route.bodies, "validation")
        if route.answer:
            models[route.answer] = "serialization"
    wanted: list[Any] = list(models.items())
    references, definitions = models_json_schema(wanted, ref_template=_REFERENCES)
    schema_of = {model: references[model, mode] for model, mode in wanted}
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {}), "securitySchemes": _SCHEMES},
    }


def _operation(route: RouteSpec, schema_of: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.path.strip("/"),
        "responses": _responses(route, schema_of),
    }
    if route.scope is not None:
        operation["security"] = _security(route)
    if route.query:
        operation["parameters"] = _parameters(route.query)
    if in_path := re.findall("{(.*?)}", route.path):
        operation["operationId"] = f"{route.method.lower()}_{'_'.join(in_path)}"
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path
        ]
    if route.bodies:
        bodies = [schema_of[model] for model in route.bodies]
        schema = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        operation["requestBody"] = {"required": True, "content": {route.body_type: {"schema": schema}}}
    return operation


def _security(route: RouteSpec) -> list[dict[str, list[str]]]:
    """What a caller may present: a key of the route's scope, or a public one; {} stands for a gateway without keys."""
    assert route.scope is not None
    scopes: list[str] = [route.scope, "public"] if route.public == "products" else [route.scope]
    accepted: list[dict[str, list[str]]] = [{"bearer": scopes}, {"apiKey": scopes}]
    if route.public == "buyer":
        accepted += [{"bearer": ["public"], "buyerToken": []}, {"apiKey": ["public"], "buyerToken": []}]
    return [*accepted, {}]


def _responses(route: RouteSpec, schema_of: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    if route.path == _READY:
        content = {"application/json": {"schema": schema_of[ReadyAnswer]}}
        return {
            "200": {"description": "ready; `degraded` lists what does not work", "content": content},
            "503": {"description": "not ready", "content": content},
        }
    answer: dict[str, Any] = {"description": "the answer"}
    if route.answer:
        answer["content"] = {"application/json": {"schema": schema_of[route.answer]}}
    content = {"application/problem+json": {"schema": schema_of[Problem]}}
    problems: dict[str, Any] = {
        status: {"description": description, "content": content}
        for status, description in _PROBLEMS.items()
        if (route.scope is not None if status in _KEYED else _takes_input(route))
    }
    for status in {"429", "503"} & problems.keys():
        problems[status]["headers"] = _RETRY_AFTER
    return {"200": answer, **problems}


def _takes_input(route: RouteSpec) -> bool:
    """Whether a caller sends anything: a route without parameters refuses nothing and asks no service."""
    return bool(route.query or route.bodies or "{" in route.path)


def _parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": {key: value for key, value in field.items() if key != "description"},
        }
        for name, field in schema["properties"].items()
    ]
