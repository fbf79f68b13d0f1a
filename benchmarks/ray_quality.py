"""NDCG of a softmax trained by 1, 2 and 4 workers with the same global batch, beside that of other seeds.

The workers are processes of this machine, and the shop is a small one of `demo.market`. Its texts are hashed words.

    python -m benchmarks.ray_quality
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from sklearn.feature_extraction.text import HashingVectorizer
from torch.multiprocessing.spawn import spawn

from benchmarks.ray_sampler import make_sampler
from demo.market.generate import generate
from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.data.dataset import load_dataset
from trainer.data.split import Split, leave_last_out
from trainer.evaluate.ranking import metrics, model_scorer, rank_targets
from trainer.fit.softmax.process_group import ProcessGroup
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import fit_softmax
from trainer.fit.softmax.workers import ONE_PROCESS, Workers
from trainer.fit.training_set import TrainingSet
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from twotower.events import EventSchema
from twotower.history import weights_by_code

_SEED = 7
_TEXT = 256
_SETTINGS = [
    "device=cpu",
    "model.dimension=64",
    "training.full_softmax=0",
    "training.random_negatives=256",
    "training.min_steps=0",
    "training.max_epochs=4",
]


class Shop(NamedTuple):
    config: Config
    data: TrainingSet
    split: Split
    features: ItemFeatures
    sizes: Sizes
    schema: EventSchema


def read_shop(folder: Path, work: Path) -> Shop:
    """Reads the market in `folder`, and writes its rejects to `work`; each buyer's last event is the test."""
    config = load_config([], _SETTINGS)
    found = load_dataset([str(folder / "events.csv")], [str(folder / "products.csv")], config.data, 7, work)
    words = HashingVectorizer(n_features=_TEXT, alternate_sign=False).transform(found.products.titles)
    brand, category = _codes(found.products.brands), _codes(found.products.categories)
    count = len(found.products)
    features = ItemFeatures(
        torch.from_numpy(words.toarray().astype(np.float32)),
        brand,
        category,
        torch.arange(1, count + 1),
        torch.zeros(count, 0, dtype=torch.long),
    )
    schema = EventSchema({name: config.data.event_weights[name] for name in found.event_names})
    sizes = Sizes(_TEXT, int(brand.max()), int(category.max()), count, 0, len(found.event_names))
    split = leave_last_out(found.events, "")
    return Shop(config, TrainingSet(found.events, split.test_stop), split, features, sizes, schema)


def _codes(names: list[str]) -> torch.Tensor:
    """1, 2, ... by name; 0 for an empty one."""
    code = {name: place for place, name in enumerate(sorted(set(names) - {""}), start=1)} | {"": 0}
    return torch.tensor([code[name] for name in names])


def train_and_test(shop: Shop, seed: int, workers: Workers, folder: Path) -> float:
    """NDCG@10 of the last epoch's weights."""
    config, weights = shop.config.model_copy(update={"seed": seed}), weights_by_code(shop.schema)
    sampler = make_sampler(config, shop.data, shop.sizes.products, weights, workers)
    torch.manual_seed(seed)
    model = TwoTower(shop.sizes, config.model, config.training.temperature)
    fit_softmax(model, TrainingInputs(shop.features, sampler, config), folder, str(seed), workers=workers)
    if workers.rank:
        return 0.0
    events, products = shop.data.events, shop.sizes.products
    scorer = model_scorer(model.eval(), shop.features, events, shop.schema, config.model.max_history)
    ties = np.random.default_rng(0).permutation(products).astype(np.uint64)
    return metrics(rank_targets(scorer, events, shop.split.test, ties, True), products)["ndcg@10"]


def _run(rank: int, count: int, seeds: int, folder: Path) -> None:
    torch.set_num_threads(1)
    workers: Workers = ONE_PROCESS
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet{count}", rank=rank, world_size=count)
        workers = ProcessGroup(torch.device("cpu"))
    shop = read_shop(folder / "market", folder / f"work {rank} of {count}")
    found = {
        seed: train_and_test(shop, seed, workers, folder / str(count) / str(seed))
        for seed in range(_SEED, _SEED + seeds)
    }
    if rank == 0:
        (folder / f"{count}.json").write_text(json.dumps(found), encoding="utf-8")
    if count > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "market", products=800, buyers=1500, events=20_000, seed=7)
        for count in options.workers:
            spawn(_run, (count, options.seeds, folder), nprocs=count)
            found = json.loads((folder / f"{count}.json").read_text(encoding="utf-8"))
            values = list(found.values())
            mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)
            print(json.dumps({"workers": count, "ndcg@10": found, "mean": mean, "standard error": error}), flush=True)


if __name__ == "__main__":
    main()
