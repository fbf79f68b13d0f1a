"""The stage `train`: fits, selects and refits a model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.data.split import everything, sample
from trainer.fit.fitter import Fitter
from trainer.fit.selection import RefittedModel, SelectedModel, refit_model, select_model
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import Validation
from trainer.stages.warm import WarmStart
from trainer.stages.workspace import Run, fitter_of, save_weights
from twotower.artifact.fsync import write_json
from twotower.artifact.layout import VersionLayout

log = logging.getLogger(__name__)

# fewer (history, next product) pairs than this are too few, which the manifest notes
_FEW_PAIRS = 1000


def train(run: Run) -> None:
    """Fits the model of a run: selects one, or goes on from the served one if the run is warm."""
    if run.warm is not None:
        _go_on(run, run.warm)
    else:
        _select(run)


def _select(run: Run) -> None:
    """Selects a model on the validation set. With `training.refit` fits it again on all events, for publishing; with
    `evaluation.protocol` refit once more, on all events but the targets of the test.
    """
    config, split, workspace = run.config, run.split, run.workspace
    log.info(
        f"split {split.method} ({split.note}): {len(split.validation):,} validation, {len(split.test):,} test buyers"
    )
    cases = sample(split.validation, config.evaluation.validation_buyers, config.seed)
    fitter = fitter_of(run)
    validation = Validation(config, fitter.features, run.schema, run.ties, run.events, cases)
    final_data = TrainingSet(run.events, split.train_stop)
    chosen = select_model(fitter, final_data, validation, workspace.checkpoints)
    recipe, facts = (
        chosen.recipe,
        chosen.facts
        | {
            "refit": config.training.refit,
            "start": {"from": "scratch", "reason": run.scratch_reason},
            "notes": [*_thin(chosen.pairs, len(cases)), *_plain(chosen)],
        },
    )
    for note in facts["notes"]:
        log.warning(note)
    model = RefittedModel(chosen.weights, chosen.terms, [], chosen.cold_start)
    # a model that is written leaves memory before the next one is fitted
    del chosen
    if config.evaluation.protocol == "refit":
        del model
        log.info("refitting on all events but the test targets, for the test")
        tested_data = TrainingSet(run.events, run.tested_stop)
        model = refit_model(fitter, recipe, "tested", tested_data, workspace.tested_checkpoints)
        facts["tested_curve"] = model.curve
    _save(model, workspace.tested, workspace.tested_fusion)
    if config.training.refit:
        del model
        log.info("refitting on all events, for publishing")
        final_data = TrainingSet(run.data.events, everything(run.data.events))
        model = refit_model(fitter, recipe, "refit", final_data, workspace.refit_checkpoints)
        facts["refit_curve"] = model.curve
    _finish(run, model, final_data, facts)


def _go_on(run: Run, warm: WarmStart) -> None:
    """Fits the served kind of model from the served weights: on all events but the targets of the test and, with
    `training.refit`, on all events, for publishing.
    """
    workspace, settings = run.workspace, run.config.training
    tested_data = TrainingSet(run.events, run.tested_stop)
    fitter = _warm_fitter(run, warm, tested_data)
    recipe, name = warm.recipe(settings.warm_epochs), warm.version.name
    log.info(f"warm start from {name} ({recipe.vectors}), {len(run.split.test):,} test buyers since")
    model = refit_model(fitter, recipe, "tested", tested_data, workspace.tested_checkpoints)
    _save(model, workspace.tested, workspace.tested_fusion)
    final_data = tested_data
    facts = warm.training | {
        "candidates": {},
        "vectors_alone": {},
        "curve": [],
        "best_epoch": settings.warm_epochs,
        "tested_curve": model.curve,
        "refit": settings.refit,
        "start": {"from": name, "reason": ""},
        "notes": [],
    }
    if settings.refit:
        del model
        log.info("going on with all events, for publishing")
        final_data = TrainingSet(run.data.events, everything(run.data.events))
        model = refit_model(fitter, recipe, "refit", final_data, workspace.refit_checkpoints)
        facts["refit_curve"] = model.curve
    _finish(run, model, final_data, facts)


def _warm_fitter(run: Run, warm: WarmStart, data: TrainingSet) -> Fitter:
    settings = run.config.training
    passes = {"max_epochs": settings.warm_epochs, "min_steps": 0, "learning_rate": settings.warm_learning_rate}
    training = settings.model_copy(update=passes)
    fitter = replace(fitter_of(run), config=run.config.model_copy(update={"training": training}))
    return replace(fitter, initial=warm.initial(fitter, data, run.vocab, run.data.products.ids))


def _finish(run: Run, final: RefittedModel, final_data: TrainingSet, facts: dict[str, Any]) -> None:
    """Writes the model to publish, and last what `evaluate` needs to begin."""
    workspace = run.workspace
    _save(final, workspace.version, workspace.fusion)
    facts["newest_event_ms"] = _newest(final_data)
    # a refresh places new products with it
    facts["cold_start"] = final.cold_start._asdict() if final.cold_start else None
    write_json(workspace.training, facts)


def _save(model: RefittedModel, files: VersionLayout, fusion: Path) -> None:
    files.root.mkdir(exist_ok=True)
    model.terms.save(files)
    write_json(fusion, model.terms.fusion.model_dump())
    save_weights(model.weights, files.weights)


def _newest(data: TrainingSet) -> int | None:
    """The time of the newest training event."""
    times = data.events.time[data.is_training]
    return int(times.max()) if len(times) else None


def _thin(pairs: int, validation: int) -> list[str]:
    """Notes for the manifest if the model had little to learn from."""
    notes = []
    if pairs < _FEW_PAIRS:
        notes.append(f"only {pairs:,} training pairs: the vectors depend on the texts, and hardly on what buyers did")
    if not validation:
        ran = ": training ran for training.max_epochs" if pairs else ""
        notes.append(f"no buyer has enough events to validate on{ran}")
    return notes


def _plain(chosen: SelectedModel) -> list[str]:
    """A note for the manifest if nothing beat popularity."""
    if chosen.choice.vector_weight or chosen.choice.table or chosen.choice.own_weight:
        return []
    return [f"nothing gains over {chosen.kind}: every buyer gets the same products, those of the histories excluded"]
