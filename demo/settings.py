"""Settings of the demo, read from TWOTOWER_DEMO_*."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from twotower.serving.settings import Host, ProcessSettings, host_port


class DemoSettings(ProcessSettings):
    """Folder, addresses and sizes of the demo."""

    folder: Path = Field(Path(".demo"), description="everything the demo writes")
    host: Host = Field("127.0.0.1", description="address that all processes listen on")
    gateway_port: int = Field(8000, ge=1, le=65535)
    explorer_port: int = Field(8001, ge=1, le=65535)
    item_port: int = Field(50051, ge=1, le=65535)
    buyer_port: int = Field(50052, ge=1, le=65535)
    retrieval_port: int = Field(50053, ge=1, le=65535)
    redis_port: int = Field(
        6399, ge=1, le=65535, description="port of the demo's own Redis; unused if redis_url is set"
    )
    # not the REDIS_URL of the shell, which belongs to another system
    redis_url: str = Field(
        "",
        pattern=r"^$|^(rediss?([+](cluster|sentinel))?|unix)://",
        description="Redis to use instead of the demo's own",
    )
    redis_appendfsync: Literal["everysec", "always"] = Field(
        "everysec", description="when the demo's own Redis syncs its file to disk"
    )
    event_log: bool = Field(True, description="logs what buyers do and see; runs a recorder")
    live_catalogue: bool = Field(True, description="takes changes of products without a new version")
    products: int = Field(5000, ge=1)
    buyers: int = Field(5000, ge=1)
    events: int = Field(200_000, ge=1)
    seed: int = Field(7, ge=0)
    train_args: str = Field("", description="more options of `python -m trainer run`")
    ready_seconds: float = Field(60.0, gt=0, description="how long to wait until all processes are ready")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def control(self) -> str:
        """Path of the supervisor's control socket, in its shorter form: a socket's path has at most 107 bytes."""
        path = self.folder.resolve() / "control.sock"
        return min(str(path), os.path.relpath(path), key=len)

    @property
    def explorer_address(self) -> str:
        return f"http://{self.host}:{self.explorer_port}"

    @property
    def address(self) -> str:
        return f"http://{host_port(self.host, self.gateway_port)}"
