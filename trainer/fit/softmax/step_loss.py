"""The loss of one training step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.config.schema import Config
from trainer.fit.softmax.loss import Targets, bfloat16_is_fast, category_alignment, inclusion_probabilities, info_nce
from trainer.fit.softmax.sampler import Batch, Sampler
from trainer.model.inputs import History, ItemFeatures, drop_ids, drop_numbers, text_alone
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


def step_loss(model: TwoTower, batch: Batch, inputs: TrainingInputs) -> Tensor:
    """InfoNCE over every pair of the batch, plus the alignment of texts to categories."""
    device = model.log_temperature.device
    products = torch.from_numpy(batch.products).to(device)
    features = inputs.features
    if not inputs.sampler.uses_full_softmax:
        features = ItemFeatures(*(column[products] for column in features))
    loss = _retrieval_loss(model, batch, inputs, features)
    if inputs.config.training.category_alignment and model.item.category.num_embeddings > 2:
        titles = None if inputs.titles is None else (inputs.titles, products)
        loss = loss + _alignment_loss(model, features, titles, inputs.config)
    return loss


def _retrieval_loss(model: TwoTower, batch: Batch, inputs: TrainingInputs, features: ItemFeatures) -> Tensor:
    """Mean over heads of each head's InfoNCE. `features` are those of the batch's products [U]."""
    config, device = inputs.config, model.log_temperature.device
    bfloat16 = _uses_bfloat16(config, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        kept = drop_ids(features, config.model.attribute_dropout, config.model.product_dropout)
        vectors = model.items(kept)  # [U, D]
    vectors = vectors.float()
    window = torch.from_numpy(batch.pair_window).to(device)
    queries = _pair_queries(model, batch, vectors, window, config)
    candidates = vectors
    if not inputs.sampler.uses_full_softmax:
        # `embedding` has a deterministic gradient, indexing does not
        candidates = functional.embedding(torch.from_numpy(batch.candidates).to(device), vectors)  # [C, D]
    masked = torch.from_numpy(batch.masked).to(device)[window] if config.training.mask_positives else None
    log_q = _log_q(batch, inputs, device)
    weights = torch.from_numpy(batch.pair_weight).to(device)
    targets = Targets(torch.from_numpy(batch.target).to(device), masked, weights)
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
    probabilities = inclusion_probabilities(share, len(batch.target), settings.random_negatives)
    log_q = settings.logq_strength * probabilities.clamp(min=1e-12).log().float()
    return log_q[torch.from_numpy(batch.products[batch.candidates]).to(device)]


def _alignment_loss(
    model: TwoTower, features: ItemFeatures, titles: tuple[Tensor, Tensor] | None, config: Config
) -> Tensor:
    """The weighted alignment of texts, and of `titles` (vectors [N, E], the batch's rows in them [U]), to categories.

    It is computed on a random part of the batch's products, whose `features` are given.
    """
    settings = config.training
    drawn = torch.randperm(len(features.text), device=features.text.device)[: settings.alignment_products]
    texts = [features.text[drawn]]
    if titles is not None:
        vectors, products = titles
        texts.append(vectors[products[drawn]])
    content = model.items(text_alone(torch.cat(texts)))
    category = features.category[drawn].repeat(len(texts))
    loss = category_alignment(content, model.item.category.weight[1:], category, settings.category_temperature)
    return settings.category_alignment * loss


def _uses_bfloat16(config: Config, device: torch.device) -> bool:
    precision = config.training.precision
    return bfloat16_is_fast(device) if precision == "auto" else precision == "bfloat16"
