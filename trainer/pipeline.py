"""The stages of a run: prepare → train → evaluate → embed → index → publish. Each is one function."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from trainer import baselines, comparison, evaluate, export, gate, index, similarity, slices, text_encoder
from trainer.candidates import Fitter
from trainer.config import Config
from trainer.dataset import Dataset, Events, attribute_codes, data_facts, load_dataset, tie_hash
from trainer.errors import DataError
from trainer.model import ItemFeatures, Sizes, TwoTower, text_alone
from trainer.nearest import write_nearest
from trainer.progress import Say, track
from trainer.report import library_versions, write_report
from trainer.samples import sample_buyers
from trainer.source import code_digest, find_files, fingerprint
from trainer.split import (
    Cases,
    Int64,
    Split,
    draw_hidden,
    everything,
    hide,
    sample,
    split_events,
    training_counts,
)
from trainer.train import pick_device
from twotower.artifact import (
    IndexSpec,
    Layout,
    Manifest,
    Version,
    VersionLayout,
    describe,
    list_versions,
    open_version,
    prune,
    publish,
    read_pointer,
    write_version,
)
from twotower.catalogue import Product, write_catalogue
from twotower.encoder import TextEncoder
from twotower.errors import CorruptArtifact
from twotower.events import EventSchema, Interaction
from twotower.history import BuyerInputs, weights_by_code, write_recent
from twotower.search import VectorIndex
from twotower.text import item_text
from twotower.tower import BuyerTower, ItemTower
from twotower.vocab import Vocab

Float32 = NDArray[np.float32]
_PARITY_HISTORIES = 64
# products that the index must find by their own vectors before a version is published
_FOUND_AGAIN = 50
# the modules whose every change may change a model
_MODEL_CODE = {
    "trainer": (
        "alike",
        "batches",
        "blend",
        "candidates",
        "dataset",
        "linear",
        "loss",
        "model",
        "quantise",
        "split",
        "text_encoder",
        "train",
    ),
    "twotower": ("events", "history", "ngrams", "text", "vocab"),
}
# fewer (history, next product) pairs than this are said to be few
_FEW_PAIRS = 1000


@dataclass(frozen=True)
class RunFolder:
    """Every path of one run's work: what a stage leaves for the next. Named by data and configuration."""

    root: Path

    checkpoints = property(lambda self: self.root / "checkpoints")
    tested_checkpoints = property(lambda self: self.root / "refit-tested")
    refit_checkpoints = property(lambda self: self.root / "refit")
    evaluated = property(lambda self: self.root / "evaluated.safetensors")
    final = property(lambda self: self.root / "model.safetensors")
    training = property(lambda self: self.root / "training.json")
    metrics = property(lambda self: self.root / "metrics.json")
    per_case = property(lambda self: self.root / "per_case.npz")
    rejects = property(lambda self: self.root / "rejects.csv")
    item_tower = property(lambda self: self.root / "item_tower.onnx")
    buyer_tower = property(lambda self: self.root / "buyer_tower.onnx")
    vocab = property(lambda self: self.root / "vocab.json")
    embeddings = property(lambda self: self.root / "product_embeddings.npy")
    ids = property(lambda self: self.root / "product_ids.npy")
    index = property(lambda self: self.root / "product_index.faiss")
    nearest = property(lambda self: self.root / "nearest_products.onnx")
    index_spec = property(lambda self: self.root / "index.json")


@dataclass(frozen=True)
class Prepared:
    """Checked data, its text vectors, and where this run works.

    `events` are what the validated and the tested model may see, and what `split` refers to: those of `data`, less the
    past of the `hidden` [N] products.
    """

    config: Config
    layout: Layout
    folder: RunFolder
    fingerprint: str
    data: Dataset
    schema: EventSchema
    vocab: Vocab
    features: ItemFeatures
    titles: torch.Tensor | None
    encoder_name: str
    encoder_digest: str
    events: Events
    split: Split
    hidden: NDArray[np.bool_]
    ties: NDArray[np.uint64]


