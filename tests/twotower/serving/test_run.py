"""The services' entry point: thread limits before any numeric library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from twotower.serving.run import limit_numeric_threads


def test_limiting_threads_respects_what_the_operator_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    limit_numeric_threads(2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "2"


@pytest.mark.parametrize("service", ["item", "buyer", "retrieval"])
def test_an_entry_point_imports_no_numeric_library_before_the_thread_limits_are_set(service: str) -> None:
    code = f"import sys, {service}_service.__main__; print(*{{'numpy', 'faiss', 'onnxruntime'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
