"""The commands `encoder` and `recommend`."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.commands.files import config_files
from trainer.commands.output import fail, log_to_stdout


def run_encoder(options: argparse.Namespace) -> int:
    import tempfile

    from trainer.config.loading import load_config

    config = load_config(config_files(options), options.set)
    from trainer.data.changes import load_products
    from trainer.text.encoders import save_encoder
    from trainer.text.ngram_training import train_catalogue_encoder
    from twotower.text.normalise import Normaliser

    with tempfile.TemporaryDirectory() as scratch:
        products, _ = load_products(options.products, config.data, Path(scratch))
    profile = "full" if config.encoder.normaliser == "auto" else config.encoder.normaliser
    print(f"training the catalogue encoder on {len(products):,} product texts")
    save_encoder(
        train_catalogue_encoder(products, config.encoder.catalogue, Normaliser.profile(profile), config.seed),
        options.out,
    )
    print(f"saved; use it with --set encoder.name={options.out}, or SentenceTransformer({str(options.out)!r})")
    return 0


def run_recommend(options: argparse.Namespace) -> int:
    if not 1 <= options.k <= 1000:
        return fail(f"--k {options.k}: must be 1 to 1000", 2)
    if not 0 <= options.diversity <= 1:
        return fail(f"--diversity {options.diversity}: must be 0 to 1", 2)
    from trainer.config.base import usable_threads

    threads = usable_threads(options.threads, "--threads")
    from trainer.config.loading import preset_file
    from trainer.stages.recommend import History, ListOptions, recommend
    from twotower.artifact.layout import Layout

    log_to_stdout()
    wanted = ListOptions(options.k, options.exclude, options.diversity)
    preset = preset_file(options.format) if options.format else None
    history = History(options.events, preset)
    done = recommend(Layout(options.artifacts), options.version, history, wanted, options.out, threads, ray=options.ray)
    print(f"{options.out}: {done.rows:,} rows for {done.buyers:,} buyers, version {done.version}")
    return 0
