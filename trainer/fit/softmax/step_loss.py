"""The loss of one training step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.schema import Config
from trainer.fit.softmax.loss import Targets, bfloat16_is_fast, category_alignment, inclusion_probabilities, info_nce
from trainer.fit.softmax.sampler import Batch, Sampler
from trainer.fit.softmax.workers import ONE_PROCESS, Workers, share
from trainer.model.inputs import History, ItemFeatures, drop_ids, drop_numbers
from trainer.model.towers import TwoTower


@dataclass(frozen=True)
class TrainingInputs:
    """What every step of a training reads.

    `titles` [N, E] are the text vectors of the titles alone: they are as short as what shoppers type, and are aligned
    to categories too.
    """

    features: ItemFeatures
    sampler: Sampler
    config: Config
    titles: Tensor | None = None


class StepLoss(nn.Module):
    """`step_loss` of one model as a module, which workers can synchronise."""

    def __init__(self, model: TwoTower, inputs: TrainingInputs, workers: Workers) -> None:
        super().__init__()
        self.model, self._inputs, self._workers = model, inputs, workers

    def forward(self, batch: Batch) -> Tensor:
        return step_loss(self.model, batch, self._inputs, self._workers)


def step_loss(model: TwoTower, batch: Batch, inputs: TrainingInputs, workers: Workers = ONE_PROCESS) -> Tensor:
    """InfoNCE over every pair of the batch, plus the alignment of texts to categories.

    The sum of all workers' losses is that of one process with the whole batch.
    """
    loss = _retrieval_loss(model, batch, inputs, workers)
    if inputs.config.training.category_alignment and model.item.category.num_embeddings > 2:
        loss = loss + _alignment_loss(model, batch, inputs, workers)
    return loss


def _retrieval_loss(model: TwoTower, batch: Batch, inputs: TrainingInputs, workers: Workers) -> Tensor:
    """Mean over heads of each head's InfoNCE."""
    features, products = inputs.features, batch.products
    if len(products) < len(features.text):
        index = torch.from_numpy(products).to(features.text.device)
        features = ItemFeatures(*(column[index] for column in features))
    config, device = inputs.config, model.log_temperature.device
    bfloat16 = _uses_bfloat16(config, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        # a product that several workers encode loses the same ids in each
        place, count = torch.from_numpy(batch.among).to(device), batch.all_products
        kept = drop_ids(features, config.model.attribute_dropout, config.model.product_dropout, place, count)
        vectors = model.items(kept)  # [U, D]
    if workers.rank:  # what follows is drawn for the worker's own windows
        torch.manual_seed(torch.initial_seed() + workers.rank)
    vectors = vectors.float()
    candidates = vectors
    if len(batch.own) < len(products):
        # `embedding` has a deterministic gradient, indexing does not
        candidates = functional.embedding(torch.from_numpy(batch.own).to(device), vectors)
    candidates = workers.gather(candidates, batch.owned, batch.place)  # [C, D]
    window = torch.from_numpy(batch.pair_window).to(device)
    histories = candidates if inputs.sampler.uses_full_softmax else vectors
    queries = _pair_queries(model, batch, histories, window, config)
    masked = torch.from_numpy(batch.masked).to(device)[window] if config.training.mask_positives else None
    log_q = _log_q(batch, inputs, device)
    weights = torch.from_numpy(batch.pair_weight).to(device)
    targets = Targets(torch.from_numpy(batch.target).to(device), masked, weights, workers.total(weights.sum()))
    temperatures = model.log_temperature.exp().clamp(min=0.01)
    heads = len(temperatures)
    # each head is a model of its own; the product of two whole vectors is the mean of their heads' cosines
    by_head = zip(
        (queries * heads**0.5).chunk(heads, dim=1),
        (candidates * heads**0.5).chunk(heads, dim=1),
        temperatures,
        strict=True,
    )
    losses = [
        info_nce(query, items, targets, temperature, log_q, bfloat16=bfloat16) for query, items, temperature in by_head
    ]
    return torch.stack(losses).sum() / heads


def _pair_queries(model: TwoTower, batch: Batch, vectors: Tensor, window: Tensor, config: Config) -> Tensor:
    """The buyer's vector [P, D] at each pair of the batch; `window` [P] is the pair's row in the batch."""
    device = vectors.device
    items = functional.embedding(torch.from_numpy(batch.items).to(device), vectors)  # [W, T, D]
    columns = (torch.from_numpy(column).to(device) for column in (batch.weights, batch.types, batch.ages, batch.mask))
    history = History(drop_numbers(items, config.model.vector_dropout), *columns)
    keep = torch.rand(history.mask.shape, device=device) >= config.model.dropout if config.model.dropout else None
    prefixes = model.buyer.prefixes(history, keep)  # [W, T, D]
    step = torch.from_numpy(batch.pair_step).to(device)
    return functional.embedding(window * prefixes.shape[1] + step, prefixes.flatten(0, 1))


def _log_q(batch: Batch, inputs: TrainingInputs, device: torch.device) -> Tensor | None:
    """The sampling correction [C] of the batch's candidates; None if there is none to correct."""
    settings, sampler = inputs.config.training, inputs.sampler
    if not settings.logq_strength or sampler.uses_full_softmax:
        return None
    share = torch.from_numpy(sampler.target_share).to(device)
    probabilities = inclusion_probabilities(share, batch.all_pairs, settings.random_negatives)
    log_q = settings.logq_strength * probabilities.clamp(min=1e-12).log().float()
    return log_q[torch.from_numpy(batch.candidates).to(device)]


def _alignment_loss(model: TwoTower, batch: Batch, inputs: TrainingInputs, workers: Workers) -> Tensor:
    """The weighted alignment of texts and titles to categories, on a random part of the batch's products."""
    settings, features = inputs.config.training, inputs.features
    aligned = torch.from_numpy(batch.aligned).to(features.text.device)
    drawn = aligned[torch.randperm(len(aligned), device=aligned.device)[: share(settings.alignment_products, workers)]]
    texts = [features.text[drawn]]
    if inputs.titles is not None:
        texts.append(inputs.titles[drawn])
    content = model.item.of_texts(torch.cat(texts))
    category = features.category[drawn].repeat(len(texts))
    loss = category_alignment(content, model.item.category.weight[1:], category, settings.category_temperature)
    known = (category > 0).sum().float()
    return settings.category_alignment * loss * (known / workers.total(known).clamp(min=1))


def _uses_bfloat16(config: Config, device: torch.device) -> bool:
    precision = config.training.precision
    return bfloat16_is_fast(device) if precision == "auto" else precision == "bfloat16"