def run_fingerprint(config: Config, events: Sequence[str], products: Sequence[str]) -> str:
    """sha256 over the input files, every setting that changes the model, and the code that makes it.

    With new code a checkpoint of the old one is not resumed, and a version made by it is not up to date.
    """
    files = fingerprint(find_files(products, "products")), fingerprint(find_files(events, "events"))
    settings = config.digest("seed", "data", "encoder", "model", "training", "linear", "evaluation", "index")
    return hashlib.sha256(json.dumps([*files, settings, _code()]).encode()).hexdigest()


def _code() -> str:
    return code_digest(_MODEL_CODE)


def check_writable(layout: Layout) -> None:
    """Makes the artifact folder and proves that it can be written; OSError names it otherwise."""
    layout.work.mkdir(parents=True, exist_ok=True)
    probe = layout.work / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)
    finally:
        probe.unlink(missing_ok=True)


def prepare(config: Config, layout: Layout, events: Sequence[str], products: Sequence[str], say: Say) -> Prepared:
    """Files → checked rows → text vectors."""
    threads = config.thread_count
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing here reads memory that was never written; filling it takes a sixteenth of a training step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    name = run_fingerprint(config, events, products)
    work, folder = _work(config, layout), _run_folder(config, layout, name)
    folder.root.mkdir(parents=True, exist_ok=True)
    os.utime(folder.root)
    data = load_dataset(events, products, config.data, config.seed, folder.root, say)
    say(f"{len(data.events.buyer):,} events of {len(data.buyers):,} buyers{_rejected(data)}")
    model, encoder_name = text_encoder.open_encoder(config.encoder, data.products, config.seed, work / "encoders", say)
    texts = text_encoder.texts_of(data.products)
    digest = export.export_encoder(
        model, encoder_name, config.encoder, [text for text in texts if text], layout, threads, say
    )
    graph = TextEncoder.load(layout.encoder(digest), threads)
    vocab = Vocab.build(data.products.brands, data.products.categories)
    titles: list[str] = []
    if config.training.category_alignment and len(vocab.category) > 1:
        # a title alone is as short as what a shopper types: the item tower learns from it too
        titles = [title or text for title, text in zip(data.products.titles, texts, strict=True)]
    every = [*texts, *titles]
    vectors, fresh = text_encoder.encode_cached(graph, digest, every, work / "text_vectors", config.encoder.batch_size)
    say(f"text vectors: {fresh:,} encoded, {len(set(every)) - fresh:,} from the cache")
    features = ItemFeatures(
        torch.from_numpy(vectors[: len(texts)]),
        torch.tensor([vocab.brand_index(brand) for brand in data.products.brands]),
        torch.tensor([vocab.category_index(category) for category in data.products.categories]),
        torch.arange(1, len(texts) + 1),
        torch.from_numpy(attribute_codes(data.products.attributes)),
    )
    known, split = data.events, split_events(data.events, config.evaluation)
    hidden = draw_hidden(len(data.products), config.evaluation.hidden_products, config.seed)
    if hidden.any():
        known, split = hide(known, split, hidden, config.evaluation.exclude_seen)
        say(f"{hidden.sum():,} products are hidden from the tested model")
    return Prepared(
        config, layout, folder, name, data, EventSchema(config.data.event_weights), vocab, features,
        torch.from_numpy(vectors[len(texts) :]) if titles else None, encoder_name, digest, known, split, hidden,
        tie_hash(data.products.ids, config.seed),
    )  # fmt: skip


def train(run: Prepared, say: Say) -> None:
    """Fits the model that is evaluated and, with `refit`, the one on all events that is published."""
    config, split, folder = run.config, run.split, run.folder
    say(f"split {split.method} ({split.note}): {len(split.validation):,} validation, {len(split.test):,} test buyers")
    cases = sample(split.validation, config.evaluation.max_buyers, config.seed)
    fitter = fitter_of(run, say)
    chosen = fitter.choose(run.events, split.train_stop, cases, folder.checkpoints)
    facts = chosen.facts | {"refit": config.training.refit, "notes": _thin(chosen.pairs, len(cases))}
    for note in facts["notes"]:
        say(f"warning: {note}")
    tested = final = chosen.weights
    final_events, final_stop = run.events, split.train_stop
    if config.training.refit:
        say("refitting on all that the test does not ask for")
        tested, facts["tested_curve"] = fitter.again(
            chosen, "tested", run.events, split.test_stop, folder.tested_checkpoints
        )
        say("refitting on all events, to be published")
        final_events, final_stop = run.data.events, everything(run.data.events)
        final, facts["refit_curve"] = fitter.again(chosen, "refit", final_events, final_stop, folder.refit_checkpoints)
    _save(tested, folder.evaluated)
    _save(final, folder.final)
    facts["newest_event_ms"] = _newest(final_events, final_stop)
    _write_json(folder.training, facts)


