"""Peak memory of every stage of `python -m trainer run`, on the SYNTHETIC demo market.

Usage:  make bench-memory [ARGS="--events 30000000 --buyers 1000000 --products 500000 --folder /tmp/shop --until split"]

The stages run in one process of their own. The kernel's mark of the largest resident memory (VmHWM, Linux) is set back
when a stage begins, so each figure is the peak of that stage, with all that earlier stages hold, and with the pages of
mapped files, which the system may take back. To bound the time, the softmax makes at most `--steps` steps in a pass,
the text encoder is the catalogue's, trained for 25 steps, and at most `--asked` buyers are validated and tested.
`--until read` and `--until split` stop earlier. `--folder` keeps the shop for the next run. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.market.generate import generate

ROOT = Path(__file__).parent.parent
# the parts of `prepare`
_PREPARING = (
    "load_dataset",
    "split_events",
    "measure_repeats",
    "hide",
    "measure_trust",
    "_export_encoder",
    "text_vectors",
    "item_features",
    "word_vectors",
)


class Peaks:
    """Measures stages, each by its name: peak memory in MiB, and CPU seconds of all threads."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    def watch(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, measured; prints each figure when it is known."""

        def watched(*arguments: Any) -> Any:
            Path("/proc/self/clear_refs").write_text("5")
            began = time.process_time()
            try:
                return stage(*arguments)
            finally:
                found = {"peak_mib": round(_peak_mib()), "cpu_s": round(time.process_time() - began, 1)}
                self.stages[name] = found
                print(f"{name:<16}{found['peak_mib']:>8,} MiB{found['cpu_s']:>10,.1f} s of CPU", flush=True)

        return watched


def main() -> int:
    options = _arguments()
    if options.child:
        print(json.dumps(_run_stages(options)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        shop = options.folder or Path(scratch) / "shop"
        if not (shop / "events.csv").is_file():
            generate(shop, products=options.products, buyers=options.buyers, events=options.events)
        stages = _run_child(options, shop, Path(scratch) / "artifacts")
    shown = {name: getattr(options, name) for name in ("events", "buyers", "products", "steps", "asked", "until")}
    peak = max(stage["peak_mib"] for stage in stages.values())
    print(json.dumps({"benchmark": "memory", "synthetic": True, **shown, "peak_mib": peak, "stages": stages}))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--buyers", type=int, default=33_000)
    parser.add_argument("--products", type=int, default=17_000)
    parser.add_argument("--folder", type=Path, help="of the shop; made if it has no events.csv, and kept")
    parser.add_argument("--until", choices=("read", "split", "prepare", "train", "publish"), default="publish")
    parser.add_argument("--steps", type=int, default=20, help="of a pass of the softmax, at most")
    parser.add_argument("--asked", type=int, default=2000, help="validation and test buyers, at most")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the trainer")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--artifacts", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_child(options: argparse.Namespace, shop: Path, artifacts: Path) -> Any:
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--child",
        "--folder",
        str(shop),
        "--artifacts",
        str(artifacts),
    ]
    command += [f"--{name}={getattr(options, name)}" for name in ("until", "steps", "asked", "threads")]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    lines = []
    with subprocess.Popen(
        [*command, "--set", *options.set], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    if run.returncode:
        raise SystemExit(run.returncode)
    return json.loads(lines[-1])


def _run_stages(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    from trainer.native_memory import limit_caches

    limit_caches()
    from trainer.stages.prepare import prepare
    from trainer.stages.train import train

    peaks, config = Peaks(), _configuration(options)
    files = [str(options.folder / "events.csv")], [str(options.folder / "products.csv")]
    if options.until in ("read", "split"):
        _read(options, config, files, peaks)
        return peaks.stages
    from trainer.native_memory import release
    from trainer.release.locks import check_writable
    from trainer.stages.embed import embed
    from trainer.stages.evaluate import evaluate_run
    from trainer.stages.index import build_index
    from trainer.stages.publish import publish_run
    from twotower.artifact.layout import Layout

    layout = Layout(options.artifacts)
    check_writable(layout)
    _watch_parts(peaks)
    _limit_steps(options.steps)
    run = prepare(config, layout, *files)
    release()
    after = {"train": train, "evaluate": evaluate_run, "embed": embed, "index": build_index, "publish": publish_run}
    for name in {"prepare": [], "train": ["train"]}.get(options.until, list(after)):
        peaks.watch(name, after[name])(run)
        release()
    return peaks.stages


def _configuration(options: argparse.Namespace) -> Any:
    from trainer.config.loading import load_config

    settings = [f"threads={options.threads}", "training.start=softmax", "training.max_epochs=1", "training.min_steps=0"]
    settings += [f"evaluation.max_buyers={options.asked}", f"evaluation.validation_buyers={options.asked}"]
    settings += ["encoder.catalogue.steps=25", "publish.gate=false", *options.set]
    return load_config([ROOT / "trainer/config/offline.yaml"], settings)


def _read(options: argparse.Namespace, config: Any, files: tuple[list[str], list[str]], peaks: Peaks) -> None:
    """Reads and checks; with `--until split`, what the run does with the events before it encodes texts, too."""
    from trainer.data.dataset import load_dataset
    from trainer.data.repeats import measure_repeats
    from trainer.data.split import draw_hidden, hide, split_events
    from trainer.native_memory import release
    from twotower.events import EventSchema

    data = peaks.watch("load_dataset", load_dataset)(*files, config.data, config.seed, options.artifacts)
    release()
    if options.until == "read":
        return
    split = peaks.watch("split_events", split_events)(data.events, config.evaluation)
    schema = EventSchema(config.data.event_weights)
    peaks.watch("measure_repeats", measure_repeats)(data.events, split.train_stop, schema)
    hidden = draw_hidden(len(data.products), config.evaluation.hidden_products, config.seed)
    peaks.watch("hide", hide)(data.events, split, hidden, True)


def _watch_parts(peaks: Peaks) -> None:
    from trainer.stages import prepare

    for name in _PREPARING:
        setattr(prepare, name, peaks.watch(name.strip("_"), getattr(prepare, name)))


def _limit_steps(steps: int) -> None:
    """Cuts a pass of the softmax to its first steps."""
    from trainer.fit.softmax.sampler import Sampler

    cuts = Sampler._cuts

    def first_cuts(self: Sampler, order: Any) -> list[tuple[int, int]]:
        return cuts(self, order)[:steps]

    setattr(Sampler, "_cuts", first_cuts)  # noqa: B010


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM: this benchmark needs Linux")


if __name__ == "__main__":
    sys.exit(main())
