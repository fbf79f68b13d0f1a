"""Judges the /search of a running demo with `searches.tsv`: sixty queries that no step was written from.

Thirty have answers in the demo market: the share of the first ten whose title holds what is meant, and the share that
is wrongly told "no product matches". Thirty have none: the share that gets this warning.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from benchmarks.processes import get_json
from twotower.text.normalise import Normaliser

QUERIES = Path(__file__).with_name("searches.tsv")
_LISTED = 10


class Fresh(NamedTuple):
    """`p10` and `false_alarms` of the queries with answers, `flagged` of those without; `wrong`: texts of either."""

    answerable: int
    p10: float
    false_alarms: float
    unanswerable: int
    flagged: float
    wrong: list[str]


def judge_fresh(port: int, products: Path) -> Fresh:
    """Asks the gateway on this port; `products` are those of the market that it serves.

    Raises SystemExit if no gateway answers.
    """
    fold = Normaliser.profile("full")
    with products.open(encoding="utf-8", newline="") as file:
        titles = {row["product_id"]: fold(row["title"]) for row in csv.DictReader(file)}
    shares, alarms, flags, wrong = list[float](), list[bool](), list[bool](), list[str]()
    for text, pattern in read_queries():
        try:
            answer = get_json(port, "/search?" + urlencode({"q": text, "k": _LISTED}))
        except OSError as error:
            raise SystemExit(f"port {port} cannot be judged: is the demo up? {error}") from None
        ids, is_flagged = answer["product_ids"], not answer["product_ids"] or bool(answer["warnings"])
        if pattern:
            held = sum(bool(re.search(pattern, titles[one])) for one in ids)
            shares.append(held / min(_LISTED, sum(bool(re.search(pattern, title)) for title in titles.values())))
        (alarms if pattern else flags).append(is_flagged)
        if is_flagged == bool(pattern):
            wrong.append(text)
    mean = [sum(one) / len(one) for one in (shares, alarms, flags)]
    return Fresh(len(alarms), mean[0], mean[1], len(flags), mean[2], wrong)


def read_queries() -> list[tuple[str, str]]:
    """Each query with the pattern of its answers, "" for a query without answers."""
    lines = QUERIES.read_text(encoding="utf-8").splitlines()
    found = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(text, pattern) for text, pattern in found]
