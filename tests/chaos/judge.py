"""What an answer under a fault is worth, beside the answers that the same requests got without a fault."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.chaos.asks import Ask

# float32 sums of another order; and two products whose scores differ by less may stand in either order
TOLERANCE = 1e-4
_HONEST = (503, 504)
# the gateway's warning about one shard, up to its number
_MISSING = "a part of the catalogue cannot be reached: shard "


class Verdict(Enum):
    """What an answer is worth."""

    # the answer of the version that it names
    RIGHT = "right"
    # with a warning: the right popular products, or those of the shards that can be reached, or a vector that was not
    # stored
    DEGRADED = "degraded"
    # 503 or 504
    REFUSED = "refused"
    # popular products for a buyer whose history is known, without a warning
    SILENT = "silent"
    # other products or numbers than those of the version that it names
    WRONG = "wrong"
    # wrong, and in part or as a whole the answer of another version
    MIXED = "mixed"
    # any other status, or no answer
    FAILED = "failed"


GOOD = (Verdict.RIGHT, Verdict.DEGRADED)
FALSE = (Verdict.SILENT, Verdict.WRONG, Verdict.MIXED)


@dataclass
class Book:
    """The right answers: version -> key of a request -> answer; popular lists are under the path of their request.

    `shards`: the shard of each product.
    """

    answers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    shards: dict[str, int] = field(default_factory=dict)

    def of(self, version: str) -> Mapping[str, dict[str, Any]] | None:
        """The answers of a version. A copy of version "a" is named "a.something"."""
        return self.answers.get(version.split(".")[0])


def judge(book: Book, ask: Ask, status: int, answer: dict[str, Any]) -> tuple[Verdict, str]:
    """The worth of an answer, and a few words about one that is not good."""
    if status != 200:
        verdict = Verdict.REFUSED if status in _HONEST else Verdict.FAILED
        return verdict, f"{status}: {answer.get('detail')}"
    if ask.kind == "store":
        stored = answer.get("stored")
        return (Verdict.RIGHT, "") if stored == 1 else (Verdict.WRONG, f"stored {stored} of 1")
    version = str(answer.get("model_version"))
    known = book.of(version)
    if known is None:
        return Verdict.WRONG, f"version {version!r} was never served"
    if ask.kind == "encode":
        return _judge_encoded(book, ask, answer, known[ask.key])
    if answer["source"] == "popular" and known[ask.key]["source"] == "model":
        if not any(same_list(answer, known[path]) for path in ask.popular):
            return Verdict.WRONG, f"not the popular products of {version}: {answer['product_ids'][:5]}"
        # "diversity has no effect on popular products" does not say why there are popular products
        told = [warning for warning in answer["warnings"] if "histor" in warning]
        return (Verdict.DEGRADED, told[0]) if told else (Verdict.SILENT, "no warning")
    if same_list(answer, known[ask.key]):
        return Verdict.RIGHT, ""
    missing = [warning for warning in answer["warnings"] if warning.startswith(_MISSING)]
    if missing and _is_partial(book, ask, answer, known[ask.key], int(missing[0].removeprefix(_MISSING))):
        return Verdict.DEGRADED, missing[0]
    wanted = known[ask.key]["product_ids"]
    words = f"of version {version}: {answer['product_ids'][:5]} {answer['scores'][:2]} instead of {wanted[:5]}"
    return (Verdict.MIXED if _is_of_another(book, ask, answer) else Verdict.WRONG), words


def same_list(answer: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """The same products with the same scores and details. Products of equal scores may stand in another order."""
    ids, scores = answer["product_ids"], answer["scores"]
    if len(ids) != len(set(ids)) or not _close(scores, wanted["scores"]):
        return False
    score_of = dict(zip(wanted["product_ids"], wanted["scores"], strict=True))
    # a product that is new in the list can only stand for one with the lowest score in it
    lowest = wanted["scores"][-1] if wanted["scores"] else 0.0
    if not all(abs(score_of.get(one, lowest) - score) <= TOLERANCE for one, score in zip(ids, scores, strict=True)):
        return False
    if "products" not in wanted:
        return "products" not in answer
    details = {one["product_id"]: one for one in wanted["products"]}
    listed = [one["product_id"] for one in answer.get("products", ())]
    return listed == ids and all(details.get(one["product_id"], one) == one for one in answer["products"])


def _is_partial(book: Book, ask: Ask, answer: Mapping[str, Any], wanted: Mapping[str, Any], missing: int) -> bool:
    """Whether a list is as long as the whole one, begins with its products but those of the missing shard, and goes on
    without that shard.
    """
    ids, scores = answer["product_ids"], answer["scores"]
    if len(ids) != len(wanted["product_ids"]) or any(book.shards[one] == missing for one in ids):
        return False
    # which products are diverse depends on those chosen before
    if "diversity" in ask.path:
        return True
    places = [place for place, one in enumerate(wanted["product_ids"]) if book.shards[one] != missing]
    first = {"product_ids": ids[: len(places)], "scores": scores[: len(places)]}
    return same_list(first, {name: [wanted[name][place] for place in places] for name in first})


def _judge_encoded(book: Book, ask: Ask, answer: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[Verdict, str]:
    if not _close(answer["buyer_embedding"], wanted["buyer_embedding"]):
        others = [known[ask.key]["buyer_embedding"] for known in book.answers.values()]
        mixed = any(_close(answer["buyer_embedding"], other) for other in others)
        return Verdict.MIXED if mixed else Verdict.WRONG, f"not the vector of version {answer['model_version']}"
    if answer["stored"] == wanted["stored"]:
        return Verdict.RIGHT, ""
    if answer["stored"] == 0 and answer["warnings"]:
        return Verdict.DEGRADED, answer["warnings"][0]
    return Verdict.WRONG, f"stored {answer['stored']} of {wanted['stored']} without a warning"


def _is_of_another(book: Book, ask: Ask, answer: Mapping[str, Any]) -> bool:
    """Whether products and scores, or else the details alone, are those of any version in the book."""
    plain = {name: answer[name] for name in ("product_ids", "scores")}
    for known in book.answers.values():
        for key in (ask.key, *ask.popular):
            wanted = known[key]
            if same_list(plain, {name: wanted[name] for name in ("product_ids", "scores")}):
                return True
    return False


def _close(one: Sequence[float], two: Sequence[float]) -> bool:
    return len(one) == len(two) and all(math.isclose(a, b, abs_tol=TOLERANCE) for a, b in zip(one, two, strict=True))
