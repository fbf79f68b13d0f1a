"""`make fuzz`: thousands of hostile requests; and the few hundred of them that `make test` sends."""

from __future__ import annotations

import pytest

from tests.chaos.system import System
from tests.fuzz.conftest import SUMMARY
from tests.fuzz.fuzzing import Findings, fuzz_grpc, fuzz_http, fuzz_ports

# a gateway that has more resident than this holds what nobody asks for any more
_MEMORY_MB = 400


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
async def test_no_request_breaks_anything(fuzzed: System, request: pytest.FixtureRequest) -> None:
    from tests.fuzz.openapi_cases import fuzz_openapi

    count, seed = request.config.getoption("--fuzz-requests"), request.config.getoption("--fuzz-seed")
    findings = {name: Findings() for name in ("openapi", "grpc", "ports", "http")}
    await fuzz_openapi(fuzzed, findings["openapi"], count * 3 // 10, seed)
    await fuzz_grpc(fuzzed, findings["grpc"], count * 3 // 10, seed)
    await fuzz_ports(fuzzed, findings["ports"], count // 20, seed)
    sent = sum(one.requests for one in findings.values())
    await fuzz_http(fuzzed, findings["http"], count - sent, seed)
    request.config.stash[SUMMARY] = {
        "seed": seed,
        "requests": sum(one.requests for one in findings.values()),
        "outcomes": {name: dict(one.outcomes.most_common()) for name, one in findings.items()},
        "problems": [problem for one in findings.values() for problem in one.problems],
        "tracebacks": fuzzed.tracebacks(),
        "died": fuzzed.died(),
        "memory_mb": {name: node.memory_mb() for name, node in fuzzed.nodes.items() if node.is_running()},
    }
    check(fuzzed, *findings.values())


async def test_a_few_hundred_hostile_requests_break_nothing(fuzzed: System) -> None:
    findings = Findings()
    await fuzz_grpc(fuzzed, findings, 160, seed=0)
    await fuzz_ports(fuzzed, findings, 48, seed=0)
    await fuzz_http(fuzzed, findings, 240, seed=0)
    assert findings.requests == 448
    # requests that are refused as well as some that are answered
    assert findings.outcomes["200"] and findings.outcomes["OK"] and findings.outcomes["400"] > 20
    check(fuzzed, findings)


def check(system: System, *findings: Findings) -> None:
    """No broken answer, no hang, no other answer to an ordinary request, no traceback, no end, no heap of memory."""
    assert [problem for one in findings for problem in one.problems] == []
    assert system.tracebacks() == []
    assert system.died() == []
    assert system.nodes["gateway-0"].memory_mb() < _MEMORY_MB
