from __future__ import annotations

import errno

import pytest

from crowdcompute.node.exits import CommandError, Exit, speaking
from crowdcompute.protocol.errors import BundleError, LocalProtocolError, ModuleRefused, RemoteProtocolError


class NoPower(Exception):
    exit_code = 3


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (CommandError("it is late"), Exit.FAILED, "it is late"),
        (CommandError("say it otherwise", Exit.USAGE), Exit.USAGE, "say it otherwise"),
        (NoPower("plug it in"), Exit.NOT_READY, "plug it in"),
        (BundleError("altered"), Exit.REFUSED, "altered"),
        (ModuleRefused("imports"), Exit.REFUSED, "imports"),
        (RemoteProtocolError("odd"), Exit.REFUSED, "odd"),
        (LocalProtocolError("too many"), Exit.USAGE, "too many"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), Exit.UNREACHABLE, "refused"),
        (TimeoutError("no answer in 5 s"), Exit.TIMEOUT, "no answer in 5 s"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.ccb"), Exit.FAILED, "x.ccb: No such file"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out"),
            Exit.FAILED,
            "out cannot be written, because the disk is",
        ),
    ],
)
def test_what_a_user_can_cause_becomes_a_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended, speaking("cc-test"):
        raise error
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("cc-test: ")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_our_own_bugs_stay_visible() -> None:
    with pytest.raises(ZeroDivisionError), speaking("cc-test"):
        raise ZeroDivisionError


def test_ctrl_c_ends_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, speaking("cc-test"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == ""
