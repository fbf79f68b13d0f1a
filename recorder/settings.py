"""The recorder's settings, read once at the start from TWOTOWER_RECORDER_*."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from twotower.artifact.layout import Layout
from twotower.live.redis_client import PATTERN, check_redis_url
from twotower.serving.kafka import KafkaSettings


class RecorderSettings(KafkaSettings):
    """All settings of the recorder."""

    artifacts: Path = Field(Path("artifacts"), description="artifact folder; the log lies in its folder private")
    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://127.0.0.1:6379/0",
        pattern=f"^{PATTERN}",
        description="URL of the gateway's Redis: redis://, redis+sentinel://, redis+cluster:// (rediss: TLS) or unix://",
    )
    redis_timeout_seconds: float = Field(5.0, gt=0, description="timeout of connecting and of one command")
    host: str = Field("127.0.0.1", description="address of the metrics")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port; 0 takes a free one")
    flush_seconds: float = Field(30.0, gt=0, description="longest time between reading an entry and its file")
    flush_mb: int = Field(16, ge=1, le=1024, description="size of the entries that are written at the latest, MiB")
    retry_seconds: float = Field(2.0, gt=0, description="time between attempts while Redis or the disk fails")
    compact_seconds: float = Field(
        3600.0, gt=0, description="time between two looks for forgotten buyers and for days to make one file of"
    )
    catalogue_seconds: float = Field(30.0, gt=0, description="time between two looks for changes of the live catalogue")
    trending_seconds: float = Field(60.0, gt=0, description="time between two counts of what is rising, for /trending")
    trending_hours: float = Field(
        24.0, ge=1, le=2400, description="length of the window whose buyers are compared with those before it"
    )
    trending_past: int = Field(28, ge=1, le=1000, description="windows before it that count, at most")
    ready_file: Path | None = Field(None, description="exists while the log is being written")

    @property
    def layout(self) -> Layout:
        return Layout(self.artifacts)
