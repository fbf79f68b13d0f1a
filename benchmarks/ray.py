"""What a Ray cluster of two workers on this machine gives: training, and reading. Prints one line of JSON.

python -m benchmarks.ray
"""

from __future__ import annotations

import argparse
import json
import logging
from importlib import import_module
from importlib.util import find_spec

from benchmarks.ray_training import Size, measure_training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in Size()._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    found = {"training": measure_training(Size(**vars(options)))}
    if find_spec("benchmarks.ray_data"):
        found["reading"] = import_module("benchmarks.ray_data").measure_reading()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
