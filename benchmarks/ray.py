"""What training on a Ray cluster of two workers on this machine gives. Prints one line of JSON.

python -m benchmarks.ray
"""

from __future__ import annotations

import argparse
import json
import logging

from benchmarks.ray_training import Size, measure_training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in Size()._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    print(json.dumps({"training": measure_training(Size(**vars(options)))}))


if __name__ == "__main__":
    main()
