"""Lists for words: searches, and completions of what is typed."""

from __future__ import annotations

from functools import partial

from gateway import reasons
from gateway.clients.answers import Hits, Suggestions
from gateway.clients.deadline import Deadline
from gateway.named_product import named_ids
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import Pipeline, explained
from gateway.pipeline.queries import as_understood, list_query, needs_details
from gateway.pipeline.versions import on_one_version
from gateway.rules.facts import request_facts
from gateway.schemas.requests import (
    SearchQuery,
    SuggestQuery,
)
from twotower.errors import (
    InvalidInput,
)
from twotower.pb import item_pb2, retrieval_pb2


async def search(pipeline: Pipeline, query: SearchQuery, deadline: Deadline, version: str = "") -> ProductList:
    """The products whose texts answer a text, as it is understood; first the one whose id the text is.

    With a `version` it is of that one, or raises VersionNotHeld.
    """
    typed = item_pb2.Query(text=query.q, raw=not query.understand)

    async def attempt(version: str) -> ProductList:
        try:
            vector, understood = await pipeline.items.encode_query(typed, version, deadline)
        except InvalidInput as error:
            raise InvalidInput("q", query.q, f"cannot be encoded: {error.problem}") from None
        asked = as_understood(list_query(query, set()), understood)

        async def ask(one: retrieval_pb2.Query) -> Hits:
            return await pipeline.retrieval.search_texts(vector, one, deadline)

        asked.with_products = needs_details(query)
        filtered, ids = list_query(query, set()).filter, named_ids(query)

        async def first(one: retrieval_pb2.Query) -> Hits:
            # whatever its words mean, the text may name a product
            if ids:
                one.named.CopyFrom(retrieval_pb2.Named(ids=ids, filter=filtered))
            hits = await ask(one)
            one.ClearField("named")
            return hits

        ruled = await pipeline.ruled(query, asked, ask, first, lambda: request_facts(query), deadline)
        ruled = await pipeline.detailed(ruled, deadline) if needs_details(query) else ruled
        hits = ruled.hits
        listed = pipeline.product_list(query, ruled, "model", _misses(query, understood, hits), deadline)
        why = partial(reasons.of_words, understood, hits)
        return (await explained(query, listed, why))._replace(understood=understood)

    return await (attempt(version) if version else on_one_version(attempt))


async def suggest(pipeline: Pipeline, query: SuggestQuery, deadline: Deadline) -> Suggestions:
    """Completions of what is typed so far."""
    return await pipeline.items.suggest(query.q, query.k, deadline)


def _misses(query: SearchQuery, understood: item_pb2.Understood, hits: Hits) -> list[str]:
    """Why a search found nothing, or nothing that fits."""
    if hits.is_below_noise:
        return [f"no product matches {query.q!r}: these are no nearer than to words that no product has"]
    if not len(hits.scores) and any(not change.after for change in understood.changes):
        filtered = ", ".join(change.before for change in understood.changes if not change.after)
        return [f"no product is left by {filtered!r} of {query.q!r}; understand=false searches without such filters"]
    return []
