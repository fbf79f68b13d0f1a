"""The buyer tower: averages by hand, prefixes that equal cut histories, and padding that does not matter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.loading import load_config
from trainer.config.schema import Model
from trainer.errors import ParityError
from trainer.export.towers import check_buyer_parity, check_parts_parity, export_buyer_parts, export_buyer_tower
from trainer.model.inputs import History, Sizes
from trainer.model.towers import BuyerTower, TwoTower
from trainer.model.transformer import CausalTransformer
from twotower.graphs import towers as tower
from twotower.history import BuyerInputs

KINDS = ["weighted_average", "attention", "transformer"]
D = 4


def model_config(kind: str, half_life: float = 0.0, longest: int = 6, dimension: int = D, layers: int = 1) -> Model:
    return load_config(
        [],
        [
            f"model.buyer_tower={kind}",
            f"model.half_life_days={half_life}",
            f"model.max_history={longest}",
            f"model.dimension={max(dimension, 8)}",
            "model.transformer_width=8",
            f"model.transformer_layers={layers}",
        ],
    ).model.model_copy(update={"dimension": dimension})


def buyer_tower(
    kind: str, half_life: float = 0.0, *, seed: int | None = None, longest: int = 6, heads: int = 1, layers: int = 1
) -> BuyerTower:
    """A tower as it starts, or with random weights of `seed`."""
    made = BuyerTower(3, heads, model_config(kind, half_life, longest, layers=layers)).eval()
    if seed is not None:
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in made.parameters():
                value.copy_(torch.randn(value.shape, generator=draw))
    return made


def history(batch: int, length: int, seed: int = 0, lengths: list[int] | None = None) -> History:
    draw = torch.Generator().manual_seed(seed)
    counts = torch.tensor(lengths or [length] * batch)
    mask = torch.arange(length)[None, :] < counts[:, None]
    types = torch.randint(1, 4, (batch, length), generator=draw)
    ages = torch.rand(batch, length, generator=draw).mul(60).sort(dim=1, descending=True).values
    # the newest of a history has age 0
    ages = (ages - ages.gather(1, (counts - 1).clamp(min=0)[:, None])).clamp(min=0)
    return History(
        functional.normalize(torch.randn(batch, length, D, generator=draw), dim=-1),
        torch.tensor([0.0, 1.0, 5.0, 10.0])[types] * mask,
        types * mask,
        ages * mask,
        mask,
    )


def weighted(values: list[tuple[list[float], float, float]], kind: str, half_life: float) -> list[float]:
    """The tower's answer to one history of (item, weight, age)."""
    items, weights, ages = zip(*values, strict=True)
    length = len(values)
    one = History(
        torch.tensor([items]),
        torch.tensor([weights]),
        torch.ones(1, length, dtype=torch.int64),
        torch.tensor([ages]),
        torch.ones(1, length, dtype=torch.bool),
    )
    found: list[float] = buyer_tower(kind, half_life)(*one)[0].tolist()
    return found


VIEWED, CARTED, BOUGHT = [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_view_cart_and_purchase_weigh_one_five_and_ten(kind: str) -> None:
    found = weighted([(VIEWED, 1.0, 2.0), (CARTED, 5.0, 1.0), (BOUGHT, 10.0, 0.0)], kind, 0.0)
    length = math.sqrt(1 + 25 + 100)
    assert found == pytest.approx([1 / length, 5 / length, 10 / length, 0], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_life_halves_the_weight(kind: str) -> None:
    # 30 days old: 10 counts as 5; 60 days old: 4 counts as 1
    found = weighted([(VIEWED, 4.0, 60.0), (CARTED, 10.0, 30.0), (BOUGHT, 1.0, 0.0)], kind, 30.0)
    length = math.sqrt(1 + 25 + 1)
    assert found == pytest.approx([1 / length, 5 / length, 1 / length, 0], abs=1e-6)


@pytest.mark.parametrize("kind", ["attention", "transformer"])
@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 1000), st.sampled_from([0.0, 7.0]))
@settings(max_examples=40, deadline=None)
def test_a_learned_tower_starts_as_the_weighted_average(
    kind: str, batch: int, length: int, seed: int, half_life: float
) -> None:
    one = history(batch, length, seed)
    torch.testing.assert_close(buyer_tower(kind, half_life)(*one), buyer_tower("weighted_average", half_life)(*one))


