"""Writes requirements/: the exact files of every image, with their hashes. `make lock` runs it after a change of pins.

The versions are those of requirements.txt. torch is left out: its wheels differ from index to index (CUDA, CPU), so no
list of hashes fits all. What its CUDA build needs is a list of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("item", "buyer", "retrieval", "gateway", "recorder", "explorer")
EXTRAS = (*SERVICES, "s3", "trainer", "tracing", "milvus", "kafka")
# tools of the build: the one that generates the gRPC code, and the one that lists what an image holds
TOOLS = {"protos": "grpcio-tools", "sbom": "cyclonedx-bom"}
CUDA = re.compile("nvidia-|cuda-|triton==")
HEADER = "# Written by `make lock`: what the image builds install, with the hashes of all its files.\n"


def main() -> int:
    folder = ROOT / "requirements"
    folder.mkdir(exist_ok=True)
    for extra in EXTRAS:
        entries = resolve(["pyproject.toml", "--extra", extra])
        cuda = [entry for entry in entries if CUDA.match(entry)]
        write(folder / f"{extra}.txt", [entry for entry in entries if entry not in cuda])
        if cuda:
            write(folder / "cuda.txt", cuda)
    for name, tool in TOOLS.items():
        write(folder / f"{name}.txt", resolve(["-"], tool))
    return 0


def resolve(source: list[str], given: str = "") -> list[str]:
    """The entries of one list, each a pin with its hashes as pip reads them. `given`: standard input."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "lock.txt"
        options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--constraint", "requirements.txt"]
        quiet = ["--quiet", "--no-header", "--no-annotate", "--no-emit-package", "torch", "--output-file", str(out)]
        command = [sys.executable, "-m", "uv", "pip", "compile", *source, *options, *quiet]
        subprocess.run(command, cwd=ROOT, input=given, text=True, check=True)
        return re.findall(r"^[^\s#].*(?:\n {4}--hash=.*)*", out.read_text(encoding="utf-8"), re.MULTILINE)


def write(path: Path, entries: list[str]) -> None:
    path.write_text(HEADER + "\n".join(entries) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
