"""What a search for words finds in a trained version: by the texts, as /search ranks, beside the item tower's vectors.

Usage:  make bench-search [ARGS='--artifacts .demo/artifacts --seed 7']

Three kinds of query, all made of the version's own titles: titles as they stand, titles with one slip of the pen, and
single words. Of the first two the share that finds a product of that title first, and among ten; of words that stand in
five titles or more the share of the first ten that hold the word, and the share of words that none of ten holds. The
rows "item tower" rank the products' stored vectors by the vector of an item of that title, as older releases did. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.text.typos import add_typo
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import ItemTower
from twotower.search.vector_index import unit_rows
from twotower.text.normalise import Normaliser

_LISTED = 10
_TITLES, _WORDS, _OFTEN, _CHUNK = 2000, 500, 5, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path(".demo/artifacts"))
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    layout = Layout(options.artifacts)
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise SystemExit(f"{options.artifacts} has no published version: run `make demo` first, or name another folder")
    version = open_version(layout, pointer.version)
    files = version.layout
    ids = np.load(files.ids, allow_pickle=False).tolist()
    titles = [one.title if one else "" for one in Catalogue(files.products).lookup(ids)]
    encoder, tower = TextEncoder.load(version.encoder, 2), ItemTower(files.item_tower, 2)
    ways = {"texts": np.load(files.text_embeddings), "item tower": np.load(files.embeddings)}
    draw = random.Random(options.seed)
    some = draw.sample([title for title in titles if title], min(_TITLES, len(titles)))
    words = _words(titles, draw)
    holding = [set(Normaliser.profile("full")(title).split()) for title in titles]
    print(
        f"{version.name}, encoder {version.manifest.encoder}: {len(titles):,} products, {len(some):,} titles, "
        f"{len(words)} words"
    )
    print(
        f"{'ranked by':<12}{'title @1':>10}{'@10':>7}{'slip @1':>10}{'@10':>7}"
        f"{'of ten hold the word':>23}{'none does':>11}"
    )
    rows: list[dict[str, Any]] = []
    for name, vectors in ways.items():

        def lists(queries: Sequence[str], name: str = name, vectors: Float32 = vectors) -> list[list[int]]:
            texts = encoder.encode(queries)
            zero = np.zeros(len(queries), np.int64)
            asked = unit_rows(texts) if name == "texts" else tower.encode(texts, zero, zero, zero)
            return _best(asked, vectors)

        exact = _found(lists(some), some, titles)
        slip = _found(lists([add_typo(title, draw) for title in some]), some, titles)
        held = [sum(word in holding[row] for row in hits) for hits, word in zip(lists(words), words, strict=True)]
        share, none = sum(held) / (_LISTED * len(held)), held.count(0) / len(held)
        print(f"{name:<12}{exact[0]:>10.3f}{exact[1]:>7.3f}{slip[0]:>10.3f}{slip[1]:>7.3f}{share:>23.3f}{none:>11.3f}")
        rows.append({"by": name, "title": exact, "slip": slip, "hold": share, "none": none})
    print(json.dumps({"benchmark": "search", "products": len(titles), "rows": rows}))


def _words(titles: Sequence[str], draw: random.Random) -> list[str]:
    """Words that stand in many titles, drawn at random."""
    fold = Normaliser.profile("full")
    counts = Counter(word for title in titles for word in set(fold(title).split()))
    often = sorted(word for word, count in counts.items() if count >= _OFTEN and word.isalpha() and len(word) > 2)
    return draw.sample(often, min(_WORDS, len(often)))


def _best(asked: Float32, vectors: Float32) -> list[list[int]]:
    found: list[list[int]] = []
    for start in range(0, len(asked), _CHUNK):
        scores = asked[start : start + _CHUNK] @ vectors.T
        found += np.argsort(-scores, axis=1, kind="stable")[:, :_LISTED].tolist()
    return found


def _found(lists: Sequence[Sequence[int]], wanted: Sequence[str], titles: Sequence[str]) -> tuple[float, float]:
    """The shares of lists with a product of the title wanted in the first place, and anywhere."""
    first = sum(titles[hits[0]] == title for hits, title in zip(lists, wanted, strict=True))
    among = sum(any(titles[row] == title for row in hits) for hits, title in zip(lists, wanted, strict=True))
    return first / len(wanted), among / len(wanted)


if __name__ == "__main__":
    main()
