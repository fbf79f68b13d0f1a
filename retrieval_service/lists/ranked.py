"""Products that already have scores, as far as a filter allows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval_service.answers import Answers
from retrieval_service.filters.filters import Filters
from retrieval_service.query import Answer, Query, check_queries
from twotower.arrays import Float32
from twotower.search.ranking import Hits


def ranked(filters: Filters, answers: Answers, product_ids: Sequence[str], scores: Float32, query: Query) -> Answer:
    """The best of some products, each once, by the scores [M] that they are given, equal ones in their order.

    Products that are not known, may not be shown or do not pass the filter are left out. Diversity has no effect.
    """
    check_queries([query])
    allowed, excluded = filters.allowed(query.filter), set(query.excluded_ids)
    rows = np.array([filters.shown_row(one, allowed) if one not in excluded else -1 for one in product_ids], np.int64)
    order = np.argsort(-scores, kind="stable")
    order = order[rows[order] >= 0][: query.k]
    chosen = Hits(rows[order], scores[order])
    # equal ones in the order of the list that all shards have
    return answers.ranked(chosen, order, allowed, query)
