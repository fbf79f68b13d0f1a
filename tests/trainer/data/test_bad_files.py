"""Bad files on the command line: a non-zero exit, one helpful line, and no partly published version."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.small_shop import (
    EVENT_COLUMNS,
    PRODUCT_COLUMNS,
    Shop,
    copy_artifacts,
    event_rows,
    product_rows,
    run_arguments,
    small_run,
    trainer,
    write_csv,
    write_shop,
)
from trainer.__main__ import main
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, load_dataset

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Artifacts that serve a version already: a failed run must leave it alone."""
    return copy_artifacts(small_run()[1], tmp_path / "artifacts")


def published(artifacts: Path) -> tuple[bytes, list[str], list[str]]:
    return (
        (artifacts / "CURRENT").read_bytes(),
        sorted(path.name for path in (artifacts / "versions").iterdir()),
        sorted(path.name for path in (artifacts / "work").glob("version-*")),
    )


def check_refused(shop: Shop, artifacts: Path, capsys: Capture, *said: str, settings: list[str] | None = None) -> None:
    before = published(artifacts)
    code = main(run_arguments(shop, artifacts, settings=settings or []))
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.startswith("error: ") and error.count("\n") == 1, error
    for part in said:
        assert part in error
    assert published(artifacts) == before


def load(shop: Shop, folder: Path, *settings: str) -> Dataset:
    config = load_config([], settings)
    return load_dataset([str(shop.events)], [str(shop.products)], config.data, config.seed, folder / "work")


Break = Callable[[str], bytes]


# How a good CSV file is damaged, and what the error must say.
BROKEN: dict[str, tuple[Break, list[str]]] = {
    "empty": (lambda text: b"", ["is empty"]),
    "header only": (lambda text: text.split("\n", 1)[0].encode() + b"\n", ["has a header and no rows"]),
    "wrong encoding": (lambda text: (text + "x,خاتم,ذهب,\n").encode("windows-1256"), ["Windows-1256", "iconv -f"]),
    "UTF-16": (lambda text: text.encode("utf-16"), ["is UTF-16: save it as UTF-8"]),
    "packed": (lambda text: gzip.compress(text.encode()), ["give it a name that ends in .gz"]),
    "missing column": (
        lambda text: text.replace("product_id", "sku", 1).encode(),
        ["lacks the column product_id", "sku"],
    ),
    "too many fields": (lambda text: text.encode() + b"1,2,3,4,5,6\n", ["6 fields, the header has 4"]),
    "quote never closed": (lambda text: text.encode() + b'1,"2,3,4\n', ["unexpected end of data"]),
    "binary": (lambda text: bytes(range(256)) * 9, ["NUL"]),
}


@pytest.mark.parametrize("table", ["events", "products"])
@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_file_stops_the_run(tmp_path: Path, artifacts: Path, capsys: Capture, table: str, name: str) -> None:
    shop = write_shop(tmp_path)
    path: Path = getattr(shop, table)
    damage, said = BROKEN[name]
    path.write_bytes(damage(path.read_text(encoding="utf-8")))
    check_refused(shop, artifacts, capsys, str(path), *said)


@pytest.mark.parametrize("settings", [[], ['data.delimiter=";"']])
def test_a_file_with_another_delimiter_is_read(tmp_path: Path, settings: list[str]) -> None:
    shop = write_shop(tmp_path)
    for path, rows, header in (
        (shop.events, event_rows(), EVENT_COLUMNS),
        (shop.products, product_rows(), PRODUCT_COLUMNS),
    ):
        quoted = [[f'"{field.replace(chr(34), chr(34) * 2)}"' for field in row] for row in rows]
        path.write_text("\n".join(";".join(row) for row in [header, *quoted]) + "\n")
    assert load(shop, tmp_path, *settings).summary.event_rows == len(event_rows())