def _newest(events: Events, stop: Int64) -> int | None:
    """The time of the newest training event."""
    times = events.time[np.arange(len(events.buyer)) < stop[events.buyer]]
    return int(times.max()) if len(times) else None


def _thin(pairs: int, validation: int) -> list[str]:
    """What a user must know of a model that had little to learn from; it goes into the manifest."""
    notes = []
    if pairs < _FEW_PAIRS:
        notes.append(f"only {pairs:,} training pairs: products are placed by their text, and hardly by what buyers did")
    if not validation:
        notes.append("no buyer has enough events to validate on: training ran for training.max_epochs")
    return notes


def evaluate_run(run: Prepared, say: Say) -> dict[str, Any]:
    """Ranks the test targets with the model and with the baselines; writes metrics.json, the gate's verdict in it."""
    _require(run.folder.evaluated, "train")
    config, count = run.config, len(run.data.products)
    settings, stop = config.evaluation, run.split.test_stop if config.training.refit else run.split.train_stop
    cases = _test_cases(run)
    model = _load_model(run, run.folder.evaluated)
    scorers = {"model": _scorer(run, model, run.features)}
    scorers |= comparison.fitted_baselines(run.events, stop, count, settings, say)
    ranks = {name: _rank(run, scorer, cases, f"testing {name}") for name, scorer in scorers.items()}
    counts = training_counts(run.events, stop, count)
    values = comparison.per_case(ranks, counts)
    found = comparison.means(ranks, values, count)
    for name, one in found.items():
        say(f"{name}: {evaluate.describe(one)}")
    own, compared = comparison.intervals(values, settings.resamples, config.seed)
    comparison.save_per_case(run.folder.per_case, np.unique(ranks["model"].case), values, settings.metric)
    data = run.data
    report = {
        "protocol": _protocol(run, cases),
        "test": found,
        "intervals": own,
        "compared": compared,
        "slices": slices.slice_report(
            ranks, cases, slices.Facts(data.products, counts, run.hidden), settings.resamples, config.seed
        ),
        "similarity": _similarity(run, model, run.features) | {"texts": _text_pairs(run, model, say)},
        "training": json.loads(run.folder.training.read_text(encoding="utf-8")),
        "data": data_facts(data),
        "samples": sample_buyers(ranks["model"], cases, run.events, data, config.seed),
        "libraries": library_versions(),
    }
    verdict = _gate(run, _beside_served(run, found["model"], say))
    say(f"gate: {verdict.verdict}" + "".join(f"; {reason}" for reason in verdict.reasons))
    _write_json(run.folder.metrics, report | {"gate": asdict(verdict)})
    return report


def _test_cases(run: Prepared) -> Cases:
    return sample(run.split.test, run.config.evaluation.max_buyers, run.config.seed)


def _protocol(run: Prepared, cases: Cases) -> dict[str, Any]:
    """How the figures were measured, for a reader."""
    config = run.config
    return {
        "split": run.split.method,
        "why": run.split.note,
        "test_days": config.evaluation.test_days if run.split.method == "global_time" else None,
        "exclude_seen": config.evaluation.exclude_seen,
        "catalogue": "full",
        "ties": "seeded hash of the product id",
        "test_buyers": len(cases),
        "tested_model": "refitted on every event that the test does not ask for"
        if config.training.refit
        else "trained without the validation events",
        "baselines": "fitted on the same events as the tested model",
        "published_model": "refitted on all events" if config.training.refit else "the evaluated one",
        "hidden_products": int(run.hidden.sum()),
        "intervals": f"95 %, bootstrap over buyers, {config.evaluation.resamples} resamples",
        "seed": config.seed,
    }