def test_attention_by_hand() -> None:
    made = buyer_tower("attention", longest=2)
    with torch.no_grad():
        made.query[:] = torch.tensor([1.0, 0, 0, 0])
        made.type_bias[:, 0] = torch.tensor([9.0, 0.0, 0.5, 0.0])
        made.place_bias[:, 0] = torch.tensor([0.0, -1.0])  # the newest, and all before it
        made.recency[0] = 0.5
        made.next[0, 2, 3] = 2.0
        made.constant[:] = torch.tensor([0.0, 0.3, 0.0, 0.0])
    one = History(
        torch.tensor([[VIEWED, CARTED, BOUGHT]]),
        torch.tensor([[1.0, 5.0, 10.0]]),
        torch.tensor([[1, 2, 3]]),
        torch.tensor([[3.0, 0.0, 0.0]]),
        torch.ones(1, 3, dtype=torch.bool),
    )
    # three days old: log(1 + 3) / 2 off the logit, a half of the weight
    shares = [1 * math.exp(1 - 1) / 2, 5 * math.exp(0.5 - 1), 10 * math.exp(0)]
    pooled = [share / sum(shares) for share in shares]
    moved = [*pooled, 2 * pooled[2]]
    size = math.sqrt(sum(part**2 for part in moved))
    vector = [part / size for part in moved]
    vector[1] += 0.3
    length = math.sqrt(sum(part**2 for part in vector))
    assert made(*one)[0].tolist() == pytest.approx([part / length for part in vector], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 1000), st.sampled_from([0.0, 7.0]))
