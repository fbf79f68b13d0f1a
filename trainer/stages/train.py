"""The stage `train`: fits, selects and refits a model."""

from __future__ import annotations

import logging

from trainer.data.split import everything, sample
from trainer.fit.selection import refit_model, select_model
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import Validation
from trainer.stages.workspace import Run, fitter_of, save_weights
from twotower.artifact.fsync import write_json

log = logging.getLogger(__name__)

# fewer (history, next product) pairs than this are too few, which the manifest notes
_FEW_PAIRS = 1000


def train(run: Run) -> None:
    """Selects a model on the validation set; with `refit` fits it again, once for the test and once on all events."""
    config, split, workspace = run.config, run.split, run.workspace
    log.info(
        f"split {split.method} ({split.note}): {len(split.validation):,} validation, {len(split.test):,} test buyers"
    )
    cases = sample(split.validation, config.evaluation.max_buyers, config.seed)
    fitter = fitter_of(run)
    validation = Validation(config, fitter.features, run.schema, run.ties, run.events, cases)
    final_data = TrainingSet(run.events, split.train_stop)
    chosen = select_model(fitter, final_data, validation, workspace.checkpoints)
    facts = chosen.facts | {"refit": config.training.refit, "notes": _thin(chosen.pairs, len(cases))}
    for note in facts["notes"]:
        log.warning(note)
    tested = final = chosen.weights
    cold_start = chosen.cold_start
    if config.training.refit:
        log.info("refitting on all events but the test targets, for the test")
        tested_data = TrainingSet(run.events, split.test_stop)
        tested, facts["tested_curve"], _ = refit_model(
            fitter, chosen, "tested", tested_data, workspace.tested_checkpoints
        )
        log.info("refitting on all events, for publishing")
        final_data = TrainingSet(run.data.events, everything(run.data.events))
        final, facts["refit_curve"], cold_start = refit_model(
            fitter, chosen, "refit", final_data, workspace.refit_checkpoints
        )
    save_weights(tested, workspace.tested_weights)
    save_weights(final, workspace.version.weights)
    facts["newest_event_ms"] = _newest(final_data)
    # a refresh places new products with it
    facts["cold_start"] = cold_start._asdict() if cold_start else None
    write_json(workspace.training, facts)


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
