"""Where a warm training begins: the served weights, moved to today's products, brands and categories.

The served weights hold the attributes' part in the products' rows, so the table of attributes begins at zero, and the
first step scores every product that the served version knows as that version does. New products begin at the rows that
a refresh would give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.config.schema import Model
from trainer.fit.blend import last_head
from trainer.fit.cold_start import product_rows
from trainer.fit.text_neighbours import TextNeighbours
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import Weights, load_towers
from twotower.arrays import Int64, Mask
from twotower.artifact.vocab import Vocab


class Moves(NamedTuple):
    """Today's names as the served version knows them.

    `known` [N] are the products' rows in the served version, -1 for new ones; `is_trained` [N]: products that buyers
    took. `served` and `today` are the vocabularies.
    """

    known: Int64
    is_trained: Mask
    served: Vocab
    today: Vocab


def initial_weights(
    served: Weights,
    vectors: str,
    moves: Moves,
    sizes: Sizes,
    features: ItemFeatures,
    neighbours: TextNeighbours,
    config: Model,
) -> Weights:
    """The weights that the softmax of a warm training begins with; of a blend, its one head of the softmax.

    `vectors` is the kind of the served vectors, softmax or blend. `sizes` are today's.
    """
    weights = last_head(served) if vectors == "blend" else dict(served)
    model = load_towers(weights, config)
    rows = product_rows(model, None, moves.known, moves.is_trained, features, neighbours)
    attributes = weights["item.attribute.weight"]
    count = sizes.attributes if config.attribute_embedding else 0
    return weights | {
        "item.product.weight": rows,
        "item.brand.weight": _moved(weights["item.brand.weight"], moves.served.brand, moves.today.brand),
        "item.category.weight": _moved(weights["item.category.weight"], moves.served.category, moves.today.category),
        "item.attribute.weight": attributes.new_zeros(count + 1, attributes.shape[1]),
    }


def _moved(table: Tensor, served: Mapping[str, int], today: Mapping[str, int]) -> Tensor:
    """The table [V + 1, D] with a row for each of today's names; a new one has the unknown one's, zeros."""
    if len(table) == 1:  # the model has no such vectors
        return table.clone()
    place = np.zeros(max(today.values(), default=0) + 1, np.int64)
    for name, index in today.items():
        place[index] = served.get(name, 0)
    moved: Tensor = table[torch.from_numpy(place)].clone()
    return moved
