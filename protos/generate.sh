#!/bin/sh
# Generates the gRPC code. The Makefile and the Dockerfile call this script.
# The mapping twotower/pb=protos makes the generated modules import one another as twotower.pb.*.
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m grpc_tools.protoc -Itwotower/pb=protos \
  --python_out=. --pyi_out=. --grpc_python_out=. protos/*.proto
