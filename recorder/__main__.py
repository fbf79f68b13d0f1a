"""`python -m recorder`: drains the event log into Parquet files until SIGTERM."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from threading import Event

from recorder import metrics
from recorder.catalogue import CatalogueCopy
from recorder.drain import Recorder
from recorder.files import LogFolder
from recorder.kafka_source import connect_kafka
from recorder.settings import RecorderSettings
from recorder.source import RedisStream, Source, connect_redis
from recorder.trending import TrendingCount, Windows
from twotower.errors import SettingsError, Unavailable
from twotower.serving import telemetry
from twotower.serving.command_line import check_arguments
from twotower.serving.settings import read_settings

log = logging.getLogger("recorder")


def main() -> int:
    """Returns 0 after SIGTERM or SIGINT, 1 if it cannot begin to write, 2 for a wrong setting."""
    try:
        settings = read_settings(RecorderSettings, "recorder")
        redis = connect_redis(settings.redis_url, settings.redis_timeout_seconds)
        source = open_source(settings, redis)
    except SettingsError as error:
        return _print_problem(error, 2)
    telemetry.configure_logging("recorder", settings.log_level)
    # what names buyers is for its owner alone
    os.umask(0o077)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = LogFolder(settings.layout.log)
    try:
        with folder.held():
            # read when it is asked for
            metrics.DISK_FREE.set_function(lambda: shutil.disk_usage(folder.root).free)
            port = telemetry.MetricsServer(settings.host, settings.metrics_port).port
            log.info("recording", extra={"folder": str(folder.root), "metrics_port": port})
            catalogue = CatalogueCopy(redis.connected, folder.root)
            windows = Windows(int(settings.trending_hours * 3_600_000), settings.trending_past)
            trending = TrendingCount(redis.connected, folder.root, windows)
            Recorder(source, folder, settings, catalogue=catalogue, trending=trending).run(stop)
    except (Unavailable, OSError) as error:
        return _print_problem(error, 1)
    log.info("stopped")
    return 0


def open_source(settings: RecorderSettings, redis: RedisStream) -> Source:
    """The log in Kafka, if its address is set, else the stream in Redis."""
    if not settings.kafka:
        return redis
    return connect_kafka(settings)


def _print_problem(problem: object, code: int) -> int:
    print(f"recorder: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    check_arguments("recorder", "recorder", RecorderSettings, sys.argv[1:])
    sys.exit(main())
