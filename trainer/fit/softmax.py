"""The training loop: epochs of InfoNCE steps, validation, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.config.schema import Config, Training
from trainer.errors import DataError
from trainer.fit.checkpoint import State, load_checkpoint, save_checkpoint
from trainer.fit.loss import bfloat16_is_fast, category_alignment, expected_counts, info_nce
from trainer.fit.sampler import Batch, Sampler
from trainer.model.inputs import History, ItemFeatures, drop_ids, drop_numbers, text_alone
from trainer.model.towers import TwoTower
from trainer.progress import track

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Fitted(NamedTuple):
    """The best weights, the epoch they are of (1 = the first), and one record per epoch."""

    weights: dict[str, Tensor]
    best_epoch: int
    curve: list[dict[str, float]]


def pick_device(name: str) -> torch.device:
    """The configured device; `auto` takes a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit(
    model: TwoTower,
    features: ItemFeatures,
    sampler: Sampler,
    config: Config,
    folder: Path,
    fingerprint: str,
    *,
    titles: Tensor | None = None,
    epochs: int = 0,
    validate: Callable[[TwoTower], float] | None,
) -> Fitted:
    """Trains for at most `epochs` (0 = `planned_epochs`, none where there is no pair), resuming from `folder` where a
    checkpoint of the same fingerprint lies there.

    With `validate` (higher is better) the best epoch's weights are returned and training stops early where it is in
    vain; without it, the last epoch's. Every random draw of a step comes from (seed, epoch, step)
    alone, so a resumed training ends in the same weights as an uninterrupted one.

    `titles` [N, E] are the text vectors of the titles alone: short, as shoppers type, and aligned to categories too.
    """
    settings = config.training
    parameters = [
        value
        for name, value in model.named_parameters()
        if value.requires_grad and (settings.learn_temperature or "temperature" not in name)
    ]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    curve: list[dict[str, float]] = []
    best: dict[str, Tensor] = _copy(model)
    best_score, best_epoch, losses, epoch, step = -math.inf, 0, [0.0, 0.0], 0, 0
    resumed = load_checkpoint(folder, fingerprint, model, optimiser)
    if resumed:
        state, best = resumed
        epoch, step, facts = state.epoch, state.step, state.facts
        curve, best_score, best_epoch, losses = (
            facts["curve"],
            facts["best_score"],
            facts["best_epoch"],
            facts["losses"],
        )
        log.info(f"resuming after epoch {epoch}, step {step}")

    def checkpoint() -> None:
        facts = {"curve": curve, "best_score": best_score, "best_epoch": best_epoch, "losses": losses}
        save_checkpoint(folder, fingerprint, State(epoch, step, facts), model, optimiser, best)

    per_epoch, planned = sampler.steps(0), planned_epochs(sampler, settings)
    # as many epochs are waited for as `patience` is of the least that there are
    patience = math.ceil(settings.patience * planned / settings.max_epochs)
    # no number of empty epochs would teach anything
    most = (epochs or planned) if planned else 0
    while epoch < most and not (validate and best_epoch and epoch - best_epoch >= patience):
        started, total = time.monotonic(), sampler.steps(epoch)
        model.train()
        for batch in track(sampler.epoch(epoch, step), f"epoch {epoch + 1}", unit="batch", total=total - step):
            rate = _learning_rate(
                settings.learning_rate,
                settings.warmup_steps,
                epoch * per_epoch + step,
                planned * per_epoch,
            )
            for group in optimiser.param_groups:
                group["lr"] = rate
            torch.manual_seed(_seed(config.seed, epoch, step))
            loss = step_loss(model, features, batch, sampler, config, titles)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if not math.isfinite(value := float(loss.detach())):
                raise DataError(
                    f"training diverged: the loss of epoch {epoch + 1}, step {step + 1} is {value}; "
                    "lower training.learning_rate"
                )
            losses = [losses[0] + value, losses[1] + 1]
            step += 1
            if step % settings.checkpoint_steps == 0 and step < total:
                checkpoint()
        seconds = time.monotonic() - started
        record = {"epoch": epoch + 1, "loss": losses[0] / max(losses[1], 1), "seconds": round(seconds, 2)}
        score = validate(model) if validate else 0.0
        if validate:
            record["validation"] = score
        epoch, step, losses = epoch + 1, 0, [0.0, 0.0]
        if not validate or score > best_score:
            best, best_score, best_epoch = _copy(model), score, epoch
        record["temperature"] = float(model.log_temperature.detach().exp().mean())
        curve.append(record)
        checkpoint()
        shown = f", validation {config.evaluation.metric} {score:.4f}" if validate else ""
        log.info(f"epoch {epoch}: loss {record['loss']:.4f}{shown}, {sampler.pairs / max(seconds, 1e-9):,.0f} pairs/s")
    return Fitted(best, best_epoch, curve)


