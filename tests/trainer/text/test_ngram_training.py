"""The catalogue encoder, and how encoders are opened."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from tests.helpers.small_shop import product_rows
from trainer.config.loading import load_config
from trainer.config.schema import CatalogueEncoderConfig
from trainer.data.catalogue import Products
from trainer.errors import EncoderError
from trainer.text.encoders import load_pretrained, open_encoder, save_encoder
from trainer.text.ngram_training import _Batches, train_catalogue_encoder
from trainer.text.typos import augment_title
from trainer.text.vectors import texts_of
from twotower.text.normalise import Normaliser

FULL = Normaliser.profile("full")
RAW = ["أسـورة <b>ذهب</b> ٢١", "IPHONE 15&nbsp;برو", "", "  عطـرٌ\u200f\n", "5W-30 زيت محرك"]


def products(count: int = 60) -> Products:
    rows = product_rows(count)
    empty = [""] * count
    return Products(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        empty,
        [("مجوهرات", "عطور", "سيارات", "تمور")[place % 4] for place in range(count)],
        [None] * count,
        empty,
        [True] * count,
        [()] * count,
        empty,
    )


def settings_of(*assignments: str) -> CatalogueEncoderConfig:
    small = ["dimension=32", "buckets=4096", "batch_size=32", "steps=20"]
    return load_config([], [f"encoder.catalogue.{one}" for one in (*small, *assignments)]).encoder.catalogue


@pytest.fixture(scope="module")
def trained() -> SentenceTransformer:
    return train_catalogue_encoder(products(), settings_of(), FULL, 7)


def cosine(model: SentenceTransformer, one: str, two: str) -> float:
    left, right = model.encode([one, two])
    return float(left @ right)


def test_the_saved_folder_is_used_as_any_other_and_normalises_by_itself(
    trained: SentenceTransformer, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    save_encoder(trained, folder)
    loaded = SentenceTransformer(str(folder))
    vectors = loaded.encode(RAW)
    np.testing.assert_allclose(vectors, loaded.encode([FULL(text) for text in RAW]), atol=1e-7)
    np.testing.assert_allclose(vectors, trained.encode(RAW), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1, 1], atol=1e-6)
    assert vectors.shape == (5, 32) and loaded.get_embedding_dimension() == 32
    assert sorted(path.suffix for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"}) == []
    save_encoder(trained, folder)  # over what is there
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_spellings_of_one_text_have_one_vector(trained: SentenceTransformer) -> None:
    assert cosine(trained, "أسورة ذهب ٢١", "اسوره  ذهـب 21") == pytest.approx(1, abs=1e-6)


def test_a_text_is_nearer_to_its_misspelling_than_to_another_category(trained: SentenceTransformer) -> None:
    titles = products().titles
    misspelled = [title.replace("ا", "", 1).replace("د", "ذ", 1) for title in titles]
    own = np.mean([cosine(trained, *pair) for pair in zip(titles, misspelled, strict=True)])
    other = np.mean([cosine(trained, title, titles[(place + 1) % 60]) for place, title in enumerate(titles)])
    assert own > other + 0.3
    assert cosine(trained, "خاتم ذهب", "بطارية سيارة") < 0.3


def test_training_pulls_an_augmented_title_towards_its_own_product() -> None:
    draw = random.Random(3)
    titles = [FULL(title) for title in products().titles]
    queries = [augment_title(title, draw) for title in titles]
    scores = []
    for steps in (0, 40):
        model = train_catalogue_encoder(products(), settings_of(f"steps={steps}"), FULL, 7)
        similar = model.encode(queries) @ model.encode(titles).T
        own = np.diag(similar)
        scores.append(float((own - (similar.sum(axis=1) - own) / (len(titles) - 1)).mean()))
    assert scores[1] > scores[0] + 0.02


def invented(count: int = 150) -> Products:
    """Products of invented names, in threes with similar spelling, with doses, forms and a Latin description."""
    draw = random.Random(5)
    syllables = [consonant + vowel for consonant in "بتجدرزسفكلمن" for vowel in "اوي"]
    names: dict[str, None] = {}
    while len(names) < count // 3:
        names["".join(draw.choice(syllables) for _ in range(4)) + draw.choice("نمسر")] = None
    titles = [
        f"{name} {dose} مجم {draw.choice(('20 قرص', '14 كبسولة', 'شراب 100 مل'))}"
        for name in names
        for dose in draw.sample((5, 10, 25, 50, 100), 3)
    ]
    latin = str.maketrans("بتجدرزسفكلمناوي", "btjdrzsfklmnaoi")
    empty = [""] * len(titles)
    return Products(
        titles,
        titles,
        [f"{title.split()[0].translate(latin)} tablets, ships in a carton box" for title in titles],
        empty,
        empty,
        [None] * len(titles),
        empty,
        [True] * len(titles),
        [()] * len(titles),
        empty,
    )


# What sellers do to a title, each applied to all titles.
SPELLINGS = {
    "a letter left out": lambda name, rest: f"{name[:2]}{name[3:]} {rest}",
    "two letters swapped": lambda name, rest: f"{name[:2]}{name[3]}{name[2]}{name[4:]} {rest}",
    "a letter drawn out": lambda name, rest: f"{name[:3]}{name[3] * 5}{name[4:]} {rest}",
    "another vowel": lambda name, rest: f"{name[:3]}{'و' if name[3] != 'و' else 'ا'}{name[4:]} {rest}",
    "spaces lost": lambda name, rest: f"{name}{rest.replace(' ', '')}",
    "a price and a note": lambda name, rest: f"*{name} {rest} السعر الجديد 87",
}


@pytest.fixture(scope="module")
def robust() -> SentenceTransformer:
    return train_catalogue_encoder(invented(), settings_of("dimension=128", "buckets=16384"), FULL, 7)


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_noisy_title_finds_its_own_product(robust: SentenceTransformer, kind: str) -> None:
    shop = invented()
    queries = [SPELLINGS[kind](*title.split(" ", 1)) for title in shop.titles]
    vectors, titles, texts = (robust.encode(one) for one in (queries, shop.titles, texts_of(shop)))
    for documents in (titles, texts):
        found = (vectors @ documents.T).argmax(axis=1)
        assert (found == np.arange(len(queries))).mean() >= 0.95


def test_words_that_no_product_has_change_a_vector_little(robust: SentenceTransformer) -> None:
    title = invented().titles[0]
    assert cosine(robust, title, f"{title} žqwx") > 0.9


def test_batches_contain_the_nearest_neighbours_in_spelling() -> None:
    # Two directions with two products each: a drawn product brings its neighbour.
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
    batches = _Batches(vectors, settings_of("batch_size=2", "batch_group=2"), random.Random(1))
    assert {frozenset(batches.rows()) for _ in range(30)} == {frozenset({0, 2}), frozenset({1, 3})}
    alone = _Batches(vectors, settings_of("batch_size=2", "batch_group=1"), random.Random(1))
    assert all(1 <= len(set(rows)) == len(rows) <= 2 for rows in (alone.rows() for _ in range(30)))


def test_the_same_seed_gives_the_same_encoder() -> None:
    def weights(seed: int) -> torch.Tensor:
        return train_catalogue_encoder(products(), settings_of("steps=3"), FULL, seed)[0].embedding.weight

    assert torch.equal(weights(7), weights(7))
    assert not torch.equal(weights(7), weights(8))


@pytest.mark.parametrize("count", [1, 2])
def test_a_catalogue_of_one_or_two_products_has_an_encoder(count: int) -> None:
    model = train_catalogue_encoder(products(count), settings_of("steps=2"), FULL, 7)
    assert np.isfinite(model.encode(["خاتم ذهب"])).all()


def test_products_without_any_text_do_not_break_the_training() -> None:
    blank = products(8)
    for row in range(0, 8, 2):
        blank.titles[row] = blank.descriptions[row] = ""
    model = train_catalogue_encoder(blank, settings_of("steps=5"), FULL, 7)
    assert np.isfinite(model.encode(texts_of(blank))).all()


def test_padding_has_the_zero_vector(trained: SentenceTransformer) -> None:
    assert not trained[0].embedding.weight[0].any()


@given(
    st.lists(st.text(st.characters(exclude_characters=" \t\n"), min_size=1, max_size=8), max_size=6), st.integers(0, 99)
)
@settings(max_examples=200, deadline=None)
def test_augmentation_never_raises_and_never_empties_a_text(words: list[str], seed: int) -> None:
    text = FULL(" ".join(words))
    made = augment_title(text, random.Random(seed))
    assert bool(made.strip()) or not text


def test_augmentation_changes_texts_but_keeps_their_numbers() -> None:
    draw = random.Random(1)
    text = "زيت محرك تخليقي 4000 كامل 5"
    made = [augment_title(text, draw) for _ in range(200)]
    assert sum(one != text for one in made) > 150
    assert sum("4000" in one for one in made) > 150


def test_the_catalogue_encoder_is_trained_once_for_a_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    config = load_config([], ["encoder.name=catalogue", "encoder.catalogue.steps=2", "encoder.catalogue.buckets=512"])
    one, name = open_encoder(config.encoder, products(), 7, tmp_path)
    assert name == "catalogue" and len(logged.messages) == 1
    two, _ = open_encoder(config.encoder, products(), 7, tmp_path)
    assert len(logged.messages) == 1
    np.testing.assert_array_equal(one.encode(RAW), two.encode(RAW))
    open_encoder(config.encoder, products(), 8, tmp_path)
    open_encoder(config.encoder, products(59), 7, tmp_path)
    assert len(logged.messages) == 3
    monkeypatch.setattr("trainer.text.encoders.code_digest", lambda sources: "of another release")
    open_encoder(config.encoder, products(), 7, tmp_path)
    assert len(logged.messages) == 4


def test_an_unreachable_encoder_is_an_error_within_seconds_that_names_both_solutions(tmp_path: Path) -> None:
    # In a new process, because the hub's address is read once. Nothing listens on it, and nothing is cached.
    name = "paraphrase-multilingual-MiniLM-L12-v2"
    command = f"from trainer.text.encoders import load_pretrained; load_pretrained({name!r}, 128)"
    environ = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=False, env=environ, timeout=120
    )
    message = process.stderr.rstrip().splitlines()[-1]
    assert f"EncoderError: the encoder {name!r} cannot be loaded" in message
    assert "--config trainer/config/offline.yaml" in message and "--set encoder.name=PATH" in message


def test_a_folder_without_an_encoder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]x")
    with pytest.raises(EncoderError, match=f"{tmp_path}.* cannot be loaded"):
        load_pretrained(str(tmp_path), 128)