def _similarity(run: Prepared, model: TwoTower, features: ItemFeatures) -> dict[str, Any]:
    """How well whole vectors, and those of the text alone, tell categories apart."""
    category = run.features.category.cpu().numpy()
    whole = similarity.separation(evaluate.item_vectors(model, features), category, run.config.seed)
    texts = evaluate.item_vectors(model, text_alone(run.features.text))
    return whole | {"text_only": similarity.separation(texts, category, run.config.seed)}


def _text_pairs(run: Prepared, model: TwoTower, say: Say) -> list[dict[str, Any]]:
    """The configured pairs of titles, as an item service would encode them without knowing more."""
    graph = TextEncoder.load(run.layout.encoder(run.encoder_digest), run.config.threads or 1)

    def encode(titles: list[str]) -> NDArray[np.float32]:
        texts = graph.encode([item_text(title, "") for title in titles])
        return evaluate.item_vectors(model, text_alone(torch.from_numpy(texts).to(run.features.text.device)))

    found = similarity.text_pairs(run.config.evaluation.text_pairs, encode)
    for line in similarity.missed(found):
        say(f"warning: {line}")
    return found


def _gate(run: Prepared, served: dict[str, Any] | None) -> gate.Verdict:
    """The gate's verdict on the tested model; `served` says how it does beside the served version."""
    config = run.config
    if not config.publish.gate:
        return gate.Verdict("off", config.evaluation.metric, [], None)
    _, values = comparison.load_per_case(run.folder.per_case)
    draws, limit = config.evaluation.resamples, config.publish.max_drop
    return gate.judge(values, config.evaluation.metric, served, limit, draws, config.seed)


def _beside_served(run: Prepared, ours: dict[str, float], say: Say) -> dict[str, Any] | None:
    """The tested model beside the version that is served now; None where there is none, or no gate."""
    config, settings = run.config, run.config.evaluation
    served = gate.find_served(run.layout) if config.publish.gate else None
    if served is None:
        return None
    places, values = comparison.load_per_case(run.folder.per_case)
    cases = Cases(*(column[places] for column in _test_cases(run)))

    def measure(scorer: baselines.Scorer, chosen: Cases) -> tuple[Int64, NDArray[np.float64]]:
        ranks = _rank(run, scorer, chosen, "testing the served version", lists=False)
        return np.unique(ranks.case), evaluate.case_metrics(ranks)[settings.metric]

    facts = gate.compare_with_served(
        served, run.events, cases, run.data.products.ids, run.data.event_names, values["model"], measure,
        least=settings.min_test_buyers, draws=settings.resamples, seed=config.seed,
        threads=config.thread_count, ours=ours, metric=settings.metric,
    )  # fmt: skip
    say(f"served version {served.name}: {facts['how']}")
    return facts


def embed(run: Prepared, say: Say) -> None:
    """Exports both towers, proves parity with torch on real rows, and encodes the catalogue through the graph."""
    _require(run.folder.final, "train")
    config, folder = run.config, run.folder
    threads = config.thread_count
    model = _load_model(run, folder.final)
    export.export_towers(model, folder.item_tower, folder.buyer_tower, run.features.text.shape[1])
    tower = ItemTower(folder.item_tower, threads)
    draw = np.random.default_rng(config.seed)
    count = len(run.data.products)
    rows = np.sort(draw.choice(count, min(count, config.encoder.parity_rows), replace=False))
    tolerance = config.encoder.parity_tolerance
    item = export.check_item_parity(model, tower, run.features, rows, tolerance)
    # rows of products hold what attributes tell, and of untrained ones what reads alike tells: see `Fitter.served`
    vectors = np.empty((count, config.model.dimension), np.float32)
    for start in track(range(0, count, 4096), "encoding products", unit="chunk"):
        part = slice(start, start + 4096)
        made = tower.encode(*(column[part].numpy() for column in run.features[:4]))
        # the graph normalises in float32: once more in float64, so that every stored row has length 1 to 1e-7
        vectors[part] = made / np.linalg.norm(made.astype(np.float64), axis=1, keepdims=True).astype(np.float32)
    batch = _some_histories(run, _PARITY_HISTORIES, draw)
    buyer = export.check_buyer_parity(model, BuyerTower(folder.buyer_tower, threads), vectors, batch, tolerance)
    say(f"graphs agree with torch: item tower to {item:.1e}, buyer tower to {buyer:.1e}")
    np.save(folder.embeddings, vectors, allow_pickle=False)
    np.save(folder.ids, np.array(run.data.products.ids, dtype=np.str_), allow_pickle=False)
    run.vocab.save(folder.vocab)