def planned_epochs(sampler: Sampler, settings: Training) -> int:
    """`max_epochs`, or as many as make `min_steps` steps; none where there is no pair to make a step of."""
    steps = sampler.steps(0)
    return max(settings.max_epochs, math.ceil(settings.min_steps / steps)) if steps else 0


def step_loss(
    model: TwoTower,
    features: ItemFeatures,
    batch: Batch,
    sampler: Sampler,
    config: Config,
    titles: Tensor | None = None,
) -> Tensor:
    """The loss of one batch: InfoNCE of the vectors of every prefix, and the alignment of texts to categories."""
    settings, device = config.training, model.log_temperature.device
    quick = _bfloat16(config, device)
    products = torch.from_numpy(batch.products).to(device)
    chosen = features if sampler.full else ItemFeatures(*(column[products] for column in features))
    with torch.autocast(device.type, torch.bfloat16, enabled=quick):
        vectors = model.items(drop_ids(chosen, config.model.attribute_dropout, config.model.product_dropout))  # [U, D]
    vectors = vectors.float()
    # `embedding` has a deterministic gradient, indexing has not
    history = History(
        drop_numbers(
            functional.embedding(torch.from_numpy(batch.items).to(device), vectors), config.model.vector_dropout
        ),
        *(torch.from_numpy(column).to(device) for column in (batch.weights, batch.types, batch.ages, batch.mask)),
    )
    keep = torch.rand(history.mask.shape, device=device) >= config.model.dropout if config.model.dropout else None
    prefixes = model.buyer.prefixes(history, keep)  # [W, T, D]
    window, step = torch.from_numpy(batch.pair_window).to(device), torch.from_numpy(batch.pair_step).to(device)
    queries = functional.embedding(window * prefixes.shape[1] + step, prefixes.flatten(0, 1))  # [P, D]
    candidates = vectors
    if not sampler.full:
        candidates = functional.embedding(torch.from_numpy(batch.candidates).to(device), vectors)  # [C, D]
    barred = torch.from_numpy(batch.barred).to(device)[window] if settings.mask_positives else None
    log_q = None
    if settings.logq_strength and not sampler.full:
        share = torch.from_numpy(sampler.share).to(device)
        expected = expected_counts(share, len(queries), settings.random_negatives)
        log_q = settings.logq_strength * expected.clamp(min=1e-12).log().float()
        log_q = log_q[products[torch.from_numpy(batch.candidates).to(device)]]
    weights = torch.from_numpy(batch.pair_weight).to(device)
    target = torch.from_numpy(batch.target).to(device)
    temperature = model.log_temperature.exp().clamp(min=0.01)
    heads = len(temperature)
    # a loss for each head: they are models of their own, of which the product of the vectors is the mean
    parts = [
        info_nce(one, items, target, own, barred, log_q, weights, bfloat16=quick)
        for one, items, own in zip(
            (queries * heads**0.5).chunk(heads, dim=1),
            (candidates * heads**0.5).chunk(heads, dim=1),
            temperature,
            strict=True,
        )
    ]
    loss = torch.stack(parts).sum() / heads
    if settings.category_alignment and model.item.category.num_embeddings > 2:
        drawn = torch.randperm(len(products), device=device)[: settings.alignment_products]
        texts = [chosen.text[drawn]] if titles is None else [chosen.text[drawn], titles[products[drawn]]]
        content = model.items(text_alone(torch.cat(texts)))
        category = chosen.category[drawn].repeat(len(texts))
        loss = loss + settings.category_alignment * category_alignment(
            content, model.item.category.weight[1:], category, settings.category_temperature
        )
    return loss


def _bfloat16(config: Config, device: torch.device) -> bool:
    precision = config.training.precision
    return bfloat16_is_fast(device) if precision == "auto" else precision == "bfloat16"


def _learning_rate(base: float, warmup: int, step: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth over the longest possible training."""
    if step < warmup:
        return base * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return base * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _copy(model: TwoTower) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
