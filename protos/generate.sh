#!/bin/sh
# The one command that generates the gRPC code: the Makefile, the Dockerfile and CI all call it.
# The mapping twotower/pb=protos makes protoc write absolute imports below twotower/pb/.
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m grpc_tools.protoc -Itwotower/pb=protos \
  --python_out=. --pyi_out=. --grpc_python_out=. protos/*.proto
