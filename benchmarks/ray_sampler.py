"""The batches that the benchmarks of training on several workers draw."""

from __future__ import annotations

from trainer.config.schema import Config
from trainer.fit.softmax.sampler import Sampler, SamplerSettings
from trainer.fit.softmax.shards import cut_shard
from trainer.fit.softmax.workers import Workers
from trainer.fit.training_set import TrainingSet
from twotower.arrays import Float32


def sampler_settings(config: Config) -> SamplerSettings:
    """As a training has them, without the full softmax."""
    training = config.training
    return SamplerSettings(
        config.model.max_history,
        training.batch_pairs,
        training.random_negatives,
        full_softmax=0,
        weight_power=training.event_weight_power,
        repeat_targets=False,
        seed=config.seed,
    )


def make_sampler(config: Config, data: TrainingSet, products: int, weights: Float32, workers: Workers) -> Sampler:
    """A sampler of whole batches, or of one worker's part of each."""
    settings = sampler_settings(config)
    whole = Sampler(data, products, weights, settings)
    if workers.count == 1:
        return whole
    shard = cut_shard(data, whole, workers.rank, workers.count)
    return Sampler(shard.data, products, weights, settings, workers, shard.plan)
