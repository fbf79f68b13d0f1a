"""Requests that are no valid message: INVALID_ARGUMENT, where gRPC answers UNKNOWN and logs a traceback."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

# stands for a request that cannot be decoded
UNDECODABLE = object()


class CheckedServer:
    """Registers services as the generated `add_..._to_server` functions ask, and refuses undecodable requests.

    A decoder must not raise: gRPC would answer with the exception's class and text. It returns `UNDECODABLE`, and the
    call is refused before its handler sees that. A handler that reads a stream with `context.read()` gets it, and
    calls `refuse` itself.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Does nothing: generated code registers the same handlers once more by their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        checked = {name: _checked(handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, checked)


async def refuse(context: Any) -> None:
    """Ends the call with INVALID_ARGUMENT."""
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a valid message of this method")


def _checked(handler: Any) -> Any:
    handler = handler._replace(request_deserializer=_decoder(handler.request_deserializer))
    if handler.unary_unary:
        return handler._replace(unary_unary=_of_message(handler.unary_unary))
    if handler.unary_stream:
        return handler._replace(unary_stream=_of_message(handler.unary_stream))
    if handler.stream_stream and inspect.isasyncgenfunction(handler.stream_stream):
        return handler._replace(stream_stream=_of_iterator(handler.stream_stream))
    return handler


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def checked(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return UNDECODABLE

    return checked


def _of_message(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def checked(request: Any, context: Any) -> Any:
        if request is UNDECODABLE:
            await refuse(context)
        return await behaviour(request, context)

    return checked


def _of_iterator(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def decoded(requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request is UNDECODABLE:
                await refuse(context)
            yield request

    async def checked(requests: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in behaviour(decoded(requests, context), context):
            yield answer

    return checked
