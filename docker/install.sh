#!/bin/sh
# install.sh EXTRA: installs the libraries of one extra into /opt/venv: the files of requirements/EXTRA.txt, by their
# hashes. The one file without a hash is torch's wheel, which differs from index to index (CUDA, CPU): its version is
# that of requirements.txt, and TORCH_INDEX_URL, if set, is its index.
set -eu
venv=/opt/venv
python -m venv --without-pip "$venv"
pip="python -m pip --python $venv/bin/python --disable-pip-version-check"
locked="$pip install --no-compile --no-deps --require-hashes"
if [ "$1" = trainer ]; then
  $pip install --no-compile --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} --constraint requirements.txt torch
  # only its CUDA build needs these
  needs_cuda='import importlib.metadata as m, sys; sys.exit(not any("nvidia" in one for one in m.requires("torch") or ()))'
  if "$venv/bin/python" -c "$needs_cuda"; then
    $locked --requirement requirements/cuda.txt
  fi
fi
$locked --requirement "requirements/$1.txt"
if [ "${TRACING:-}" = true ]; then
  $locked --requirement requirements/tracing.txt
fi
if [ "${MILVUS:-}" = true ]; then
  $locked --requirement requirements/milvus.txt
fi
if [ "${KAFKA:-}" = true ]; then
  $locked --requirement requirements/kafka.txt
fi
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
# `make sbom` copies the list out of the image
/opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /tmp/libraries.json "$venv/bin/python"
python docker/sbom.py /tmp/libraries.json "$venv/sbom.cdx.json"
