"""Answers as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from starlette.responses import Response

from gateway import metrics
from gateway.pipeline.answers import ProductList
from twotower.experiments import recommendation_id
from twotower.pb import item_pb2, retrieval_pb2
from twotower.serving import telemetry, wire


def json_response(value: object, status: int = 200) -> Response:
    """Any value as JSON; arrays of numbers are lists."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def answer_response(fields: dict[str, object]) -> Response:
    """The fields of an answer as JSON, and the id of its request."""
    return json_response(fields | {"request_id": telemetry.request_id.get()})


def list_response(route: str, answer: ProductList) -> Response:
    """A list of products as JSON; counts it in the metrics under its route."""
    return json_response(_list_document(route, answer))


def search_response(typed: str, answer: ProductList) -> Response:
    """The products of a search, with how its words were understood."""
    understood = answer.understood
    assert understood is not None
    rewritten = understood.text if understood.changes else None
    more = {"rewritten": rewritten, "understood": _understood(typed, understood)}
    return json_response(_list_document("/search", answer) | more)


def trending_response(answer: ProductList) -> Response:
    """Rising products, with the time at which buyers were counted."""
    counted = answer.counted
    more = counted and {
        "until": datetime.fromtimestamp(counted.until_ms / 1000, UTC).isoformat(timespec="seconds"),
        "window_days": counted.window_days,
        "past_windows": counted.past_windows,
    }
    return json_response(_list_document("/trending", answer) | {"counted": more})


def _list_document(route: str, answer: ProductList) -> dict[str, object]:
    metrics.answers(route, answer.source).inc()
    request_id = telemetry.request_id.get()
    document: dict[str, object] = {
        "product_ids": wire.unpack_ids(answer.hits.packed_ids),
        "scores": answer.hits.scores,
        "model_version": answer.hits.version,
        "source": answer.source,
        "request_id": request_id,
        "recommendation_id": recommendation_id(request_id, answer.assignment),
        "warnings": answer.warnings,
    }
    if answer.assignment is not None:
        document |= {"experiment": answer.assignment.experiment, "arm": answer.assignment.arm}
    if answer.products is not None:
        document["products"] = [product_document(product) for product in answer.products]
    if answer.reasons is not None:
        document["reasons"] = answer.reasons
    return document


def _understood(typed: str, understood: item_pb2.Understood) -> dict[str, object]:
    return {
        "original": typed,
        "text": understood.text,
        "changes": [{"step": one.step, "before": one.before, "after": one.after} for one in understood.changes],
        "price_min": understood.price_min if understood.HasField("price_min") else None,
        "price_max": understood.price_max if understood.HasField("price_max") else None,
        "excluded_words": list(understood.excluded_words),
        "brand": understood.brand,
        "category": understood.category,
        "words": [
            {"text": one.text, "weight": round(one.weight, 3), "is_number": one.is_number, "group": one.group}
            for one in understood.words
        ],
        "known_share": round(understood.known_share, 3),
    }


def product_document(product: retrieval_pb2.Product) -> dict[str, object]:
    return {
        "product_id": product.product_id,
        "title": product.title,
        "brand": product.brand,
        "category": product.category,
        "price": product.price if product.HasField("price") else None,
        "currency": product.currency,
        "image": product.image or None,
        "in_stock": product.in_stock,
    }