def build_index(run: Prepared, say: Say) -> None:
    """Vectors → FAISS index of the configured kind, tuned on real buyers."""
    for path in (run.folder.embeddings, run.folder.buyer_tower):
        _require(path, "embed")
    config, threads = run.config, run.config.thread_count
    vectors = np.load(run.folder.embeddings, allow_pickle=False)
    built = index.build(vectors, _index_queries(run, vectors, threads), config.index, config.seed, threads, say)
    index.write(built, run.folder.index)
    run.folder.nearest.unlink(missing_ok=True)
    if index.is_small(built):
        write_nearest(run.folder.embeddings, run.folder.nearest)
    _write_json(run.folder.index_spec, built.spec.model_dump())
    say(f"index: {index.told(built.spec)}, {len(vectors):,} x {vectors.shape[1]}")


def _index_queries(run: Prepared, vectors: Float32, threads: int) -> index.Queries:
    """Vectors of real histories, out of the exported buyer tower; of products with noise where there are no buyers."""
    if not run.data.buyers:
        return index.item_queries(vectors, run.config.seed)
    batch = _some_histories(run, index.QUERIES, np.random.default_rng(run.config.seed))
    made = BuyerTower(run.folder.buyer_tower, threads).encode(vectors[batch.rows], batch)
    return index.Queries(made, f"{len(made):,} buyer vectors of real histories")


def _some_histories(run: Prepared, limit: int, draw: np.random.Generator) -> BuyerInputs:
    """Whole histories of at most `limit` buyers, drawn at random."""
    events, buyers = run.data.events, len(run.data.buyers)
    chosen = np.sort(draw.choice(buyers, min(buyers, limit), replace=False))
    cases = Cases(chosen, events.start[chosen], events.start[chosen + 1], events.start[chosen + 1])
    return evaluate.history_inputs(events, cases, run.schema, run.config.model.max_history)


class Published(NamedTuple):
    """The version that was written, and whether the gate kept it from being named in CURRENT."""

    version: Version
    refused: bool


def publish_run(run: Prepared, say: Say) -> Published:
    """Assembles the version folder, verifies it by loading it as services do, and names it in CURRENT if it may be."""
    for path, stage in ((run.folder.index_spec, "index"), (run.folder.metrics, "evaluate")):
        _require(path, stage)
    verdict = _current_verdict(run, say)
    created = datetime.now(UTC)
    name = _version_name(run.layout, f"{created:%Y%m%dT%H%M%SZ}-{run.fingerprint[:8]}")
    version = write_version(
        run.layout,
        name,
        fill=lambda target: _fill(run, target, name, created),
        check=lambda written: _load_as_services_do(written, run.config.threads or 1),
    )
    if not verdict.refused:
        publish(run.layout, name)
    keep = run.config.publish.keep_versions
    removed = prune(run.layout, keep)
    work = run.folder.root.parent.parent
    for own in ("runs", "encoders", "text_vectors"):
        _keep_newest(work / own, keep)
    for reason in verdict.reasons:
        say(f"{'kept back' if verdict.refused else 'warning'}: {reason}")
    said = f"{name} is kept, but not named in CURRENT" if verdict.refused else f"published {name}"
    say(said + (f"; removed {', '.join(removed)}" if removed else ""))
    return Published(version, verdict.refused)


def _current_verdict(run: Prepared, say: Say) -> gate.Verdict:
    """The verdict in metrics.json, beside what is served and with what is set by now."""
    report = json.loads(run.folder.metrics.read_text(encoding="utf-8"))
    facts = report["gate"]["served"]
    served = gate.find_served(run.layout)
    if (served.name if served else "") != (facts["version"] if facts else ""):
        facts = _beside_served(run, report["test"]["model"], say)
    verdict = _gate(run, facts)
    _write_json(run.folder.metrics, report | {"gate": asdict(verdict)})
    return verdict


