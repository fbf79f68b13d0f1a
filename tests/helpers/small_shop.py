"""A tiny deterministic Arabic shop, and the settings that make a whole run on it take seconds."""

from __future__ import annotations

import atexit
import contextlib
import csv
import functools
import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version

ROOT = Path(__file__).resolve().parents[2]


OFFLINE = str(ROOT / "trainer" / "config" / "offline.yaml")


NOON = 1_760_000_000  # seconds since 1970: 2025-10-09


DAY = 86_400


SMALL = [
    "threads=1",
    "device=cpu",
    "encoder.catalogue.steps=5",
    "encoder.catalogue.dimension=32",
    "encoder.catalogue.buckets=4096",
    "encoder.catalogue.batch_size=32",
    "encoder.parity_rows=8",
    "model.dimension=16",
    "training.max_epochs=2",
    "training.min_steps=0",
    "training.batch_pairs=128",
    "training.random_negatives=16",
    "training.warmup_steps=2",
    "evaluation.min_test_buyers=5",
    "evaluation.resamples=100",
    # two epochs on some hundred pairs: such a model loses to item-kNN, and the gate has tests of its own
    "publish.gate=false",
]


_KINDS = {
    "مجوهرات": (["خاتم ذهب", "سلسال ذهب", "أسورة فضة", "حلق ألماس"], "لازوردي"),
    "عطور": (["دهن عود", "عطر مسك", "بخور معمول", "عطر عنبر"], "العربية للعود"),
    "سيارات": (["زيت محرك", "بطارية سيارة", "إطار سيارة", "فلتر هواء"], "بترومين"),
    "تمور": (["تمر سكري", "تمر عجوة", "تمر خلاص", "دبس تمر"], "مزارع القصيم"),
}


EVENT_COLUMNS = ["distinct_id", "product_id", "event_name", "created_at"]


PRODUCT_COLUMNS = ["product_id", "title", "description", "metadata"]


class Shop(NamedTuple):
    """Where the two files are."""

    events: Path
    products: Path

    @property
    def arguments(self) -> list[str]:
        return ["--events", str(self.events), "--products", str(self.products)]


def product_rows(products: int = 60) -> list[list[str]]:
    """Products p0..pN-1, the four categories in turn."""
    names = list(_KINDS)
    rows = []
    for number in range(products):
        category = names[number % len(names)]
        titles, brand = _KINDS[category]
        title = titles[number // len(names) % len(titles)]
        metadata = {"brand": brand, "category": category, "price": 10 + number, "currency": "SAR"}
        if number % 7 == 6:
            metadata["in_stock"] = False
        text = f"{title} أصلي بضمان" if number % 3 else ""
        rows.append([f"p{number}", f"{title} موديل {number}", text, json.dumps(metadata, ensure_ascii=False)])
    return rows


def event_rows(products: int = 60, buyers: int = 80, events: int = 900, seed: int = 3) -> list[list[str]]:
    """Each buyer keeps to one category three times out of four; each event is at least an hour after the one before."""
    draw = random.Random(seed)
    rows = []
    for number in range(events):
        buyer = number % buyers if number < 3 * buyers else draw.randrange(buyers)
        product = draw.randrange(products)
        if draw.random() < 0.75:
            product = product - product % 4 + buyer % 4
        kind = draw.choices(["View", "AddToCart", "Purchase"], [6, 2, 1])[0]
        moment = NOON - 60 * DAY + number * 5000
        rows.append([f"b{buyer}", f"p{product % products}", kind, str(moment)])
    return rows


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """A CSV file, packed where its name ends in .gz."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    raw = text.getvalue().encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path


def write_shop(folder: Path, **sizes: int) -> Shop:
    """Both files of the shop."""
    folder.mkdir(parents=True, exist_ok=True)
    count = sizes.get("products", 60)
    products = write_csv(folder / "products.csv", PRODUCT_COLUMNS, product_rows(count))
    return Shop(write_csv(folder / "events.csv", EVENT_COLUMNS, event_rows(**sizes)), products)


def run_arguments(
    shop: Shop, artifacts: Path, *extra: str, command: str = "run", settings: Sequence[str] = ()
) -> list[str]:
    """`COMMAND --events ... --set ...` on a shop, the catalogue encoder, small settings."""
    options = ["--artifacts", str(artifacts), "--config", OFFLINE, *extra]
    return [command, *shop.arguments, *options, "--set", *SMALL, *settings]


def trainer(*arguments: str, prefix: Sequence[str] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m trainer ARGUMENTS` as a process, as a user does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWOTOWER_")}
    command = [*prefix, sys.executable, "-m", "trainer", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**kept, **environ}, capture_output=True, encoding="utf-8", timeout=800, check=False
    )


@functools.cache
def small_run(*settings: str) -> tuple[Shop, Path]:
    """The shop and the artifact folder of a whole run with these settings, trained once: read them, never write."""
    folder = Path(tempfile.mkdtemp(prefix="small-shop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shop = write_shop(folder)
    _run(shop, folder / "artifacts", settings)
    return shop, folder / "artifacts"


@functools.cache
def two_runs() -> tuple[Path, list[str]]:
    """An artifact folder with two trained versions, and the settings of the second, which CURRENT names.

    The first version is the one of `small_run()`. Never write to the folder.
    """
    shop, first = small_run()
    folder = Path(tempfile.mkdtemp(prefix="two-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = ["seed=8", "training.max_epochs=1"]
    _run(shop, copy_artifacts(first, folder / "artifacts"), settings)
    return folder / "artifacts", settings


def _run(shop: Shop, artifacts: Path, settings: Sequence[str]) -> None:
    from trainer.__main__ import main

    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = main(run_arguments(shop, artifacts, settings=settings))
    assert code == 0, output.getvalue()


def copy_artifacts(source: Path, target: Path) -> Path:
    """A copy of an artifact folder that a test may change."""
    shutil.copytree(source, target)
    return target


def assert_same_model(one: Version, two: Version) -> None:
    """Both versions hold the same vectors, weights, histories, vocabulary and text encoder."""
    first, second = (version.manifest.files | version.manifest.private_files for version in (one, two))
    for name in ("product_embeddings.npy", "model.safetensors", "recent_interactions.jsonl.gz", "vocab.json"):
        assert first[name].sha256 == second[name].sha256, name
    assert one.manifest.encoder_digest == two.manifest.encoder_digest


def current(artifacts: Path) -> Version:
    """The version that CURRENT names."""
    layout = Layout(artifacts)
    pointer = read_pointer(layout.current)
    assert pointer is not None
    return open_version(layout, pointer.version, pointer.manifest_sha256)
