from __future__ import annotations

import os
import signal
import threading

import pytest

from mmvae.training.switches import Interrupts, environment

SIGNALS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]


@pytest.fixture(autouse=True)
def _usual_handlers():
    """Whatever the parent of the tests has set; a script that starts them in the background ignores Ctrl-C."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "error"), SIGNALS)
def test_a_signal_waits_until_it_is_granted(number, error):
    usual = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.grant()
        send(number)
        with pytest.raises(error) as info:
            interrupts.grant()
        interrupts.grant()  # granted once
    assert signal.getsignal(number) is usual
    if number == signal.SIGTERM:
        assert info.value.code == 143  # what a shell says of a process that was terminated


@pytest.mark.parametrize(("first", "_"), SIGNALS)
@pytest.mark.parametrize(("second", "error"), SIGNALS)
def test_a_second_signal_does_not_wait(first, _, second, error):
    with Interrupts():
        send(first)
        with pytest.raises(error):
            send(second)


def test_a_signal_that_came_too_late_is_sent_again():
    interrupts = Interrupts()
    interrupts.__enter__()
    send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.__exit__(None, None, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_handler_of_the_program_is_left_alone(number):
    seen = []
    signal.signal(number, lambda *_: seen.append(1))
    with Interrupts() as interrupts:
        send(number)
        interrupts.grant()
    assert seen == [1]


def test_other_threads_can_train():
    problems = []

    def work():
        try:
            with Interrupts() as interrupts:
                interrupts.grant()
        except ValueError as error:  # what signal.signal raises there
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert problems == []


def test_the_environment_is_given_back(monkeypatch):
    monkeypatch.setenv("MMVAE_TEST_KEPT", "before")
    with environment():
        os.environ["MMVAE_TEST_KEPT"] = "changed"
        os.environ["MMVAE_TEST_NEW"] = "new"
    assert os.environ["MMVAE_TEST_KEPT"] == "before"
    assert "MMVAE_TEST_NEW" not in os.environ
