"""TLS from files that may change while a process runs: certificates are renewed more often than services restart.

A folder holds `tls.crt` (the certificate and its chain), `tls.key` and, for mutual TLS, `ca.crt` (who signs the other
side's certificates): the names that Kubernetes and cert-manager give them.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import grpc
from pydantic import AfterValidator

from twotower.errors import SettingsError

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
# a replaced channel may end its calls: streams are left after two seconds, and no call takes longer than a minute
_LEAVE_SECONDS, _CLOSE_SECONDS = 5.0, 60.0


class Identity(NamedTuple):
    """What a process shows and whom it trusts, as PEM."""

    certificate: bytes
    key: bytes
    authorities: bytes


class TlsFiles:
    """The files of one folder, as of the last time when they were usable together."""

    def __init__(self, folder: Path) -> None:
        """Raises SettingsError, with the file and the reason, if the files cannot be used."""
        self._folder = folder
        self._stamp = stamp_of(folder)
        self.identity = read_identity(folder)

    def poll(self) -> bool:
        """Reads the files again if they have changed. Returns whether they are new.

        Files that do not fit one another leave the last ones in force, and are logged: three files are not replaced in
        one moment.
        """
        stamp = stamp_of(self._folder)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            identity = read_identity(self._folder)
        except SettingsError as error:
            log.error("the last good certificate stays in force: %s", error)
            return False
        if identity == self.identity:
            return False
        self.identity = identity
        log.info("new TLS certificate", extra={"folder": str(self._folder)})
        return True


def read_identity(folder: Path) -> Identity:
    """The content of the three files. Raises SettingsError if one is missing or if key and certificate do not fit."""
    check_pair(folder)
    _client_of(folder / "ca.crt")
    try:
        return Identity(*((folder / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")))
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}") from None


def client_context(folder: Path | None) -> ssl.SSLContext:
    """What a client trusts: `ca.crt` of the folder, or the system's authorities. Shows `tls.crt` if the folder has it.

    Raises SettingsError for files that cannot be used.
    """
    if folder is None:
        return ssl.create_default_context()
    context = _client_of(folder / "ca.crt")
    if (folder / "tls.crt").exists():
        check_pair(folder)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


def _client_of(authorities: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except ssl.SSLError:
        raise SettingsError(f"{authorities} is not a certificate in PEM form") from None
    except OSError as error:
        raise SettingsError(f"{authorities} cannot be read: {error.strerror}") from None


def check_pair(folder: Path) -> None:
    """Raises SettingsError if `tls.crt` and `tls.key` cannot be read or do not belong together."""
    for name in ("tls.crt", "tls.key"):
        try:
            (folder / name).read_bytes()
        except OSError as error:
            raise SettingsError(f"{folder / name} cannot be read: {error.strerror}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "tls.crt", folder / "tls.key")
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        raise SettingsError(f"{folder}: tls.crt and tls.key cannot be used together: {reason}") from None


def usable(check: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A validator of the setting of a folder: refuses the folder if `check` raises SettingsError."""

    def validate(folder: Path) -> Path:
        try:
            check(folder)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return folder

    return validate


# the setting of a folder for mutual TLS
MutualTls = Annotated[Path, AfterValidator(usable(read_identity))]


def stamp_of(folder: Path) -> tuple[object, ...]:
    """Inode, size and time of change of each file; a mounted secret changes by a link to another folder."""
    return tuple(_facts(folder / name) for name in ("tls.crt", "tls.key", "ca.crt"))


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def server_credentials(files: TlsFiles) -> Any:
    """Credentials of a server that asks every client for a certificate; gRPC asks for new files before a handshake."""

    def configuration() -> Any:
        one = files.identity
        return grpc.ssl_server_certificate_configuration([(one.key, one.certificate)], one.authorities)

    def fetch() -> Any:
        return configuration() if files.poll() else None

    return grpc.dynamic_ssl_server_credentials(configuration(), fetch, require_client_authentication=True)


class RenewedChannel:
    """A channel that is opened anew when its certificate changes: gRPC's own keeps the first one for ever.

    The new channel takes over once it is connected, so a certificate that the servers do not accept yet costs no call.
    Calls of the old one run to their end.
    """

    def __init__(self, files: TlsFiles, connect: Callable[[Any], Any]) -> None:
        """`connect` opens a channel with the credentials that it gets. Call it inside the running event loop."""
        self._files = files
        self._connect = connect
        self.current = self._open()
        self._leaving: set[asyncio.Task[None]] = set()
        self._following = asyncio.create_task(self._follow())

    def _open(self) -> Any:
        one = self._files.identity
        return self._connect(grpc.ssl_channel_credentials(one.authorities, one.key, one.certificate))

    async def _follow(self) -> None:
        waiting: Any = None
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if self._files.poll():
                if waiting is not None:
                    await waiting.close()
                waiting = self._open()
            if waiting is not None and waiting.get_state(try_to_connect=True) == grpc.ChannelConnectivity.READY:
                old, self.current, waiting = self.current, waiting, None
                task = asyncio.create_task(_leave(old))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    def unary_unary(self, *arguments: Any, **named: Any) -> _Method:
        return _Method(self, lambda one: one.unary_unary(*arguments, **named))

    def unary_stream(self, *arguments: Any, **named: Any) -> _Method:
        return _Method(self, lambda one: one.unary_stream(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> _Method:
        return _Method(self, lambda one: one.stream_stream(*arguments, **named))

    def get_state(self, try_to_connect: bool = False) -> Any:
        return self.current.get_state(try_to_connect)

    def channel_ready(self) -> Awaitable[None]:
        ready: Awaitable[None] = self.current.channel_ready()
        return ready

    async def close(self, grace: float | None = None) -> None:
        self._following.cancel()
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(self._following, *self._leaving, return_exceptions=True)
        await self.current.close(grace)

    async def __aenter__(self) -> RenewedChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Method:
    """A method of the channel of the moment; a stub keeps it for ever."""

    def __init__(self, channel: RenewedChannel, bind: Callable[[Any], Callable[..., Any]]) -> None:
        self._channel = channel
        self._bind = bind
        self._bound_to = channel.current
        self._call = bind(channel.current)

    def __call__(self, request: Any = None, timeout: float | None = None, metadata: Any = None) -> Any:
        if self._bound_to is not self._channel.current:
            self._bound_to = self._channel.current
            self._call = self._bind(self._bound_to)
        return self._call(request, timeout=timeout, metadata=metadata)


async def _leave(channel: Any) -> None:
    """Closes a replaced channel after its streams have been left."""
    try:
        await asyncio.sleep(_LEAVE_SECONDS)
    finally:
        await channel.close(_CLOSE_SECONDS)