def _version_name(layout: Layout, wanted: str) -> str:
    """`wanted`, or with a number behind it where a version was made in the same second."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in itertools.count(1))
    return next(name for name in names if not layout.version(name).root.exists())


def _keep_newest(folder: Path, keep: int) -> None:
    """Removes all but the `keep` entries of one of the trainer's own folders that were used last."""
    if folder.is_dir():
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


@contextmanager
def working_alone(layout: Layout) -> Iterator[None]:
    """Holds the artifact folder's lock. DataError where another trainer works in it."""
    check_writable(layout)
    with (layout.work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another trainer is working in {layout.root}; wait for it, or name another folder"
            ) from None
        yield


def forget(config: Config, layout: Layout, name: str) -> None:
    """Removes what earlier stages left for this data and configuration, so that they start anew."""
    shutil.rmtree(_run_folder(config, layout, name).root, ignore_errors=True)


def _run_folder(config: Config, layout: Layout, name: str) -> RunFolder:
    return RunFolder(_work(config, layout) / "runs" / name[:16])


def _work(config: Config, layout: Layout) -> Path:
    return Path(config.paths.cache) if config.paths.cache else layout.work


def up_to_date(layout: Layout, name: str) -> str:
    """The version in CURRENT if it was made from this very data and configuration, else an empty string."""
    pointer = read_pointer(layout.current)
    if pointer is None:
        return ""
    path = layout.version(pointer.version).manifest
    if not path.is_file():
        return ""
    return (
        pointer.version
        if Manifest.model_validate_json(path.read_bytes()).configuration.get("fingerprint") == name
        else ""
    )


def refused_before(config: Config, layout: Layout, name: str) -> str:
    """The newest version that the gate kept back, if it was made from this very data and configuration and nothing
    that decided has changed since: the served version, and the settings of the gate."""
    pointer = read_pointer(layout.current)
    for version in reversed(list_versions(layout)):
        try:
            opened = open_version(layout, version)
        except CorruptArtifact:  # it was not published, and will not be
            continue
        made = opened.manifest.configuration
        if made.get("fingerprint") == name and opened.manifest.gate == "refused" and pointer is not None:
            same = {key: made["publish"][key] for key in ("gate", "max_drop")} == config.publish.model_dump(
                include={"gate", "max_drop"}
            )
            served = json.loads(opened.layout.metrics.read_text(encoding="utf-8"))["gate"]["served"]["version"]
            return version if same and served == pointer.version else ""
    return ""


def _fill(run: Prepared, target: VersionLayout, name: str, created: datetime) -> Manifest:
    folder = run.folder
    for source in (
        folder.embeddings,
        folder.ids,
        folder.index,
        folder.item_tower,
        folder.buyer_tower,
        folder.vocab,
        folder.metrics,
        folder.rejects,
        *([folder.nearest] if folder.nearest.exists() else []),
    ):
        shutil.copy2(source, target.root / source.name)
    shutil.copyfile(folder.final, target.weights)  # not its mode: safetensors lets its owner alone read
    target.config.write_text(run.config.to_yaml(), encoding="utf-8")
    _write_products(run, target.products)
    write_recent(target.recent, _recent(run, run.config.publish.recent_interactions))
    encoder = run.layout.encoder(run.encoder_digest)
    data = run.data
    report = json.loads(folder.metrics.read_text(encoding="utf-8"))
    manifest = Manifest(
        version=name,
        created_at=created.isoformat(),
        encoder=run.encoder_name,
        encoder_digest=run.encoder_digest,
        text_dimension=run.features.text.shape[1],
        dimension=run.config.model.dimension,
        products=len(data.products),
        buyers=len(data.buyers),
        events=len(data.events.buyer),
        event_weights=run.config.data.event_weights,
        max_history=run.config.model.max_history,
        configuration={"fingerprint": run.fingerprint} | run.config.model_dump(),
        metrics=report["test"],
        notes=[
            *report["training"]["notes"],
            *similarity.missed(report["similarity"]["texts"]),
            *(f"gate: {reason}" for reason in report["gate"]["reasons"]),
        ],
        gate=report["gate"]["verdict"],
        newest_event_ms=report["training"]["newest_event_ms"],
        index=IndexSpec.model_validate_json(folder.index_spec.read_bytes()),
        files={},
        encoder_files={path.name: describe(path) for path in sorted(encoder.root.iterdir())},
    )
    write_report(target, manifest)
    return manifest