@settings(max_examples=40, deadline=None)
def test_a_prefix_equals_the_history_cut_there(kind: str, batch: int, length: int, seed: int, half_life: float) -> None:
    made, one = buyer_tower(kind, half_life, seed=seed), history(batch, length, seed)
    found = made.prefixes(one)
    for last in range(length):
        cut = History(*(column[:, max(0, last - 5) : last + 1] for column in one))  # the latest six
        cut = cut._replace(ages=cut.ages - cut.ages[:, -1:])  # ages count from the newest of the cut history
        torch.testing.assert_close(found[:, last], made(*cut), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_knows_nothing_of_what_comes_after_it(kind: str) -> None:
    made, one = buyer_tower(kind, 7.0, seed=1), history(2, 5)
    other = one._replace(
        items=torch.cat((one.items[:, :3], -one.items[:, 3:]), dim=1),
        weights=torch.cat((one.weights[:, :3], one.weights[:, 3:] * 9), dim=1),
        types=torch.cat((one.types[:, :3], 4 - one.types[:, 3:]), dim=1),
    )
    torch.testing.assert_close(made.prefixes(one)[:, :3], made.prefixes(other)[:, :3])
    assert (made.prefixes(one)[:, 3] - made.prefixes(other)[:, 3]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_matter(kind: str) -> None:
    made, one = buyer_tower(kind, 7.0, seed=2), history(3, 6, lengths=[6, 2, 4])
    junk = History(
        one.items + 50 * ~one.mask[..., None],
        one.weights + 7 * ~one.mask,
        one.types + 3 * ~one.mask,
        one.ages + 11 * ~one.mask,
        one.mask,
    )
    torch.testing.assert_close(made(*junk), made(*one))
    for row, length in enumerate([6, 2, 4]):
        alone = History(*(column[row : row + 1, :length] for column in one))
        torch.testing.assert_close(made(*alone)[0], made(*one)[row])
        torch.testing.assert_close(made.prefixes(junk)[row, length - 1], made(*alone)[0], rtol=1e-4, atol=1e-5)


def test_heads_are_independent_towers() -> None:
    made, one = buyer_tower("attention", 7.0, seed=8, heads=2), history(3, 5, lengths=[5, 2, 3])
    one = one._replace(items=torch.cat([functional.normalize(part, dim=-1) for part in one.items.chunk(2, -1)], -1))
    # each part of a vector has a half of its square
    found = made(*one._replace(items=one.items * 0.5**0.5)).unflatten(1, (2, 2)) * 2**0.5
    for head in range(2):
        config = model_config("attention", 7.0, dimension=2)
        alone = BuyerTower(3, 1, config).eval()
        place = slice(2 * head, 2 * head + 2)
        with torch.no_grad():
            alone.query[:] = made.query[place]
            alone.type_bias[:, 0] = made.type_bias[:, head]
            alone.place_bias[:, 0] = made.place_bias[:, head]
            alone.recency[0] = made.recency[head]
            alone.next[0] = made.next[head]
            alone.constant[:] = made.constant[place] * 2**0.5
        torch.testing.assert_close(found[:, head], alone(*one._replace(items=one.items[..., place])))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_have_length_one(kind: str) -> None:
    made, one = buyer_tower(kind, seed=3), history(5, 6, lengths=[1, 2, 3, 4, 6])
    np.testing.assert_allclose(made(*one).norm(dim=1).detach().numpy(), 1, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_interaction_is_found_again(kind: str) -> None:
    one = history(3, 1)
    torch.testing.assert_close(buyer_tower(kind)(*one), one.items[:, 0])


def test_dropped_interactions_are_left_out_but_never_the_newest() -> None:
    made, one = buyer_tower("weighted_average", seed=4), history(1, 3)
    keep = torch.tensor([[False, True, False]])
    found = made.prefixes(one, keep)[0]
    items, weights = one.items[0], one.weights[0]

    def average(*places: int) -> Tensor:
        chosen = list(places)
        return functional.normalize((items[chosen] * weights[chosen, None]).sum(dim=0), dim=0)

    torch.testing.assert_close(found[0], average(0))  # dropped, but all there is
    torch.testing.assert_close(found[1], average(1))
    torch.testing.assert_close(found[2], average(1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_history_gives_zeros_and_no_nan(kind: str) -> None:
    assert not buyer_tower(kind, 7.0, seed=5)(*history(2, 3, lengths=[0, 0])).any()


def test_a_prefix_is_of_the_latest_interactions_and_a_longer_history_shares_the_last_place() -> None:
    made, one = buyer_tower("attention", seed=6, longest=3), history(1, 7)
    latest = made(*(column[:, -3:] for column in one))
    torch.testing.assert_close(made.prefixes(one)[:, -1], latest, rtol=1e-4, atol=1e-5)
    assert (made(*one) - latest).abs().max() > 1e-3


@pytest.mark.parametrize("layers", [1, 3])
def test_a_transformer_of_several_layers_gives_prefixes_the_vectors_of_cut_histories(layers: int) -> None:
    made, one = buyer_tower("transformer", seed=9, layers=layers), history(2, 6)
    found = made.prefixes(one)
    for last in range(6):
        cut = History(*(column[:, : last + 1] for column in one))
        cut = cut._replace(ages=cut.ages - cut.ages[:, -1:])
        torch.testing.assert_close(found[:, last], made(*cut), rtol=1e-4, atol=1e-5)


def test_a_transformer_sees_an_order_that_attention_does_not() -> None:
    first = history(1, 4)
    # the same places, weights and ages for the two oldest, whose items change places
    other = first._replace(
        items=first.items[:, [1, 0, 2, 3]], types=torch.ones_like(first.types), weights=torch.ones_like(first.weights)
    )
    first = first._replace(types=other.types, weights=other.weights)
    for kind, layers, differs in (("attention", 1, False), ("transformer", 2, True)):
        made = buyer_tower(kind, seed=10, layers=layers)
        with torch.no_grad():
            made.recency.zero_()
            made.place_bias.zero_()
            difference = float((made(*first) - made(*other)).abs().max())
        assert (difference > 1e-4) == differs


def test_one_block_is_what_torch_computes() -> None:
    """Against torch's own layer with the same weights, if event weights, places and ages play no part."""
    width, length = 8, 5
    made = CausalTransformer(3, model_config("transformer")).eval()
    for value in made.parameters():
        nn.init.normal_(value, std=0.5)
    nn.init.zeros_(made.kind.weight)
    block = made.blocks[0]
    assert isinstance(block, nn.Module)
    for value in (block.place_bias, block.recency):
        nn.init.zeros_(value)
    reference = nn.TransformerEncoderLayer(
        width, 2, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    with torch.no_grad():
        reference.self_attn.in_proj_weight.copy_(torch.cat((block.query.weight, block.keys.weight)))
        reference.self_attn.in_proj_bias.zero_()
        reference.self_attn.out_proj.weight.copy_(block.out.weight)
        reference.self_attn.out_proj.bias.zero_()
        for mine, theirs in (
            (block.before, reference.norm1),
            (block.between, reference.norm2),
            (block.up, reference.linear1),
            (block.down, reference.linear2),
        ):
            theirs.load_state_dict(mine.state_dict())
    one = history(3, length)
    one = one._replace(weights=torch.ones_like(one.weights))
    causal = nn.Transformer.generate_square_subsequent_mask(length)
    wanted = made.outward(made.norm(reference(made.inward(one.items), src_mask=causal)) * width**-0.5)
    torch.testing.assert_close(made(one), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_graph_gives_the_same_vectors_for_any_batch_and_length(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    made = TwoTower(Sizes(5, 2, 2, 9, 0, 3), model_config(kind, 30.0, dimension=D), 0.07, heads=2).eval()
    with torch.no_grad():
        for value in made.buyer.parameters():
            value.normal_()
    export_buyer_tower(made, tmp_path / "buyer.onnx")
    graph = tower.BuyerTower(tmp_path / "buyer.onnx", 1)
    for lengths in ([1], [3, 1, 2], [9, 0]):
        one = history(len(lengths), max(lengths), lengths=lengths)
        rows = np.arange(len(lengths) * max(lengths)).reshape(len(lengths), -1)
        arrays = (column.numpy() for column in one[1:])
        items = one.items.reshape(-1, D).numpy()
        assert check_buyer_parity(made, graph, items, BuyerInputs(rows, *arrays), 1e-4) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [1, 2])
def test_the_parts_of_a_vector_sum_to_it(kind: str, heads: int) -> None:
    made, one = buyer_tower(kind, 7.0, seed=3, heads=heads), history(3, 5, 1, [5, 2, 1])
    parts = made.parts(*one)
    assert parts.shape == (3, 6, D)
    torch.testing.assert_close(parts.sum(dim=1), made(*one), atol=1e-6, rtol=0)
    # padding adds nothing
    assert not parts[1, 2:5].any() and not parts[2, 1:5].any()


def test_the_parts_of_a_weighted_average_by_hand() -> None:
    one = History(
        torch.tensor([[VIEWED, BOUGHT]]),
        torch.tensor([[3.0, 4.0]]),
        torch.ones(1, 2, dtype=torch.int64),
        torch.zeros(1, 2),
        torch.ones(1, 2, dtype=torch.bool),
    )
    # 3 / 7 and 4 / 7 of the sum, which has length 5 / 7
    parts = buyer_tower("weighted_average").parts(*one)[0].tolist()
    assert parts[0] == pytest.approx([0.6, 0, 0, 0]) and parts[1] == pytest.approx([0, 0, 0.8, 0])
    assert parts[2] == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_parts_sum_to_the_exported_vectors(kind: str, tmp_path: Path) -> None:
    made = TwoTower(Sizes(4, 1, 1, 1, 0, 3), model_config(kind), 0.05)
    made.buyer = buyer_tower(kind, seed=5)
    made.item.projection = nn.Linear(4, D, bias=False)
    export_buyer_tower(made, tmp_path / "buyer.onnx")
    export_buyer_parts(made, tmp_path / "parts.onnx")
    vectors, parts = tower.BuyerTower(tmp_path / "buyer.onnx", 1), tower.BuyerPartsGraph(tmp_path / "parts.onnx", 1)
    one = history(4, 6, 2, [6, 1, 3, 2])
    rows = np.arange(24).reshape(4, 6)
    batch = BuyerInputs(rows, *(column.numpy() for column in one[1:]))
    items = one.items.reshape(24, D).numpy()
    assert check_parts_parity(vectors, parts, items, batch, 1e-5) < 1e-5
    with pytest.raises(ParityError, match=r"buyer_parts.onnx differs"):
        check_parts_parity(vectors, parts, items[::-1].copy() * 2, batch, -1.0)
