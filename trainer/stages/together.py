"""Writes the table of complements into the version; a part of the stage `index`."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from trainer.fit.together.choice import choose_strength
from trainer.fit.together.groups import read_shopping
from trainer.fit.together.substitutes import Substitutes
from trainer.fit.together.table import TableFitter
from trainer.stages.workspace import Run
from twotower.artifact.fsync import write_json
from twotower.search.complements import complement_files
from twotower.search.vector_index import map_vectors

log = logging.getLogger(__name__)


def write_complements(run: Run) -> None:
    """Fits the complements on all events and writes them, or nothing if no two products go together."""
    settings, files = run.config.together, run.workspace.version
    for path in complement_files(files):
        path.unlink(missing_ok=True)
    weights = run.schema.weights
    purchase = run.schema.codes[max(weights, key=lambda one: weights[one])]
    shopping = read_shopping(run.data.events, len(run.data.products), purchase, settings)
    texts = map_vectors(files.text_embeddings)
    cut = settings.substitute_cut
    substitutes = Substitutes.learn(texts, run.data.products.categories, cut, run.config.seed)
    choice = choose_strength(shopping, substitutes, settings, run.config.seed)
    fitter = TableFitter(shopping, substitutes, settings)
    table = fitter.fit(choice.strength)
    facts: dict[str, Any] = choice.facts | choice.strength._asdict()
    facts |= {
        "baskets": int((shopping.baskets.sizes > 1).sum()),
        "sessions": int((shopping.sessions.sizes > 1).sum()),
        "pairs": fitter.pairs,
        "substitutes_removed": fitter.removed,
        "substitute_cut": substitutes.cut if np.isfinite(substitutes.cut) else None,
        "products_with_own_pairs": int((table.known > 0).sum()),
        "products_by_category_alone": int(((table.known == 0) & (np.diff(table.offsets) > 0)).sum()),
    }
    log.info(
        f"complements: {facts['pairs']:,} pairs of {facts['baskets']:,} baskets and {facts['sessions']:,} sessions, "
        f"{fitter.removed:,} of them substitutes; {facts['products_with_own_pairs']:,} products have their own, "
        f"{facts['products_by_category_alone']:,} by category alone"
    )
    if len(table.rows):
        table.save(files)
    write_json(run.workspace.together, facts)
