"""Each service starts in an environment with its own extra and no other library."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT, is_log, process
from tests.helpers.services import cache_of, serving

# no service may have the first; NEEDS are the libraries that only some services have
TRAINING = ["torch", "sentence_transformers", "transformers", "polars", "onnx", "scipy", "sklearn", "safetensors"]
NEEDS = {
    "item": ["onnxruntime", "tokenizers"],
    "buyer": ["onnxruntime", "orjson", "redis"],
    "retrieval": ["faiss", "onnxruntime", "orjson", "redis"],
    "gateway": ["fastapi", "redis", "uvicorn", "orjson", "httptools"],
    "recorder": ["orjson", "pyarrow", "redis"],
}


PROBE = "import importlib.util, json, sys; print(json.dumps([m for m in sys.argv[1:] if importlib.util.find_spec(m)]))"


def build_environment(service: str) -> Path:
    """The Python of a virtual environment with only the service's extra. Built again when the pins change."""
    locked = f"requirements/{service}.txt"
    pins = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", locked))
    digest = hashlib.sha256(pins + sys.version.encode()).hexdigest()[:16]
    folder = ROOT / ".venvs" / f"{service}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    python, whole = folder / "bin" / "python", folder / "whole"
    with (folder.parent / f"{service}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
            pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", "--no-deps"]
            # as the image build does it
            subprocess.run([*pip, "--require-hashes", "-r", locked], check=True, cwd=ROOT)
            subprocess.run([*pip, "-e", "."], check=True, cwd=ROOT)
            whole.touch()
    return python


def importable(python: Path, names: list[str]) -> list[str]:
    answer = subprocess.run([python, "-c", PROBE, *names], check=True, capture_output=True, cwd=ROOT)
    found: list[str] = json.loads(answer.stdout)
    return found


def check_libraries(service: str, python: Path) -> None:
    every = sorted({name for names in NEEDS.values() for name in names})
    assert importable(python, [*TRAINING, *every]) == [name for name in every if name in NEEDS[service]]


@pytest.mark.parametrize("service", ["item", "buyer", "retrieval"])
async def test_a_service_serves_with_its_own_extra_alone(tiny: Path, service: str) -> None:
    python = await asyncio.to_thread(build_environment, service)
    check_libraries(service, python)
    environ = {"TWOTOWER_ARTIFACTS": str(tiny), "TWOTOWER_CACHE": str(cache_of(tiny))}
    with process("-m", f"{service}_service", environ=environ, python=str(python)) as started:
        line = await asyncio.to_thread(started.wait_for, lambda line: is_log(line, "listening"))
        await serving(f"127.0.0.1:{json.loads(line)['port']}")


def test_the_gateway_is_importable_with_its_own_extra_alone() -> None:
    check_import("gateway", "gateway.app")


def test_the_recorder_is_importable_with_its_own_extra_alone() -> None:
    check_import("recorder", "recorder.__main__")


def check_import(service: str, module: str) -> None:
    python = build_environment(service)
    check_libraries(service, python)
    code = f"import {module}, sys; print(sorted({{'faiss', 'onnxruntime', 'torch'}} & set(sys.modules)))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]"), answer.stderr