def test_a_truncated_archive_and_a_file_that_is_not_an_archive(
    tmp_path: Path, artifacts: Path, capsys: Capture
) -> None:
    shop = write_shop(tmp_path, seed=4)  # other contents than the published version was made from
    packed = write_csv(tmp_path / "events.csv.gz", EVENT_COLUMNS, event_rows())
    packed.write_bytes(packed.read_bytes()[:-100])
    check_refused(shop._replace(events=packed), artifacts, capsys, str(packed), "truncated .gz", "copy it again")
    packed.write_bytes(shop.events.read_bytes())
    check_refused(shop._replace(events=packed), artifacts, capsys, str(packed), "is not a sound .gz file")


def test_a_missing_file_a_folder_and_a_file_that_is_not_parquet(
    tmp_path: Path, artifacts: Path, capsys: Capture
) -> None:
    shop = write_shop(tmp_path, seed=4)  # other contents than the published version was made from
    missing = tmp_path / "none.csv"
    check_refused(shop._replace(events=missing), artifacts, capsys, f"--events {missing}: no such file")
    check_refused(shop._replace(products=tmp_path), artifacts, capsys, f"--products {tmp_path}: is a folder")
    parquet = tmp_path / "p.parquet"
    parquet.write_bytes(shop.products.read_bytes())
    check_refused(shop._replace(products=parquet), artifacts, capsys, f"{parquet} is not a Parquet file")


