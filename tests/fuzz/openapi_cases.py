"""Requests made from the gateway's own OpenAPI document by schemathesis: valid ones, and such that break it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.chaos.system import System
from tests.fuzz.fuzzing import Findings, Probe
from tests.fuzz.http_client import HANG_SECONDS

_HONEST = (503, 504)


async def fuzz_openapi(system: System, findings: Findings, count: int, number: int) -> None:
    """Sends at most `count` requests, as many to each route, half of them valid; `number` seeds them.

    An answer must be one that the document describes.
    """
    document = schemathesis.openapi.from_url(f"{system.urls[0]}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    probe, share = Probe(system), count // (2 * len(operations))
    with requests.Session() as session:
        session.trust_env = False
        for operation in operations:
            for mode in GenerationMode:
                await asyncio.to_thread(_fuzz, operation, mode, session, findings, share, number)
            await probe.check(findings, f"requests to {operation.label}")


def _fuzz(
    operation: APIOperation,
    mode: GenerationMode,
    session: requests.Session,
    findings: Findings,
    count: int,
    number: int,
) -> None:
    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        try:
            response = case.call(session=session, timeout=HANG_SECONDS)
        except requests.RequestException as error:
            findings.add(type(error).__name__, f"no answer to {operation.label}: {error!r}")
            return
        problem = ""
        if response.status_code not in _HONEST:
            try:
                checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
                case.validate_response(response, checks=checks)
            except FailureGroup as error:
                problem = f"{operation.label}: {case.as_curl_command()}: {error}"
        findings.add(response.status_code, problem)

    # a request without parameters cannot break the document
    with suppress(Unsatisfiable):
        send()
