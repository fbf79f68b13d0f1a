"""Certificates for tests, in folders as `twotower.serving.tls` reads them."""

from __future__ import annotations

from pathlib import Path

import trustme


def write_identity(folder: Path, signer: trustme.CA, *names: str, trusted: trustme.CA | None = None) -> Path:
    """Writes a new certificate for these names; `trusted` signs those of the other side (by default `signer`)."""
    issued = signer.issue_cert(*(names or ("localhost", "127.0.0.1")))
    folder.mkdir(exist_ok=True)
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(issued.private_key_pem.bytes())
    (trusted or signer).cert_pem.write_to_path(str(folder / "ca.crt"))
    return folder
