"""Reading and checking events on this machine and on Ray workers: time, CPU seconds and memory of each process.

Usage:  python -m benchmarks.ray_reading --events 3000000 --workers 1 2

The shop is the SYNTHETIC demo market, or the one in `--folder`. Each way is a process of its own, with a cluster of its
own. `driver_mib` is the peak memory of the process that asks, `worker_mib` that of the largest worker (Linux). The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from demo.market.generate import generate

ROOT = Path(__file__).parent.parent
_LOOK_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--buyers", type=int, default=10_000)
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--folder", type=Path, help="of the shop; made if it has no events.csv, and kept")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(_read(options.folder, options.child)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        shop = options.folder or Path(scratch)
        if not (shop / "events.csv").is_file():
            generate(shop, options.products, options.buyers, options.events)
        ways = {
            f"{count} workers" if count else "one machine": _measure(shop, count) for count in (0, *options.workers)
        }
    print(json.dumps({"benchmark": "ray_reading", "synthetic": options.folder is None, "ways": ways}))


def _measure(shop: Path, workers: int) -> Any:
    """What a process of its own measures; 0 workers are none."""
    command = [sys.executable, "-m", "benchmarks.ray_reading", "--folder", str(shop), "--child", str(workers)]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(run.stdout.splitlines()[-1])
    print(f"{workers} workers: {measured}", flush=True)
    return measured


def _read(shop: Path, workers: int) -> dict[str, float]:
    from trainer.cluster.parts import open_engine
    from trainer.config.loading import load_config
    from trainer.data.dataset import load_dataset

    if workers:
        import ray

        # as an end user's cluster, but with so many CPUs
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    peaks: dict[str, float] = {}
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(peaks, done))
    watch.start()
    files = [str(shop / "events.csv")], [str(shop / "products.csv")]
    config = load_config([ROOT / "trainer/config/offline.yaml"], [])
    began, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as work:
        data = load_dataset(*files, config.data, config.seed, Path(work), open_engine("auto" if workers else ""))
    seconds, own = time.perf_counter() - began, time.process_time() - used
    done.set()
    watch.join()
    facts = {"events": len(data.events.buyer), "seconds": round(seconds, 1), "driver_cpu_s": round(own, 1)}
    return facts | {"driver_mib": round(_peak_mib(os.getpid())), "worker_mib": round(max(peaks.values(), default=0))}


def _watch(peaks: dict[str, float], done: threading.Event) -> None:
    """Notes the peak memory in MiB of every process that Ray runs work in, by its number."""
    while not done.wait(_LOOK_SECONDS):
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::"):
                    peaks[folder.name] = _peak_mib(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                # it has ended
                continue


def _peak_mib(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(process)


if __name__ == "__main__":
    main()
