"""Lists what an image holds, as CycloneDX: `sbom.py LIBRARIES OUT` adds the packages of its Debian to its libraries.

LIBRARIES is what cyclonedx-bom says of the environment. The base image's packages are not ours, but they run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

FIELDS = "${binary:Package}\\t${Version}\\t${Architecture}\\n"


def main(libraries: str, out: str) -> int:
    document = json.loads(Path(libraries).read_text(encoding="utf-8"))
    installed = subprocess.run(["dpkg-query", "--show", f"--showformat={FIELDS}"], check=True, capture_output=True)
    document["components"] = [*document.get("components", ()), *debian_components(installed.stdout.decode())]
    Path(out).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def debian_components(listed: str) -> Iterator[dict[str, str]]:
    """The components for the lines of dpkg-query: package, version, architecture."""
    for line in listed.splitlines():
        name, version, architecture = line.split("\t")
        package = name.partition(":")[0]
        purl = f"pkg:deb/debian/{quote(package)}@{quote(version)}?arch={architecture}"
        yield {"type": "library", "name": package, "version": version, "purl": purl, "bom-ref": purl}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
