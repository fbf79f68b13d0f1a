"""The steps of two processes are those of one process with the same batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.helpers.process_group import run_group
from tests.trainer.fit.softmax.test_training import (
    EVENTS,
    FEATURES,
    PRODUCTS,
    SPLIT,
    TEXT,
    WEIGHTS,
    config,
    model,
    sampler,
)
from trainer.config.schema import Config
from trainer.fit.softmax.process_group import ProcessGroup
from trainer.fit.softmax.sampler import Sampler
from trainer.fit.softmax.shards import cut_shard
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import fit_softmax
from trainer.fit.softmax.workers import ONE_PROCESS, Workers
from trainer.fit.training_set import TrainingSet

WITHOUT_DRAWS = [
    "model.attribute_dropout=0",
    "model.product_dropout=0",
    "model.vector_dropout=0",
    "model.dropout=0",
    "training.alignment_products=1000",
    "training.checkpoint_steps=1000",
    "training.precision=float32",
]

# by name: settings of a training of some steps
CASES = {
    "sampled": ["training.batch_pairs=96"],
    "full": ["training.batch_pairs=96", "training.full_softmax=99"],
    "heads": ["training.batch_pairs=96", "model.heads=2", "training.random_negatives=3"],
    "average": [
        "training.batch_pairs=96",
        "model.buyer_tower=weighted_average",
        "training.logq_strength=0",
        "training.learn_temperature=false",
    ],
    # a product loses its ids in both workers or in none
    "dropped ids": ["training.batch_pairs=96", "model.attribute_dropout=0.3", "model.product_dropout=0.3"],
    "dropped ids, full": [
        "training.batch_pairs=96",
        "training.full_softmax=99",
        "model.attribute_dropout=0.3",
        "model.product_dropout=0.3",
    ],
    # some steps have windows for one of the workers alone
    "few windows": ["training.batch_pairs=8", "training.random_negatives=5"],
}
# with one type of event, the gradient of its bias is zero but for rounding, and Adam makes a whole step of that
KINDS = np.random.default_rng(0).integers(1, 4, size=len(EVENTS.kind)).astype(np.int8)
DATA = TrainingSet(EVENTS._replace(kind=KINDS), SPLIT.train_stop)
TITLES = torch.randn(PRODUCTS, TEXT, generator=torch.Generator().manual_seed(1))


def chosen(case: str) -> Config:
    return config(*WITHOUT_DRAWS, *CASES[case])


def inputs_for(case: str, workers: Workers) -> TrainingInputs:
    whole = Sampler(DATA, PRODUCTS, WEIGHTS, sampler(chosen(case)).settings)
    shard = cut_shard(DATA, whole, workers.rank, workers.count)
    own = Sampler(shard.data, PRODUCTS, WEIGHTS, whole.settings, workers, shard.plan)
    return TrainingInputs(FEATURES, own, chosen(case), TITLES)


def train(case: str, workers: Workers, folder: Path) -> dict[str, Tensor]:
    """The weights after an epoch, the gradients of its last step, and its loss."""
    one = model(chosen(case))
    fitted = fit_softmax(one, inputs_for(case, workers), folder, "f", epochs=1, workers=workers)
    gradients = {f"gradient {name}": value.grad for name, value in one.named_parameters() if value.grad is not None}
    return fitted.weights | gradients | {"loss": torch.tensor(fitted.curve[0]["loss"])}


def work(folder: Path) -> None:
    """All that one worker of the group does: to start another group takes as long as all cases."""
    workers = ProcessGroup(torch.device("cpu"))
    gather_unequal(workers, folder)
    step_divided(workers, folder)
    for case in CASES:
        save_file(train(case, workers, folder / case), folder / f"{case} {workers.rank}.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two workers have written: the weights of every case after an epoch, and gathered rows; a file each."""
    folder = tmp_path_factory.mktemp("group")
    run_group(work, 2, folder, folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_workers_make_the_steps_of_one_process(trained: Path, tmp_path: Path, case: str) -> None:
    alone = train(case, ONE_PROCESS, tmp_path)
    together = load_file(trained / f"{case} 0.safetensors")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        assert torch.allclose(value, together[name], rtol=1e-5, atol=1e-5), name


@pytest.mark.parametrize("case", CASES)
def test_all_workers_end_with_the_same_bits(trained: Path, case: str) -> None:
    one, two = (load_file(trained / f"{case} {rank}.safetensors") for rank in range(2))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def gather_unequal(workers: ProcessGroup, folder: Path) -> None:
    """Worker 0 has two rows, worker 1 has one; each weighs all rows with numbers of its own."""
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]] if workers.rank == 0 else [[5.0, 6.0]], requires_grad=True)
    every = workers.gather(rows, [2, 1], np.array([2, 0, 1, 0]))
    weights = torch.tensor([1.0, 10.0, 100.0, 1000.0]) * (1 + workers.rank)
    (every.sum(dim=1) * weights).sum().backward()
    assert rows.grad is not None
    found = {"every": every.detach(), "gradient": rows.grad}
    save_file(found | {"exchanged": _joined(workers)}, folder / f"{workers.rank}.safetensors")


