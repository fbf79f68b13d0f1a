"""The encoder of a version's queries: that of its products, with what was learned from searches if there is any."""

from __future__ import annotations

from twotower.artifact.version import Version
from twotower.graphs.query_ngrams import QueryNgrams
from twotower.graphs.text_encoder import TextEncoder


def load_query_encoder(version: Version, encoder: TextEncoder) -> TextEncoder:
    """The encoder of queries. The files must be verified; raises CorruptArtifact if they do not fit the encoder."""
    if version.query_ngrams is None:
        return encoder
    buckets = encoder.spec.ngrams["buckets"] if encoder.spec.ngrams else 0
    return encoder.for_queries(QueryNgrams.load(*version.query_ngrams, buckets, encoder.spec.dimension))
