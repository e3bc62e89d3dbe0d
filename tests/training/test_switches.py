from __future__ import annotations

import os
import signal
import threading

import pytest

from mmvae.training.switches import Interrupts, environment


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_until_it_is_granted():
    with Interrupts() as interrupts:
        interrupts.grant()
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            interrupts.grant()
        interrupts.grant()  # granted once
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    with Interrupts():
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_a_handler_of_the_program_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with Interrupts() as interrupts:
            press_ctrl_c()
            interrupts.grant()
    finally:
        signal.signal(signal.SIGINT, before)
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
