"""The stages that make a model and judge it: train → evaluate → embed → index. Each is a function of a prepared run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from trainer.data.dataset import data_facts
from trainer.data.events import Events
from trainer.data.split import Cases, everything, sample, training_counts
from trainer.errors import DataError
from trainer.evaluate import baselines, comparison, gate, similarity, slices
from trainer.evaluate import ranking as evaluate
from trainer.evaluate.examples import sample_buyers
from trainer.evaluate.served import compare_with_served, find_served
from trainer.export import catalogue
from trainer.export import towers as export
from trainer.index import build as index
from trainer.index import product_index as item_side
from trainer.index.text_index import write_text_search
from trainer.model.inputs import ItemFeatures, text_alone
from trainer.model.towers import TwoTower
from trainer.progress import Say
from trainer.report.page import library_versions
from trainer.run import Prepared, fitter_of, load_model, require, some_histories, write_json
from trainer.text.vectors import titles_of
from twotower.arrays import Float32, Int64
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import BuyerTower
from twotower.text.normalise import item_text

_PARITY_HISTORIES = 64
# fewer (history, next product) pairs than this are said to be few
_FEW_PAIRS = 1000


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
    told = chosen.told
    final_events, final_stop = run.events, split.train_stop
    if config.training.refit:
        say("refitting on all that the test does not ask for")
        tested, facts["tested_curve"], _ = fitter.again(
            chosen, "tested", run.events, split.test_stop, folder.tested_checkpoints
        )
        say("refitting on all events, to be published")
        final_events, final_stop = run.data.events, everything(run.data.events)
        final, facts["refit_curve"], told = fitter.again(
            chosen, "refit", final_events, final_stop, folder.refit_checkpoints
        )
    _save(tested, folder.evaluated)
    _save(final, folder.final)
    facts["newest_event_ms"] = _newest(final_events, final_stop)
    # a refresh places products with it that come later
    facts["told"] = told._asdict() if told else None
    write_json(folder.training, facts)


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
        ran = ": training ran for training.max_epochs" if pairs else ""
        notes.append(f"no buyer has enough events to validate on{ran}")
    return notes


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    temporary = path.with_suffix(".new")
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary)
    temporary.replace(path)


def evaluate_run(run: Prepared, say: Say) -> dict[str, Any]:
    """Ranks the test targets with the model and with the baselines; writes metrics.json, the gate's verdict in it."""
    require(run.folder.evaluated, "train")
    config, count = run.config, len(run.data.products)
    settings, stop = config.evaluation, run.split.test_stop if config.training.refit else run.split.train_stop
    cases = _test_cases(run)
    model = load_model(run, run.folder.evaluated)
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
    verdict = judge(run, beside_served(run, found["model"], say))
    say(f"gate: {verdict.verdict}" + "".join(f"; {reason}" for reason in verdict.reasons))
    write_json(run.folder.metrics, report | {"gate": asdict(verdict)})
    return report


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


def _scorer(run: Prepared, model: TwoTower, features: ItemFeatures) -> baselines.Scorer:
    return evaluate.model_scorer(model, features, run.events, run.schema, run.config.model.max_history)


def judge(run: Prepared, served: dict[str, Any] | None) -> gate.Verdict:
    """The gate's verdict on the tested model; `served` says how it does beside the served version."""
    config = run.config
    if not config.publish.gate:
        return gate.Verdict("off", config.evaluation.metric, [], None)
    _, values = comparison.load_per_case(run.folder.per_case)
    draws, limit = config.evaluation.resamples, config.publish.max_drop
    return gate.judge(values, config.evaluation.metric, served, limit, draws, config.seed)


