"""Prints what pyproject.toml requires for one extra: `dependencies.py gateway`. Only the image build calls it.

With it an image installs its libraries before any code is copied: a change of the code does not install them again.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
print(*project["dependencies"], *project["optional-dependencies"][sys.argv[1]], sep="\n")
