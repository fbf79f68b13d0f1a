"""A local S3 server (moto), and a gate in front of it that stops a chosen request."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

SECRET = "a-secret-of-this-test"


class S3:
    """A running server with an empty bucket `shop`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.client.create_bucket(Bucket="shop")

    def environ(self, url: str = "") -> dict[str, str]:
        """What a process needs to use this server, or the gate at `url`."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": "key-of-this-test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def clear(self) -> None:
        for one in self.client.list_objects_v2(Bucket="shop").get("Contents", []):
            self.delete(one["Key"])

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket="shop", Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="shop", Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket="shop", Key=key)


@contextmanager
def s3_server() -> Iterator[S3]:
    # a line for each of hundreds of requests tells a reader of a failed test nothing
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()


class Gate:
    """Passes requests on to the server until `is_held(method, path)` is true: that one waits, for ever.

    `held` is set when a request waits. The server never sees it.
    """

    def __init__(self, target: str, is_held: Callable[[str, str], bool]) -> None:
        self.held = threading.Event()
        self.opened = threading.Event()
        gate, address = self, target.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # an answer is two writes; the second would wait for the first's acknowledgement
            disable_nagle_algorithm = True

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if is_held(self.command, self.path):
                    gate.held.set()
                    gate.opened.wait()
                    self.close_connection = True
                    return
                connection = http.client.HTTPConnection(address, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Gate]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.opened.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