def beside_served(run: Prepared, ours: dict[str, float], say: Say) -> dict[str, Any] | None:
    """The tested model beside the version that is served now; None where there is none, or no gate."""
    config, settings = run.config, run.config.evaluation
    served = find_served(run.layout) if config.publish.gate else None
    if served is None:
        return None
    places, values = comparison.load_per_case(run.folder.per_case)
    cases = Cases(*(column[places] for column in _test_cases(run)))

    def measure(scorer: baselines.Scorer, chosen: Cases) -> tuple[Int64, NDArray[np.float64]]:
        ranks = _rank(run, scorer, chosen, "testing the served version", lists=False)
        return np.unique(ranks.case), evaluate.case_metrics(ranks)[settings.metric]

    facts = compare_with_served(
        served, run.events, cases, run.data.products.ids, run.data.event_names, values["model"], measure,
        least=settings.min_test_buyers, draws=settings.resamples, seed=config.seed,
        threads=config.thread_count, ours=ours, metric=settings.metric,
    )  # fmt: skip
    say(f"served version {served.name}: {facts['how']}")
    return facts


def _test_cases(run: Prepared) -> Cases:
    return sample(run.split.test, run.config.evaluation.max_buyers, run.config.seed)


def _rank(run: Prepared, scorer: baselines.Scorer, cases: Cases, name: str, lists: bool = True) -> evaluate.Ranks:
    exclude_seen = run.config.evaluation.exclude_seen
    return evaluate.rank_targets(scorer, run.events, cases, run.ties, exclude_seen, name, lists=lists)


def embed(run: Prepared, say: Say) -> None:
    """Exports both towers, proves parity with torch on real rows, and encodes the catalogue through the graph."""
    require(run.folder.final, "train")
    config, folder = run.config, run.folder
    model = load_model(run, folder.final)
    # rows of products hold what attributes tell, and of untrained ones what reads alike tells: see `Fitter.served`
    tower, item = catalogue.export(model, run.features, folder.item_tower, config)
    vectors = catalogue.encode(tower, run.features, config.model.dimension)
    if not vectors.any():
        raise DataError(
            "no product has a place: no buyer has two events, of which the linear model learns; leave training.start "
            "at auto, which places products by their texts then"
        )
    export.export_buyer_tower(model, folder.buyer_tower)
    batch = some_histories(run, _PARITY_HISTORIES, np.random.default_rng(config.seed))
    graph = BuyerTower(folder.buyer_tower, config.thread_count)
    buyer = export.check_buyer_parity(model, graph, vectors, batch, config.encoder.parity_tolerance)
    say(f"graphs agree with torch: item tower to {item:.1e}, buyer tower to {buyer:.1e}")
    np.save(folder.embeddings, vectors, allow_pickle=False)
    np.save(folder.ids, np.array(run.data.products.ids, dtype=np.str_), allow_pickle=False)
    run.vocab.save(folder.vocab)


def build_index(run: Prepared, say: Say) -> None:
    """Vectors → FAISS indexes of the configured kind: of the item tower's, tuned on real buyers, and of the texts'."""
    for path in (run.folder.embeddings, run.folder.buyer_tower):
        require(path, "embed")
    vectors = np.load(run.folder.embeddings, allow_pickle=False)
    queries = _index_queries(run, vectors, run.config.thread_count)
    spec = item_side.write_index(vectors, queries, run.folder, run.config, say)
    texts, titles = run.features.text.cpu().numpy(), titles_of(run.data.products)
    encoder = TextEncoder.load(run.layout.encoder(run.encoder_digest), run.config.thread_count)
    found = write_text_search(texts, titles, encoder, run.folder, run.config, say)
    write_json(run.folder.text_search, found.model_dump())
    write_json(run.folder.index_spec, spec.model_dump())


def _index_queries(run: Prepared, vectors: Float32, threads: int) -> index.Queries:
    """Vectors of real histories, out of the exported buyer tower; of products with noise where there are no buyers."""
    if not run.data.buyers:
        return index.item_queries(vectors, run.config.seed)
    batch = some_histories(run, index.QUERIES, np.random.default_rng(run.config.seed))
    return item_side.buyer_queries(vectors, batch, run.folder.buyer_tower, threads)
