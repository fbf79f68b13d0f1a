"""Starts what the serving benchmarks drive: the chain of services, and monoliths, on one synthetic market."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import market
from benchmarks.load import get, post
from benchmarks.monolith.inputs import write_histories
from benchmarks.processes import free_port, running, wait_for_answer
from demo.settings import DemoSettings
from demo.supervisor import Child, children, redis_url
from twotower.events import Interaction
from twotower.history import read_recent

K = 100
CHAIN, ENCODE = "chain", "chain /encode_buyer"
# the same services behind a gateway that logs no events
UNLOGGED, UNLOGGED_ENCODE = "chain without a log", "chain /encode_buyer without a log"
# and behind one that answers by an experiment: two arms of the same version
EXPERIMENT = "chain with an experiment"
PLAIN, TUNED, TUNED_2 = "plain monolith", "tuned monolith", "tuned, 2 workers"
# name -> kind and number of workers
MONOLITHS = {PLAIN: ("plain", 1), TUNED: ("tuned", 1), TUNED_2: ("tuned", 2)}
_EXPERIMENT = """\
experiments:
  - name: speed
    arms: [{name: control, share: 0.5}, {name: same, share: 0.5}]
"""


class System(NamedTuple):
    """A running system: its port, the requests to send to it, and its processes (name -> pid)."""

    port: int
    requests: list[str]
    processes: dict[str, int]


def add_market_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--products", type=int, default=5000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--buyers", type=int, default=2000)
    parser.add_argument("--history", type=int, default=50, help="interactions per buyer")
    parser.add_argument("--index", default="Flat", help="a description for faiss.index_factory: Flat, HNSW32, ...")
    parser.add_argument("--neighbours", type=int, default=100, help="entries a product in the table of neighbours")
    parser.add_argument("--folder", type=Path, default=Path(".demo/bench"), help="for the market and the logs")


def market_size(options: argparse.Namespace) -> market.Size:
    """The size that the options of `add_market_arguments` ask for."""
    return market.Size(
        options.products, options.dimension, options.buyers, options.history, options.index, options.neighbours
    )


def settings_with_free_ports(folder: Path) -> DemoSettings:
    """Settings of the demo's processes, on free ports. Makes the folder for their logs."""
    names = ("gateway", "item", "buyer", "retrieval", "redis", "explorer")
    ports: dict[str, Any] = {f"{name}_port": free_port() for name in names}
    settings = DemoSettings(folder=folder, **ports)
    settings.logs.mkdir(parents=True, exist_ok=True)
    return settings


def start(
    options: argparse.Namespace, stack: ExitStack, monoliths: Sequence[str] = tuple(MONOLITHS)
) -> dict[str, System]:
    """Starts the chain and the named monoliths, and writes the histories of all buyers to Redis.

    The exit of `stack` stops them. CHAIN and ENCODE are the same processes, with different requests; UNLOGGED and
    UNLOGGED_ENCODE have a gateway of their own, and so has EXPERIMENT.
    """
    settings = settings_with_free_ports(options.folder)
    size = market_size(options)
    print(f"synthetic market {size.name}", flush=True)
    version = market.make(settings.artifacts, size)
    processes = stack.enter_context(_running_chain(settings))
    experiments = settings.folder / "experiments.yaml"
    experiments.write_text(_EXPERIMENT)
    named = {"TWOTOWER_GATEWAY_EXPERIMENTS_FILE": str(experiments.resolve())}
    unlogged = stack.enter_context(_running_gateway(settings, "unlogged", {"TWOTOWER_GATEWAY_EVENT_LOG": "false"}))
    experimenting = stack.enter_context(_running_gateway(settings, "experiment", named))
    _warm(settings)
    histories = dict(read_recent(version.layout.recent))
    asyncio.run(write_histories(redis_url(settings), histories))
    retrieves = [get(f"/retrieve?buyer_id={buyer}&k={K}") for buyer in histories]
    encodes = [post("/encode_buyer", _encode_body(*pair)) for pair in list(histories.items())[:500]]
    systems = {
        CHAIN: System(settings.gateway_port, retrieves, processes),
        ENCODE: System(settings.gateway_port, encodes, processes),
        UNLOGGED: System(unlogged[0], retrieves, {**processes, "gateway": unlogged[1]}),
        UNLOGGED_ENCODE: System(unlogged[0], encodes, {**processes, "gateway": unlogged[1]}),
        EXPERIMENT: System(experimenting[0], retrieves, {**processes, "gateway": experimenting[1]}),
    }
    for name in monoliths:
        port, pid = stack.enter_context(_running_monolith(*MONOLITHS[name], settings))
        systems[name] = System(port, retrieves, {"monolith": pid, "redis": processes["redis"]})
    return systems


@contextmanager
def _running_chain(settings: DemoSettings) -> Iterator[dict[str, int]]:
    """Runs Redis, two services and the gateway; yields their process ids by name as soon as they are ready."""
    with running([child for child in children(settings) if child.name != "item"], settings.logs) as pids:
        # the item service is the one that is missing
        wait_for_answer(settings.gateway_port, "/readyz", lambda answer: len(answer["degraded"]) == 1)
        yield pids


@contextmanager
def _running_gateway(settings: DemoSettings, name: str, environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Runs a further gateway on the same services, with other settings; yields its port and process id."""
    changed = settings.model_copy(update={"gateway_port": free_port()})
    (found,) = [one for one in children(changed) if one.name == "gateway"]
    child = Child(f"gateway-{name}", found.command, {**found.environ, **environ}, found.port)
    with running([child], settings.logs) as pids:
        wait_for_answer(child.port, "/readyz", lambda answer: len(answer["degraded"]) == 1)
        yield child.port, pids[child.name]


@contextmanager
def _running_monolith(kind: str, workers: int, settings: DemoSettings) -> Iterator[tuple[int, int]]:
    """Runs a monolith; yields its port and process id as soon as it answers."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.monolith", kind, "--port", str(port), "--workers", str(workers)]
    command += ["--artifacts", str(settings.artifacts), "--redis", redis_url(settings)]
    with (settings.logs / f"{kind}-{workers}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for_answer(port, f"/retrieve?buyer_id={market.buyer_id(0)}&k=1", lambda answer: True)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _warm(settings: DemoSettings) -> None:
    command = [sys.executable, "-m", "gateway.warm", "--artifacts", str(settings.artifacts)]
    subprocess.run([*command, "--redis", redis_url(settings)], check=True)


def _encode_body(buyer: str, history: Sequence[Interaction]) -> str:
    rows = [
        {"product_id": one.product_id, "event_type": one.event_type, "timestamp": str(one.timestamp_ms)}
        for one in history
    ]
    return json.dumps({"buyer_id": buyer, "recent_interactions": rows})
