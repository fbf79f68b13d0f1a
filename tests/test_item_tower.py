"""The item tower: what goes into a vector, what an unknown index adds, and the same numbers in torch and ONNX."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.helpers.tiny_version import write_object_array
from trainer.config.loading import load_config
from trainer.config.schema import Model
from trainer.export.towers import check_item_parity, export_item_tower
from trainer.fit.served_weights import fold_attributes, reset_untrained_rows
from trainer.model.heads import Heads
from trainer.model.inputs import ItemFeatures, Sizes, drop_ids, drop_numbers, text_alone
from trainer.model.towers import ItemTower, TwoTower
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.graphs import towers as tower

TEXT, BRANDS, CATEGORIES, PRODUCTS, ATTRIBUTES = 5, 3, 2, 4, 3
MANY = 9_973  # products of the exported tower
SIZES = Sizes(TEXT, BRANDS, CATEGORIES, PRODUCTS, ATTRIBUTES, 3)
NONE = torch.zeros(9, 0, dtype=torch.int64)  # products without attributes


def model_config(*assignments: str) -> Model:
    return load_config([], ["model.dimension=8", *[f"model.{one}" for one in assignments]]).model


def item_tower(*assignments: str, text: int = TEXT, heads: int = 1, seed: int = 0) -> ItemTower:
    torch.manual_seed(seed)
    made = ItemTower(SIZES._replace(text=text), heads, model_config(*assignments))
    with torch.no_grad():
        for table in (made.brand, made.category, made.product, made.attribute):
            # as large as the text, so that each part is seen
            if table.weight.requires_grad:
                table.weight[1:] = torch.randn(len(table.weight) - 1, 8)
    return made.eval()


def index(*values: int) -> Tensor:
    return torch.tensor(values)


def texts(count: int) -> Tensor:
    return torch.randn(count, TEXT, generator=torch.Generator().manual_seed(1))


def test_vectors_have_length_one() -> None:
    made = item_tower()(texts(6) * 100, index(0, 1, 2, 3, 0, 1), index(0, 1, 2, 0, 1, 2), index(0, 1, 2, 3, 4, 0))
    assert made.shape == (6, 8)
    np.testing.assert_allclose(made.norm(dim=1).detach().numpy(), 1, atol=1e-6)


def test_a_vector_is_the_normalised_sum_of_its_parts() -> None:
    made = item_tower()
    text = texts(1)
    parts = (
        made.projection.weight @ functional.normalize(text[0], dim=0)
        + made.brand.weight[3]
        + made.category.weight[1]
        + made.product.weight[2]
    )
    found = made(text, index(3), index(1), index(2))[0]
    torch.testing.assert_close(found, parts / parts.norm())


def test_an_unknown_brand_category_or_product_adds_nothing() -> None:
    made = item_tower()
    alone = functional.normalize(functional.normalize(texts(1), dim=-1) @ made.projection.weight.T, dim=-1)
    torch.testing.assert_close(made(texts(1), index(0), index(0), index(0)), alone)
    for table in (made.brand, made.category, made.product):
        assert not table.weight[0].any()


def test_unknown_stays_unknown_through_a_training_step() -> None:
    made = item_tower().train()
    optimiser = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=0.1)
    (1 - made(texts(2), index(0, 1), index(0, 1), index(0, 1)).sum()).backward()
    optimiser.step()
    for table in (made.brand, made.category, made.product, made.attribute):
        assert not table.weight[0].any()
        assert table.weight[1].any()


def test_attributes_add_the_mean_of_their_vectors() -> None:
    made = item_tower()
    attributes = torch.tensor([[2, 3, 0], [1, 0, 0], [0, 0, 0]])
    content = functional.normalize(texts(3), dim=-1) @ made.projection.weight.T
    rows = made.attribute.weight
    wanted = content + torch.stack(((rows[2] + rows[3]) / 2, rows[1], rows[1] * 0))
    zero = index(0, 0, 0)
    torch.testing.assert_close(made(texts(3), zero, zero, zero, attributes), functional.normalize(wanted, dim=-1))


def test_served_rows_hold_the_attributes_and_untrained_ones_are_reset() -> None:
    made = TwoTower(SIZES, model_config(), 0.07, heads=2).eval()
    with torch.no_grad():
        for values in made.item.parameters():
            values[1:].normal_()
    count = PRODUCTS
    features = ItemFeatures(
        texts(count),
        index(1, 2, 3, 0),
        index(2, 1, 0, 1),
        torch.arange(1, count + 1),
        torch.tensor([[1, 2], [3, 0], [0, 0], [2, 3]]),
    )
    is_trained = np.array([True, True, False, False])
    served = TwoTower(SIZES, model_config(), 0.07, heads=2).eval()
    served.load_state_dict(fold_attributes(reset_untrained_rows(made.state_dict(), is_trained), features))
    wanted = made.items(features._replace(product=index(1, 2, 0, 0)))
    torch.testing.assert_close(served.item(*features[:4]), wanted)
    assert made.item.product.weight[3].any()  # the given weights are left as they were


def test_each_head_is_of_one_length() -> None:
    made = item_tower(heads=4)
    found = made(texts(3), index(1, 2, 3), index(1, 2, 1), index(1, 2, 3)).unflatten(1, (4, 2))
    np.testing.assert_allclose(found.norm(dim=2).detach().numpy(), 0.5, atol=1e-6)


@pytest.mark.parametrize("name", ["brand", "category", "product"])
def test_an_embedding_that_is_switched_off_does_not_matter(name: str) -> None:
    made = item_tower(f"{name}_embedding=false")
    known = {one: index(0, 0) for one in ("brand", "category", "product")}
    known[name] = index(1, 2)
    torch.testing.assert_close(made(texts(2), **known), made(texts(2), index(0, 0), index(0, 0), index(0, 0)))


def test_the_length_of_a_text_vector_does_not_matter() -> None:
    made = item_tower()
    one = made(texts(3), index(1, 1, 1), index(1, 1, 1), index(1, 1, 1))
    torch.testing.assert_close(made(texts(3) * 7, index(1, 1, 1), index(1, 1, 1), index(1, 1, 1)), one)


def test_before_training_items_are_as_near_as_their_texts() -> None:
    text = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    made = item_tower(text=8)
    zero = index(0, 0, 0, 0, 0)
    found = made(text, zero, zero, zero)
    torch.testing.assert_close(found @ found.T, functional.normalize(text, dim=1) @ functional.normalize(text, dim=1).T)


def test_texts_alone_have_the_vectors_of_items_without_anything_else_and_touch_no_table() -> None:
    made = item_tower(text=8)
    text = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    found = made.of_texts(text)
    assert torch.equal(found, made(*text_alone(text)))
    found.sum().backward()
    assert made.projection.weight.grad is not None and made.product.weight.grad is None


def test_dropping_leaves_out_the_given_share_and_each_kind_by_itself() -> None:
    torch.manual_seed(0)
    count = 20_000
    ones = [torch.ones(count, dtype=torch.int64) for _ in range(3)]
    features = ItemFeatures(torch.ones(count, 1), *ones, torch.ones(count, 2, dtype=torch.int64))
    kept = drop_ids(features, 0.3, 0.5)
    assert float(kept.brand.float().mean()) == pytest.approx(0.7, abs=0.02)
    assert float(kept.category.float().mean()) == pytest.approx(0.7, abs=0.02)
    assert float(kept.product.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(kept.attributes.float().mean()) == pytest.approx(0.7, abs=0.02)
    # independent of one another
    assert float((kept.brand * kept.category).float().mean()) == pytest.approx(0.49, abs=0.02)
    assert kept.text is features.text
    assert drop_ids(features, 0.0, 0.0) == features


def test_some_items_lose_what_they_lose_among_all() -> None:
    features = ItemFeatures(
        torch.zeros(40, 1), *torch.arange(1, 121).reshape(3, 40), torch.arange(1, 81).reshape(40, 2)
    )
    place = torch.tensor([0, 7, 8, 39])
    some = ItemFeatures(*(column[place] for column in features))
    torch.manual_seed(1)
    whole = drop_ids(features, 0.3, 0.5)
    torch.manual_seed(1)
    for found, column in zip(drop_ids(some, 0.3, 0.5, place, 40), whole, strict=True):
        assert torch.equal(found, column[place])
    assert 0 < int((whole.product[place] == 0).sum()) < 4


class Exported(NamedTuple):
    """A tower with a row for each of `MANY` products, and its files, exported once: read them, never write to them."""

    model: TwoTower
    files: VersionLayout


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(tmp_path_factory.mktemp("exported"))


def export(folder: Path, *assignments: str) -> Exported:
    torch.manual_seed(3)
    made = TwoTower(SIZES._replace(products=MANY), model_config(*assignments), 0.07, heads=2).eval()
    export_item_tower(made, VersionLayout(folder), TEXT)
    return Exported(made, VersionLayout(folder))


def check_same_vectors(made: Exported) -> None:
    graph = tower.ItemTower(made.files, 1)
    products = index(MANY, 0, 1, 2, MANY - 1)
    features = ItemFeatures(texts(5), index(0, 1, 2, 3, 0), index(2, 1, 0, 1, 2), products, NONE[:5])
    for rows in (np.arange(5), np.array([3]), np.array([1, 1, 1])):
        assert check_item_parity(made.model, graph, features, rows, 1e-5) <= 1e-6


def test_the_exported_graph_gives_the_same_vectors_for_any_batch(exported: Exported) -> None:
    check_same_vectors(exported)


def test_a_tower_without_rows_of_products_is_exported_with_the_unknown_one(tmp_path: Path) -> None:
    made = export(tmp_path, "product_embedding=false", "attribute_embedding=false")
    assert np.load(made.files.item_tower_rows).tolist() == [[0.0] * 8]
    check_same_vectors(made)


def test_the_rows_of_products_are_no_part_of_the_graph(exported: Exported) -> None:
    stored = np.load(exported.files.item_tower_rows)
    np.testing.assert_array_equal(stored, exported.model.item.product.weight.detach())
    assert stored.shape == (MANY + 1, 8)
    # less than four bytes for each product, whose row takes 32
    assert exported.files.item_tower.stat().st_size < 4 * MANY
    onnx.checker.check_model(exported.files.item_tower, full_check=True)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_row_less(path: Path) -> None:
    np.save(path, np.load(path)[1:])


def one_row_more(path: Path) -> None:
    np.save(path, np.pad(np.load(path), ((0, 1), (0, 0))))


def another_type(path: Path) -> None:
    np.save(path, np.load(path).view(np.int32))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (truncated, r"item_tower_rows\.npy cannot be read"),
        (emptied, r"item_tower_rows\.npy cannot be read"),
        (Path.unlink, r"item_tower_rows\.npy cannot be read"),
        (write_object_array, r"item_tower_rows\.npy cannot be read"),
        (one_row_less, r"out of bounds .*; it reads .*item_tower_rows\.npy, which holds float32 \[9973, 8\]"),
        (one_row_more, r"item_tower_rows\.npy holds float32 \[9975, 8\], item_tower\.onnx wants float32 \[9974, 8\]"),
        (another_type, r"item_tower_rows\.npy holds int32 \[9974, 8\], item_tower\.onnx wants float32 \[9974, 8\]"),
    ],
)
def test_damaged_rows_of_products_are_named(
    exported: Exported, tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    files = VersionLayout(shutil.copytree(exported.files.root, tmp_path / "copy"))
    damage(files.item_tower_rows)
    with pytest.raises(CorruptArtifact, match=problem):
        tower.ItemTower(files, 1)


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_the_gradient_of_the_normalisation_is_right(heads: int) -> None:
    vector, normalise = torch.randn(4, 6, dtype=torch.float64, requires_grad=True), Heads(heads).double()
    assert torch.autograd.gradcheck(normalise, vector)
    torch.testing.assert_close(normalise(vector), normalise.eval()(vector))


def test_dropout_by_bytes_leaves_out_the_share_and_keeps_the_mean() -> None:
    values = torch.full((333, 301), 2.0, requires_grad=True)
    torch.manual_seed(5)
    found = drop_numbers(values, 0.4)
    kept = found != 0
    # 102 of 256
    assert float(1 - kept.double().mean()) == pytest.approx(102 / 256, abs=0.005)
    assert found[kept].tolist() == pytest.approx([2 * 256 / 154] * int(kept.sum()))
    found.sum().backward()
    torch.testing.assert_close(values.grad, kept.float() * (256 / 154))
    # each byte of a draw by itself, the last one with its sign too
    shares = kept.flatten()[: 8 * (kept.numel() // 8)].view(-1, 8).double().mean(dim=0)
    assert shares.tolist() == pytest.approx([154 / 256] * 8, abs=0.02)
    torch.manual_seed(5)
    assert torch.equal(found, drop_numbers(values, 0.4))
    assert drop_numbers(values, 0.0) is values
    assert drop_numbers(values, 0.999).count_nonzero() < values.numel() / 100