def step_divided(workers: ProcessGroup, folder: Path) -> None:
    """Two steps on a table whose rows are their own numbers; the gradient of a row is the rank of its reader plus 1."""
    table = nn.Embedding(5, 1, _weight=torch.arange(5.0)[:, None])
    optimiser = torch.optim.SGD(table.parameters(), lr=1.0)
    rows, found = workers.divide(table, optimiser), dict[str, Tensor]()
    for step, needed in enumerate([[[1, 3], [3]], [[2, 3], [1, 2]]]):
        rows.fetch([np.array(one) for one in needed])
        found[f"read {step}"] = read = table(torch.tensor(needed[workers.rank]))
        (read * (1 + workers.rank)).sum().backward()
        rows.return_gradient()
        optimiser.step()
        optimiser.zero_grad()
    found["stepped"] = torch.tensor([len(one) for group in optimiser.param_groups for one in group["params"]])
    with rows.whole():
        found["whole"] = table.weight.clone()
    save_file({name: value.detach() for name, value in found.items()}, folder / f"divided {workers.rank}.safetensors")


def test_each_worker_steps_its_own_rows_and_reads_those_of_others(trained: Path) -> None:
    one, two = (load_file(trained / f"divided {rank}.safetensors") for rank in range(2))
    # worker 0 has rows 0 and 1, worker 1 the other three
    assert (one["stepped"].tolist(), two["stepped"].tolist()) == ([2], [3])
    assert (one["read 0"].ravel().tolist(), two["read 0"].ravel().tolist()) == ([1, 3], [3])
    # row 1 has lost 1, row 3 has lost 1 + 2
    assert (one["read 1"].ravel().tolist(), two["read 1"].ravel().tolist()) == ([2, 0], [0, 2])
    # then row 1 loses 2, row 2 loses 1 + 2, and row 3 loses 1
    for found in (one, two):
        assert found["whole"].ravel().tolist() == [0, -2, -1, -1, 4]


def _joined(workers: ProcessGroup) -> Tensor:
    """The numbers of all workers; the second has none."""
    return torch.cat([torch.from_numpy(one) for one in workers.exchange(np.arange(3 * (1 - workers.rank)))])


def test_rows_are_gathered_with_their_gradients(trained: Path) -> None:
    one, two = (load_file(trained / f"{rank}.safetensors") for rank in range(2))
    for found in (one, two):
        assert found["every"].tolist() == [[5, 6], [1, 2], [3, 4], [1, 2]]
        assert found["exchanged"].tolist() == [0, 1, 2]
    # row 0 is there twice, weighed 10 and 1000 by worker 0, and twice that by worker 1
    assert one["gradient"].tolist() == [[3030, 3030], [300, 300]]
    assert two["gradient"].tolist() == [[3, 3]]
