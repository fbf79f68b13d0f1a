"""RecTools' transformer on given training events, for benchmarks.peer: `python -m benchmarks.sasrec FOLDER`.

It runs in its own environment, so it imports nothing of ours but benchmarks.curves. FOLDER holds task.json and, in
`validation`, the training events as buyer.npy and product.npy [M], sorted by buyer and time, and asked.npy [B], the
buyers to validate. `test` may hold longer histories of the buyers to test in the same form. features.npy [F, 3], if it
is there, holds the items' categorical features: rows of product, kind of feature and value.

For each validation it writes the vectors whose dot products are its scores (buyers, buyer_ids, items, item_ids .npy)
into `validation`, prints one JSON line, and waits for a line on stdin: `go` or `stop`; before these, `test` asks for
the vectors in `test`. The clock is paused while it waits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

from benchmarks.curves import Clock

KINDS = ("brand", "category", "attribute")


class Histories:
    """A folder of histories: reads them as a dataset, and writes the vectors of the buyers who are asked for."""

    def __init__(self, folder: Path, features: pd.DataFrame | None = None) -> None:
        buyer, product = (np.load(folder / f"{name}.npy") for name in ("buyer", "product"))
        # the order of the rows is the order in time
        order = pd.to_datetime(np.arange(len(buyer)), unit="s")
        frame = pd.DataFrame({Columns.User: buyer, Columns.Item: product, Columns.Weight: 1.0, Columns.Datetime: order})
        kinds = () if features is None else KINDS
        self.dataset = Dataset.construct(frame, item_features_df=features, cat_item_features=kinds)
        self.folder, self.asked = folder, np.load(folder / "asked.npy")

    @torch.no_grad()
    def write_vectors(self, model: SASRecModel, module: Any) -> None:
        preparator, net = model.data_preparator, module.torch_model
        asked = preparator.transform_dataset_u2i(self.dataset, self.asked)
        module.eval()
        items = net.item_model.get_all_embeddings()
        buyers = [
            net.encode_sessions({name: value.to(module.device) for name, value in batch.items()}, items)[:, -1].cpu()
            for batch in preparator.get_dataloader_recommend(asked, 256)
        ]
        module.train()
        self._save("buyers", torch.cat(buyers).numpy())
        self._save("buyer_ids", asked.user_id_map.external_ids.astype(np.int64))
        self._save("items", items[preparator.n_item_extra_tokens :].cpu().numpy())
        self._save("item_ids", preparator.get_known_item_ids().astype(np.int64))

    def _save(self, name: str, values: np.ndarray) -> None:
        np.save(self.folder / f"{name}.npy", values, allow_pickle=False)


class Validation(Callback):
    """Writes the vectors and asks whether to go on: after each epoch, every so many seconds in it, and at the limit."""

    def __init__(self, model: SASRecModel, parts: dict[str, Histories], task: dict[str, Any], clock: Clock) -> None:
        super().__init__()
        self.model, self.parts, self.task, self.clock = model, parts, task, clock
        self.setup = self.last = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Validation:
        # RecTools fits a deep copy of its trainer: the copy must go on with this clock and this model
        return self

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 0:
            self.setup = self.last = self.clock.seconds

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, place: int) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        seconds, steps = self.clock.seconds, int(trainer.num_training_batches)
        due = seconds - self.last >= self.task["every"] or seconds >= self.task["limit"]
        if place + 1 < steps and not due:
            return
        with self.clock.paused():
            self.last = seconds
            self.parts["validation"].write_vectors(self.model, module)
            epochs = trainer.current_epoch + (place + 1) / steps
            interactions = len(self.model.data_preparator.train_dataset.interactions.df)
            message = {"epochs": epochs, "seconds": seconds, "setup": self.setup, "interactions": interactions}
            print(json.dumps(message), flush=True)
            trainer.should_stop = self._answer(module) != "go"

    def _answer(self, module: Any) -> str:
        answer = sys.stdin.readline().strip()
        if answer == "test":
            self.parts["test"].write_vectors(self.model, module)
            print(json.dumps({"written": "test"}), flush=True)
            answer = sys.stdin.readline().strip()
        return answer


def make_model(task: dict[str, Any]) -> SASRecModel:
    """SASRec, with LiGR layers if the settings have a `ligr_multiplier`."""
    settings = dict(task["settings"])
    if multiplier := settings.pop("ligr_multiplier"):
        settings["transformer_layers_type"] = LiGRLayers
        settings["transformer_layers_kwargs"] = {"ff_factors_multiplier": multiplier}
    return SASRecModel(**settings, epochs=task["epochs"])


def read_features(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    product, kind, value = np.load(path).T
    return pd.DataFrame({"id": product, "feature": np.array(KINDS)[kind], "value": value})


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    seed_everything(task["seed"])
    clock = Clock(time.process_time if task["cpu_time"] else time.perf_counter)
    parts = {"validation": Histories(folder / "validation", read_features(folder / "features.npy"))}
    if (folder / "test").is_dir():
        with clock.paused():
            parts["test"] = Histories(folder / "test")
    model = make_model(task)
    # the same trainer as RecTools makes, except for the callback and the device
    model._trainer = Trainer(
        max_epochs=task["epochs"],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        devices=1,
        accelerator="gpu" if task["device"] == "cuda" else "cpu",
        precision="bf16-mixed" if task["device"] == "cuda" else "32-true",
        callbacks=[Validation(model, parts, task, clock)],
    )
    model.fit(parts["validation"].dataset)


if __name__ == "__main__":
    # what the libraries print must not mix with the JSON lines
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main()