def test_parquet_damaged_within(tmp_path: Path, artifacts: Path, capsys: Capture) -> None:
    import polars as pl

    shop = write_shop(tmp_path)
    for table, source in (("events", shop.events), ("products", shop.products)):
        path = tmp_path / f"{table}.parquet"
        pl.read_csv(source, infer_schema=False).write_parquet(path)
        raw = bytearray(path.read_bytes())
        for place in range(8, len(raw) // 2):
            raw[place] ^= 0x5A
        path.write_bytes(raw)
        check_refused(shop._replace(**{table: path}), artifacts, capsys, str(path))


def test_too_many_rejects_say_what_to_look_at(tmp_path: Path, artifacts: Path, capsys: Capture) -> None:
    shop = write_shop(tmp_path)
    rows = event_rows()
    for row in rows[:100]:
        row[2] = "purchase"
    write_csv(shop.events, EVENT_COLUMNS, rows)
    check_refused(
        shop,
        artifacts,
        capsys,
        "100 of 900 rows of events (11.1%)",
        "the limit is 5.0%",
        "100 unknown event name",
        "rejects.csv",
    )
    rejects = sorted(artifacts.glob("work/runs/*/rejects.csv"), key=lambda path: path.stat().st_mtime)[-1]
    assert rejects.read_text().splitlines()[1] == f"{shop.events},2,event_name,purchase,unknown event name"
    # With a map of names the same file is good.
    assert load(shop, tmp_path, "data.event_names={purchase: Purchase}").summary.rejected_events == {}


@pytest.mark.parametrize(
    ("products", "said"),
    [
        (1, "the catalogue has one product: a model needs two"),
        (60, "all 900 events are of one product, 'p0': a model needs events of two"),
    ],
)
def test_one_product_cannot_be_learned(
    tmp_path: Path, artifacts: Path, capsys: Capture, products: int, said: str
) -> None:
    shop = write_shop(tmp_path)
    write_csv(shop.products, PRODUCT_COLUMNS, product_rows(products))
    write_csv(shop.events, EVENT_COLUMNS, [[row[0], "p0", *row[2:]] for row in event_rows()])
    check_refused(shop, artifacts, capsys, said)


def test_buyers_of_one_event_each_leave_nothing_to_the_linear_model(
    tmp_path: Path, artifacts: Path, capsys: Capture
) -> None:
    shop = write_shop(tmp_path)
    write_csv(shop.events, EVENT_COLUMNS, [[f"b{place}", *row[1:]] for place, row in enumerate(event_rows())])
    check_refused(shop, artifacts, capsys, "and no buyer has two; set training", settings=["training.start=linear"])


@pytest.mark.parametrize("place", ["artifacts", "work", "versions"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, capsys: Capture, place: str) -> None:
    shop = write_shop(tmp_path)
    artifacts = tmp_path / "a"
    path = artifacts if place == "artifacts" else artifacts / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("not a folder")
    code = main(run_arguments(shop, artifacts))
    error = capsys.readouterr().err
    assert code in {1, 2}
    assert error.startswith("error: ") and error.count("\n") == 1 and str(path) in error
    assert not (artifacts / "CURRENT").exists()
    assert path.read_text() == "not a folder"


# full at the start, while the text encoder is saved, and while the version is put together
@pytest.mark.parametrize("kilobytes", [1, 40, 600])
def test_a_disk_that_is_full_ends_the_run_in_one_line(tmp_path: Path, kilobytes: int) -> None:
    shop = write_shop(tmp_path)
    artifacts = copy_artifacts(small_run()[1], tmp_path / "artifacts")
    before = published(artifacts)
    # texts of 10 kB: products.sqlite is the largest file by far
    long = [[row[0], row[1], "خاتم " * 1100, row[3]] for row in product_rows()]
    write_csv(shop.products, PRODUCT_COLUMNS, long)
    limit = ["prlimit", f"--fsize={kilobytes * 1024}"]
    if shutil.which("prlimit") is None:
        limit = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash"]
    done = trainer(*run_arguments(shop, artifacts), prefix=limit)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert str(artifacts) in done.stderr
    assert published(artifacts) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


def test_a_file_system_without_room(tmp_path: Path, small_disk: Path, capsys: Capture) -> None:
    shop = write_shop(tmp_path)
    assert main(run_arguments(shop, small_disk / "a")) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "No space left" in error
    assert not (small_disk / "a" / "CURRENT").exists()


def test_a_read_only_artifact_folder(tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    artifacts = copy_artifacts(small_run()[1], tmp_path / "artifacts")
    before = published(artifacts)
    for path in (artifacts, *artifacts.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    # root writes everywhere: another user's eyes are needed
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("no setpriv to become another user with")
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    try:
        done = trainer(*run_arguments(shop, artifacts, "--force"), prefix=prefix, HOME="/tmp")
    finally:
        for path in (artifacts, *artifacts.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    if "ModuleNotFoundError" in done.stderr or "can't open file" in done.stderr:
        pytest.skip("another user cannot read this environment")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "Permission denied" in done.stderr and str(artifacts) in done.stderr
    assert published(artifacts) == before


@pytest.mark.parametrize("name", ["CURRENT", "manifest.json", "item_tower_rows.npy", "encoder.onnx", "products.sqlite"])
def test_a_damaged_artifact_is_named_when_it_is_published_or_read(artifacts: Path, capsys: Capture, name: str) -> None:
    (path,) = [one for one in artifacts.rglob(name) if "work" not in one.relative_to(artifacts).parts]
    version = next((artifacts / "versions").iterdir()).name
    raw = path.read_bytes()
    # a pointer is padded with blanks: half of it may be whole
    path.write_bytes(raw[:8] if name == "CURRENT" else raw[: len(raw) // 2])
    command = ["publish", version, "--artifacts", str(artifacts)]
    if name == "CURRENT":
        # Publishing repairs a damaged pointer.
        assert main(["recommend", "--artifacts", str(artifacts), "--events", "x.csv", "--out", "x.csv"]) == 2
        assert str(path) in capsys.readouterr().err
        assert main(command) == 0
        assert path.read_bytes() == raw
        return
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and str(path) in error


def test_leftovers_of_an_interrupted_run_do_not_matter(tmp_path: Path, artifacts: Path) -> None:
    shop = small_run()[0]
    (artifacts / "work" / "encoder-export").mkdir(exist_ok=True)
    (artifacts / "work" / "encoder-export" / "half").write_bytes(b"x")
    (artifacts / "versions" / "half").mkdir()  # no manifest: no version
    assert main(run_arguments(shop, artifacts, "--force", settings=["seed=11"])) == 0
