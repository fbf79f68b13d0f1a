"""RecTools' SASRec on given training events, for benchmarks.training: `python -m benchmarks.sasrec FOLDER`.

Runs in an environment of its own, so it imports nothing of ours but benchmarks.curves. FOLDER holds task.json and the
training events as buyer.npy and product.npy [M], sorted by buyer and time, and asked.npy [B], the buyers to validate.
For each validation it writes the vectors that its scores are products of (buyers, buyer_ids, items, item_ids .npy),
puts one JSON line on stdout, and waits for one on stdin: `go` or `stop`. The clock stands still while it waits.
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

from benchmarks.curves import Clock


class Validation(Callback):
    """Stops the clock at the end of every epoch, every so many seconds within it and at the limit, writes the vectors
    and asks whether to go on."""

    def __init__(self, model: SASRecModel, dataset: Dataset, folder: Path, task: dict[str, Any], clock: Clock) -> None:
        super().__init__()
        self.model, self.dataset, self.folder, self.task, self.clock = model, dataset, folder, task, clock
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
        with self.clock.held():
            self.last = seconds
            self._write_vectors(module)
            epochs = trainer.current_epoch + (place + 1) / steps
            interactions = len(self.model.data_preparator.train_dataset.interactions.df)
            told = {"epochs": epochs, "seconds": seconds, "setup": self.setup, "interactions": interactions}
            print(json.dumps(told), flush=True)
            trainer.should_stop = sys.stdin.readline().strip() != "go"

    @torch.no_grad()
    def _write_vectors(self, module: Any) -> None:
        preparator, net = self.model.data_preparator, module.torch_model
        asked = preparator.transform_dataset_u2i(self.dataset, np.load(self.folder / "asked.npy"))
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


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    seed_everything(task["seed"])
    buyer, product = (np.load(folder / f"{name}.npy") for name in ("buyer", "product"))
    clock = Clock(time.process_time if task["cpu_time"] else time.perf_counter)
    # the order of the rows is the order in time
    order = pd.to_datetime(np.arange(len(buyer)), unit="s")
    frame = pd.DataFrame({Columns.User: buyer, Columns.Item: product, Columns.Weight: 1.0, Columns.Datetime: order})
    dataset = Dataset.construct(frame)
    model = SASRecModel(**task["settings"], epochs=task["epochs"])
    # as RecTools makes it, but for the callback and the device
    model._trainer = Trainer(
        max_epochs=task["epochs"],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        devices=1,
        accelerator="gpu" if task["device"] == "cuda" else "cpu",
        precision="bf16-mixed" if task["device"] == "cuda" else "32-true",
        callbacks=[Validation(model, dataset, folder, task, clock)],
    )
    model.fit(dataset)


if __name__ == "__main__":
    # whatever the libraries print must not come between the lines
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main()
