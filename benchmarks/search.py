"""Measures text search in a trained version: by text vectors and words, as /search ranks, by text vectors alone, and by
item tower vectors; and judges the running demo.

Usage:  make bench-search [ARGS='--artifacts .demo/artifacts --seed 7']

There are three kinds of query, all from the version's own titles: unchanged titles, titles with one typing error, and
single words. For titles it reports the share that finds a product of that title first, and among the first ten. For
words that occur in at least five titles it reports the share of the first ten results that contain the word, and the
share of words that none of them contains. The rows "item tower" rank the products' vectors by the vector of an item
with that title.

What learning from searches gives is measured on made searches with words that no title has (`benchmarks.learning`):
P@10 of logged wordings and of others, before and after. The version must have the catalogue's own encoder.

Where ../shared/search_eval is present (or $TWOTOWER_SEARCH_EVAL), its judge.py scores the /search of the gateway at
--url, with the demo market's 278 queries: P@10, MRR and the share off-topic by class of query. Sixty further queries
(`benchmarks.fresh_searches`) say how often a warning is wrong. Real catalogues in ../shared/data (or $TWOTOWER_DATA)
are searched by vectors and words (`benchmarks.real_search`); their encoders are trained once and kept in --work, which
takes minutes on free cores. `--real-steps 10` bounds that; its figures are lower. --large adds what the index of words
costs at so many products (`benchmarks.search_index`). The last line is one JSON object; parts whose data are absent, or
that are not asked for, are null.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.fresh_searches import judge_fresh
from benchmarks.learning import measure
from benchmarks.real_search import measure_real
from benchmarks.search_index import measure_index
from trainer.search.learning import Ranking
from trainer.search.weights import words_of
from trainer.text.typos import add_typo
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import ItemTower
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import WordIndex
from twotower.search.word_search import added_by_words
from twotower.text.normalise import Normaliser

JUDGE = Path(os.environ.get("TWOTOWER_SEARCH_EVAL") or Path(__file__).resolve().parents[2] / "shared" / "search_eval")
_LISTED = 10
_TITLES, _WORDS, _OFTEN, _CHUNK = 2000, 500, 5, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path(".demo/artifacts"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the gateway to judge")
    parser.add_argument(
        "--products", type=Path, default=Path(".demo/data/products.csv"), help="the market that it serves"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(".demo/bench-search"), help="keeps what real sets are read by"
    )
    parser.add_argument(
        "--real-steps",
        type=int,
        default=0,
        help="batches that the encoders of real sets are trained on, for a quick look; 0: as many as a training takes",
    )
    parser.add_argument("--large", type=int, default=0, help="products of a market to build indexes for; 0: none")
    options = parser.parse_args()
    layout = Layout(options.artifacts)
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise SystemExit(f"{options.artifacts} has no published version: run `make demo` first, or name another folder")
    version = open_version(layout, pointer.version)
    files = version.layout
    ids = np.load(files.ids, allow_pickle=False).tolist()
    records = [one for one in Catalogue(files.products).lookup(ids) if one]
    titles = [one.title for one in records]
    encoder, tower = TextEncoder.load(version.encoder, 2), ItemTower(files, 2)
    texts = np.load(files.text_embeddings)
    rankings = {"texts, words": texts, "texts": texts, "item tower": np.load(files.embeddings)}
    index, weights = WordIndex.load(files, len(titles)), version.manifest.text_search.words
    draw = random.Random(options.seed)
    some = draw.sample([title for title in titles if title], min(_TITLES, len(titles)))
    words = _words(titles, draw)
    holding = [set(Normaliser.profile("full")(title).split()) for title in titles]
    print(
        f"{version.name}, encoder {version.manifest.encoder}: {len(titles):,} products, {len(some):,} titles, "
        f"{len(words)} words"
    )
    print(
        f"{'ranked by':<14}{'title @1':>10}{'@10':>7}{'typo @1':>10}{'@10':>7}"
        f"{'of ten with the word':>23}{'none of ten':>13}"
    )
    rows: list[dict[str, Any]] = []
    for name, vectors in rankings.items():

        def lists(queries: Sequence[str], name: str = name, vectors: Float32 = vectors) -> list[list[int]]:
            encoded = encoder.encode(queries)
            zero = np.zeros(len(queries), np.int64)
            asked = tower.encode(encoded, zero, zero, zero) if name == "item tower" else unit_rows(encoded)
            added = [added_by_words(index, weights, words_of(one)) for one in queries] if "words" in name else None
            return _best(asked, vectors, added)

        exact = _shares(lists(some), some, titles)
        typo = _shares(lists([add_typo(title, draw) for title in some]), some, titles)
        held = [sum(word in holding[row] for row in hits) for hits, word in zip(lists(words), words, strict=True)]
        share, none = sum(held) / (_LISTED * len(held)), held.count(0) / len(held)
        print(f"{name:<14}{exact[0]:>10.3f}{exact[1]:>7.3f}{typo[0]:>10.3f}{typo[1]:>7.3f}{share:>23.3f}{none:>13.3f}")
        rows.append({"by": name, "title": exact, "typo": typo, "hold": share, "none": none})
    learned = [measure(records, Ranking(texts, index, weights), encoder, seed) for seed in (7, 8, 9)]
    for one in learned:
        print(f"learning from made searches: {one}")
    judged = judge(options.url, options.products)
    fresh = judge_fresh(urlsplit(options.url).port or 80, options.products)
    print(fresh)
    real = measure_real(options.work, options.real_steps)
    large = measure_index(encoder, options.large) if options.large else None
    print(
        json.dumps(
            {
                "benchmark": "search",
                "products": len(titles),
                "rows": rows,
                "learning": [one._asdict() for one in learned],
                "judge": judged,
                "fresh": fresh._asdict(),
                "real": real,
                "index": large._asdict() if large else None,
            }
        )
    )


def judge(url: str, products: Path) -> dict[str, Any] | None:
    """What the judge says of the gateway, by class of query; None without a judge. Prints a table."""
    if not (JUDGE / "judge.py").is_file():
        print(f"{JUDGE} is absent: nothing is judged")
        return None
    command = [sys.executable, str(JUDGE / "judge.py"), url, "--products", str(products), "--json"]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise SystemExit(f"{url} cannot be judged: is the demo up? {finished.stderr.strip().splitlines()[-1]}")
    classes: dict[str, Any] = json.loads(finished.stdout)
    print(f"{'class of query':<16}{'n':>5}{'P@10':>8}{'MRR':>8}{'off':>8}{'flagged':>9}")
    for name, one in classes.items():
        cells = "".join(f"{one[key]:>8.3f}" if key in one else f"{'':>8}" for key in ("p", "mrr", "off"))
        print(f"{name:<16}{one['n']:>5}{cells}{one['flagged']:>9.3f}")
    return classes


def _words(titles: Sequence[str], draw: random.Random) -> list[str]:
    """Draws words that occur in at least five titles."""
    fold = Normaliser.profile("full")
    counts = Counter(word for title in titles for word in set(fold(title).split()))
    often = sorted(word for word, count in counts.items() if count >= _OFTEN and word.isalpha() and len(word) > 2)
    return draw.sample(often, min(_WORDS, len(often)))


def _best(asked: Float32, vectors: Float32, added: Sequence[Float32] | None) -> list[list[int]]:
    best: list[list[int]] = []
    for start in range(0, len(asked), _CHUNK):
        scores = asked[start : start + _CHUNK] @ vectors.T
        if added is not None:
            scores += np.stack(added[start : start + _CHUNK])
        best += np.argsort(-scores, axis=1, kind="stable")[:, :_LISTED].tolist()
    return best


def _shares(lists: Sequence[Sequence[int]], wanted: Sequence[str], titles: Sequence[str]) -> tuple[float, float]:
    """Returns the shares of lists with a product of the wanted title at the first place, and at any place."""
    first = sum(titles[hits[0]] == title for hits, title in zip(lists, wanted, strict=True))
    among = sum(any(titles[row] == title for row in hits) for hits, title in zip(lists, wanted, strict=True))
    return first / len(wanted), among / len(wanted)


if __name__ == "__main__":
    main()
