"""The OpenAPI document of /docs, made from the very models that check requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.routes import RouteSpec
from gateway.schemas import Problem

_REFERENCES = "#/components/schemas/{model}"


def document(routes: list[RouteSpec], title: str, version: str, description: str) -> dict[str, Any]:
    """OpenAPI 3.1 for the routes."""
    models: dict[type[BaseModel], str] = {Problem: "serialization"}
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
    answer = {"application/json": {"schema": schema_of[route.answer]}} if route.answer else {}
    problem = {"application/problem+json": {"schema": schema_of[Problem]}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.path.strip("/"),
        "responses": {
            "200": {"description": "the answer", **({"content": answer} if answer else {})},
            "4XX": {"description": "a problem document that names the field and the value refused", "content": problem},
            "503": {"description": "a service is down or busy; try again later", "content": problem},
        },
    }
    if route.query:
        operation["parameters"] = _parameters(route.query)
    if route.bodies:
        bodies = [schema_of[model] for model in route.bodies]
        schema = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


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
