"""What the model page shows of the gateway's answers about versions: verdict, table of methods, data, map."""

from __future__ import annotations

from collections import Counter
from typing import Any

_METHODS = ("model", "transitions", "item_knn", "ease", "recent_popularity", "popularity")
METRICS = ("recall@10", "ndcg@10")
_COLOURS = 12
# the drawing's square, in units of its view box
_SIDE, _EDGE = 600, 12


def summary(version: dict[str, Any]) -> dict[str, Any]:
    """A version with its verdict against popularity, its methods and its data, from the sections of metrics.json."""
    metrics = version["metrics"]
    data = metrics.get("data", {})
    difference = metrics.get("differences", {}).get("popularity", {}).get("recall@10")
    return version | {
        "difference": difference,
        # the whole interval above 0, not the difference alone
        "is_better": difference is not None and difference["low"] > 0,
        "methods": _methods(metrics),
        "data": data,
        "rejected": Counter(data.get("rejected_events", {})) + Counter(data.get("rejected_products", {})),
        "cases": int(metrics.get("test", {}).get("model", {}).get("cases", 0)),
    }


def _methods(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Each method's metrics with their intervals, and a bar from 0 to 100 of its recall@10 beside the best."""
    tested = metrics.get("test", {})
    names = [one for one in _METHODS if one in tested] + sorted(set(tested) - set(_METHODS))
    largest = max((tested[one].get("recall@10", 0.0) for one in names), default=0.0) or 1.0
    return [
        {
            "name": one,
            "figures": [
                {"value": tested[one].get(metric), "interval": metrics.get("intervals", {}).get(one, {}).get(metric)}
                for metric in METRICS
            ],
            "bar": round(100 * tested[one].get("recall@10", 0.0) / largest, 1),
        }
        for one in names
    ]


def plane(answer: dict[str, Any]) -> dict[str, Any]:
    """The points of the map with places in its drawing and a colour for each of the largest categories."""
    counts: dict[str, int] = {}
    for one in answer["points"]:
        counts[one["category"]] = counts.get(one["category"], 0) + 1
    largest = sorted(counts, key=lambda name: (-counts[name], name))
    colours = {name: min(place, _COLOURS) for place, name in enumerate(largest)}
    half = _SIDE / 2 - _EDGE
    points = [
        one
        | {
            "left": round(_SIDE / 2 + half * one["x"], 1),
            "top": round(_SIDE / 2 - half * one["y"], 1),
            "colour": colours[one["category"]],
        }
        for one in answer["points"]
    ]
    legend = [{"name": name, "colour": colours[name], "count": counts[name]} for name in largest[:_COLOURS]]
    return {"points": points, "legend": legend, "variance": answer["variance"]}
