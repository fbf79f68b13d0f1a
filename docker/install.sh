#!/bin/sh
# install.sh EXTRA: the libraries of one extra into /opt/venv, at the versions that requirements.txt names.
# TORCH_INDEX_URL, where set, is where pip looks for torch, and for torch alone.
set -eu
venv=/opt/venv
python -m venv --without-pip "$venv"
pip="python -m pip --python $venv/bin/python --disable-pip-version-check"
python docker/dependencies.py "$1" >/tmp/needs.txt
if [ -n "${TORCH_INDEX_URL:-}" ]; then
  # its own dependencies come with the rest, from the usual index
  $pip install --no-compile --no-deps --index-url "$TORCH_INDEX_URL" --constraint requirements.txt torch
fi
$pip install --no-compile --constraint requirements.txt --requirement /tmp/needs.txt
$pip check
if [ "$1" != trainer ]; then
  # tests, stubs and headers of libraries: a service never opens them
  find "$venv" -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
  find "$venv" -name '*.pyi' -delete
fi
# the root file system is read-only when they run, so bytecode is made here, of sources that never change; a few files
# of torch are written for later versions of Python and stay as they are
find "$venv" -type d -name __pycache__ -prune -exec rm -rf {} +
"$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$venv/lib" >/dev/null || true
"$venv/bin/python" -c 'import grpc, numpy, pydantic'
