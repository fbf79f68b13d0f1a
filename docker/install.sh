#!/bin/sh
# install.sh EXTRA: installs the libraries of one extra into /opt/venv, at the versions of requirements.txt.
# TORCH_INDEX_URL, if set, is the package index for torch alone.
set -eu
venv=/opt/venv
python -m venv --without-pip "$venv"
pip="python -m pip --python $venv/bin/python --disable-pip-version-check"
python docker/dependencies.py "$1" >/tmp/needs.txt
if [ -n "${TORCH_INDEX_URL:-}" ]; then
  # the next command installs torch's dependencies, from the usual index
  $pip install --no-compile --no-deps --index-url "$TORCH_INDEX_URL" --constraint requirements.txt torch
fi
$pip install --no-compile --constraint requirements.txt --requirement /tmp/needs.txt
$pip check
if [ "$1" != trainer ]; then
  # a service never opens tests, stubs and headers of libraries
  find "$venv" -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
  find "$venv" -name '*.pyi' -delete
  # nor the parts of ONNX Runtime that make and change graphs
  for part in quantization tools transformers; do
    rm -rf "$venv"/lib/python*/site-packages/onnxruntime/"$part"
  done
fi
# services run on a read-only file system and cannot write bytecode, so it is compiled here; `|| true`: a few files of
# torch need a later Python and do not compile
find "$venv" -type d -name __pycache__ -prune -exec rm -rf {} +
"$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$venv/lib" >/dev/null || true
"$venv/bin/python" -c 'import grpc, numpy, pydantic'