def _write_products(run: Prepared, path: Path) -> None:
    data = run.data
    share = baselines.popularity(data.events, everything(data.events), len(data.products), weights_by_code(run.schema))
    one = data.products
    columns = zip(
        one.ids, range(len(one)), one.titles, one.descriptions, one.brands, one.categories, one.prices,
        one.currencies, one.in_stock, share.tolist(), strict=True,
    )  # fmt: skip
    write_catalogue(path, (Product(*record) for record in columns))


def _recent(run: Prepared, limit: int) -> Any:
    events, ids = run.data.events, run.data.products.ids
    for code, buyer in enumerate(run.data.buyers):
        stop = int(events.start[code + 1])
        places = range(max(int(events.start[code]), stop - limit), stop)
        yield (
            buyer,
            [
                Interaction(ids[events.product[p]], run.data.event_names[events.kind[p] - 1], int(events.time[p]))
                for p in places
            ],
        )


def _load_as_services_do(version: Version, threads: int) -> None:
    version.check(*(version.layout.root / name for name in version.manifest.files))
    version.check(*(version.encoder.root / name for name in version.manifest.encoder_files))
    files = version.layout
    opened = VectorIndex.load(files.index, files.embeddings, version.manifest.index, nearest=version.nearest)
    ItemTower(files.item_tower, threads)
    BuyerTower(files.buyer_tower, threads)
    TextEncoder.load(version.encoder, threads).encode(["خاتم ذهب"])
    some = np.array(opened.vectors[:_FOUND_AGAIN])
    best = [hits.scores[0] for hits in opened.search(some, [1] * len(some), [np.empty(0, np.int64)] * len(some))]
    found = int((np.abs(np.array(best) - 1) <= 1e-3).sum())
    # an approximate index may miss one
    if found < (1.0 if opened.exact else 0.9) * len(some):
        raise DataError(f"of the first {len(some)} products the index finds only {found} by their own vectors")


def fitter_of(run: Prepared, say: Say) -> Fitter:
    """What fits models to the prepared data."""
    device, text, attributes = pick_device(run.config.device), run.features.text, run.features.attributes
    sizes = Sizes(
        text.shape[1], len(set(run.vocab.brand.values())), len(set(run.vocab.category.values())),
        len(run.data.products), int(attributes.max()) if attributes.numel() else 0, len(run.schema.names),
    )  # fmt: skip
    return Fitter(
        run.config, sizes, ItemFeatures(*(column.to(device) for column in run.features)),
        None if run.titles is None else run.titles.to(device), run.schema, run.ties, device, run.fingerprint, say,
    )  # fmt: skip


def _load_model(run: Prepared, weights: Path) -> TwoTower:
    """A fitted model on the CPU, to be asked and not trained, from one of the files of `train`."""
    kind = json.loads(run.folder.training.read_text(encoding="utf-8"))["kind"]
    model = fitter_of(run, lambda line: None).new_model(kind)
    model.load_state_dict(load_file(weights))
    return model.eval()


def _scorer(run: Prepared, model: TwoTower, features: ItemFeatures) -> baselines.Scorer:
    return evaluate.model_scorer(model, features, run.events, run.schema, run.config.model.max_history)


def _rank(run: Prepared, scorer: baselines.Scorer, cases: Cases, name: str, lists: bool = True) -> evaluate.Ranks:
    exclude_seen = run.config.evaluation.exclude_seen
    return evaluate.rank_targets(scorer, run.events, cases, run.ties, exclude_seen, name, lists=lists)


def _require(path: Path, stage: str) -> None:
    if not path.is_file():
        raise DataError(
            f"{path.name} is not there for this data and configuration: run `python -m trainer {stage}` first"
        )


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    temporary = path.with_suffix(".new")
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary)
    temporary.replace(path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    temporary.replace(path)


def _rejected(data: Dataset) -> str:
    total = sum(data.summary.rejected_events.values()) + sum(data.summary.rejected_products.values())
    return f"; {total:,} rows in rejects.csv" if total else ""
