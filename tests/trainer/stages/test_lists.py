"""What a run and a refresh write for /again and /trending."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers.lists import MODEL, RISES, write_lists
from tests.helpers.small_shop import small_run
from tests.helpers.tiny_version import CATEGORIES, build_version
from trainer.stages.lists import move_lists
from twotower.artifact.catalogue import Catalogue
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version
from twotower.repeats import RepeatTable
from twotower.trending import load_rising


def test_a_run_writes_what_its_events_show() -> None:
    layout = Layout(small_run()[1])
    pointer = read_pointer(layout.current)
    assert pointer is not None
    version = open_version(layout, pointer.version)
    files, manifest = version.layout, version.manifest
    assert manifest.trending is not None
    version.check(files.trending_rows, files.trending_figures)
    assert manifest.trending.until_ms == manifest.newest_event_ms
    load_rising(files, manifest.products)
    assert (manifest.repeats is not None) == files.repeat_products.exists()


def test_a_refresh_moves_the_figures_to_today_s_products(tmp_path: Path) -> None:
    base = build_version(tmp_path / "artifacts", "a", lists=write_lists)
    target = VersionLayout(tmp_path / "target")
    target.root.mkdir()
    names = Catalogue(base.layout.products).columns().categories
    # p5, which rises, is gone; p2 comes first, p9 last, behind a new product
    move_lists(base, np.array([2, -1, 9]), ["عطور", "قهوة", "عطور"], target)
    rising = load_rising(target, 3)
    assert rising.places.tolist() == [0, 2]
    assert rising.scores.tolist() == [RISES[2][0], RISES[9][0]]
    table = RepeatTable.load(target, 3, 2)
    assert table.products[:, 0].tolist() == [60, 0, 60]
    assert (len(names), base.manifest.repeats) == (len(CATEGORIES), MODEL)


def test_a_version_without_lists_moves_none(tmp_path: Path) -> None:
    base = build_version(tmp_path / "artifacts", "a")
    target = VersionLayout(tmp_path / "target")
    target.root.mkdir()
    move_lists(base, np.array([0]), [""], target)
    assert list(target.root.iterdir()) == []
