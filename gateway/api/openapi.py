"""The OpenAPI document behind /docs, generated from the models that check requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.routes import RouteSpec
from gateway.schemas.answers import Problem, ReadyAnswer

_REFERENCES = "#/components/schemas/{model}"
_READY = "/readyz"
_PROBLEMS = {
    "4XX": "a problem document; 400 and 422 name the refused field and its value, 404, 413, 414 and 415 the field",
    "503": "a service is down, or there is no room for a request of this cost; try again later",
    "504": "the request took longer than its timeout",
}
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
        "components": {"schemas": definitions.get("$defs", {})},
    }


def _operation(route: RouteSpec, schema_of: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.path.strip("/"),
        "responses": _responses(route, schema_of),
    }
    if route.query:
        operation["parameters"] = _parameters(route.query)
    if route.bodies:
        bodies = [schema_of[model] for model in route.bodies]
        schema = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


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
    # a route without parameters refuses nothing and asks no service
    if not route.query and not route.bodies:
        return {"200": answer}
    content = {"application/problem+json": {"schema": schema_of[Problem]}}
    problems: dict[str, Any] = {
        status: {"description": description, "content": content} for status, description in _PROBLEMS.items()
    }
    problems["503"]["headers"] = _RETRY_AFTER
    return {"200": answer, **problems}


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
