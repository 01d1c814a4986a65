"""What a process of several prints when another one is gone: the lines that JAX 0.10 writes become one."""

import subprocess
import sys

import pytest

from conftest import ROOT

RULE = "All processes must last."
HEARTBEAT = """\
E1127 18:49:12.890379   31304 coordination_service.cc:1520] [3038269533728613187] Shutdown barrier has failed:
INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 heartbeat timeout. This indicates that the
E1127 18:49:12.890584   31315 coordination_service_agent.cc:289] Polled an error from coordination service (this can be
F1127 18:49:12.890704   31315 client.h:80] The JAX distributed service detected fatal errors.
1
RPC: /xla.coordination.CoordinationService/PollForError [type.googleapis.com/tensorflow.CoordinationServiceError='']
*** Check failure stack trace: ***
    @     0x7f12c1c40634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
"""
LEADER = """\
E1127 18:49:28.051609   31857 coordination_service_agent.cc:289] Polled an error from coordination service (this can be
F1127 18:49:28.051643   31857 client.h:80] The JAX distributed service detected fatal errors.
:UNKNOWN:Error received from peer  {grpc_status:14, grpc_message:"Socket closed"}
"""
OWN = "error: All processes must last. Received: process 1 of 2 lost another one: Gloo\n"
OTHER = "F1127 18:49:28.051643   31857 gpu.cc:80] Check failed: out of memory\n    @     0x7f12  absl::SendToLog()\n"


def passed_on(text: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from apps import process_errors as e; e.pass_on({RULE!r})"
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a warning\n{HEARTBEAT}", f"a warning\nerror: {RULE} Received: process 1 sent no heartbeat\n"),
        (LEADER, f"error: {RULE} Received: process 0 cannot be reached\n"),
        (LEADER + OWN, OWN),
        (OWN + HEARTBEAT, OWN),
        (LEADER.splitlines(keepends=True)[0] + "later\n", LEADER.splitlines(keepends=True)[0] + "later\n"),
        (OTHER, OTHER),
        (
            "W1127 18:49:28 1 cpu.cc:3] slow\nlast, without an end",
            "W1127 18:49:28 1 cpu.cc:3] slow\nlast, without an end",
        ),
    ],
)
def test_one_line_reports_that_another_process_is_gone(text, expected):
    assert passed_on(text) == expected
