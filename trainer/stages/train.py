"""The stage `train`: fits, selects and refits a model."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from trainer.data.events import Events
from trainer.data.split import everything, sample
from trainer.stages.workspace import Prepared, fitter_of, write_json
from twotower.arrays import Int64

log = logging.getLogger(__name__)

# fewer (history, next product) pairs than this are said to be few
_FEW_PAIRS = 1000


def train(run: Prepared) -> None:
    """Fits the model that is evaluated and, with `refit`, the one on all events that is published."""
    config, split, folder = run.config, run.split, run.folder
    log.info(
        f"split {split.method} ({split.note}): {len(split.validation):,} validation, {len(split.test):,} test buyers"
    )
    cases = sample(split.validation, config.evaluation.max_buyers, config.seed)
    fitter = fitter_of(run)
    chosen = fitter.choose(run.events, split.train_stop, cases, folder.checkpoints)
    facts = chosen.facts | {"refit": config.training.refit, "notes": _thin(chosen.pairs, len(cases))}
    for note in facts["notes"]:
        log.warning(f"{note}")
    tested = final = chosen.weights
    told = chosen.told
    final_events, final_stop = run.events, split.train_stop
    if config.training.refit:
        log.info("refitting on all that the test does not ask for")
        tested, facts["tested_curve"], _ = fitter.again(
            chosen, "tested", run.events, split.test_stop, folder.tested_checkpoints
        )
        log.info("refitting on all events, to be published")
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
