"""Encoding the catalogue with the exported item tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.helpers.tiny_version import TEXT_DIMENSION, item_graph, write_item_tower
from trainer.config.loading import load_config
from trainer.export.catalogue import encode_catalogue
from trainer.model.inputs import ItemFeatures
from twotower.artifact.layout import VersionLayout


def test_a_product_without_known_inputs_has_a_vector_of_zeros(tmp_path: Path) -> None:
    files = VersionLayout(tmp_path)
    write_item_tower(files, item_graph(8, brands=3, categories=3, products=4, seed=0))
    text = torch.zeros(3, TEXT_DIMENSION)
    text[0, 0] = 1.0
    codes = torch.tensor([0, 0, 2])
    features = ItemFeatures(text, codes, codes, torch.tensor([1, 0, 0]), torch.zeros(3, 0, dtype=torch.long))
    config = load_config(assignments=["model.dimension=8"])
    vectors = encode_catalogue(files, features, config)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), [1, 0, 1], atol=1e-7)
    assert not vectors[1].any()
