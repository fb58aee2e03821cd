"""Progress, stopping, checkpoints, threads, the GIL, and who outlives whom."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FOLDER, SHORT, SMALL

import moeclip

CLIP = FOLDER / "clip.safetensors"
COLOURS = FOLDER / "pictures/colours"
ENDLESS: dict[str, Any] = {**SHORT, "iterations": 100_000_000}


def test_progress(model: moeclip.Model) -> None:
    seen: list[moeclip.Progress] = []
    moeclip.Learner(model, **SMALL).learn(COLOURS, name="hues", **SHORT, progress=seen.append)
    train = [now for now in seen if now.phase == "train"]
    assert [now.step for now in train] == sorted(now.step for now in train) and train[-1].step == train[-1].n_steps == 61
    assert {now.phase for now in seen} == {"selector", "train"} and {now.task for now in seen} == {"hues"}
    assert all(now.loss is not None and now.loss > 0 for now in train)


def test_an_exception_stops(model: moeclip.Model) -> None:
    def stop(now: moeclip.Progress) -> None:
        if now.phase == "train" and now.step == 5:
            raise LookupError("enough")

    learner = moeclip.Learner(model, **SMALL)
    with pytest.raises(LookupError, match="enough"):
        learner.learn(COLOURS, **ENDLESS, progress=stop)
    assert learner.tasks == []
    learner.learn(COLOURS, **SHORT)  # usable afterwards, and the lock is free
    with pytest.raises(LookupError):
        learner.evaluate(COLOURS, progress=lambda now: {"": now}["x"])
    assert learner.evaluate(COLOURS).n > 0


def test_no_use_from_a_callback(model: moeclip.Model) -> None:
    learner = moeclip.Learner(model, **SMALL)
    with pytest.raises(RuntimeError, match="at work already"):
        learner.learn(COLOURS, **SHORT, progress=lambda now: model.encode_text("x"))
    assert model.encode_text("x").shape == (1, 32)


@pytest.mark.parametrize("progress", [None, lambda now: None])
def test_ctrl_c(model: moeclip.Model, progress: Any) -> None:
    learner = moeclip.Learner(model, **SMALL)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        learner.learn(COLOURS, **ENDLESS, progress=progress)
    timer.join()
    assert learner.tasks == [] and model.encode_text("x").shape == (1, 32)


def test_checkpoint(model: moeclip.Model, tmp_path: Path) -> None:
    whole, parts = moeclip.Learner(model, **SMALL), moeclip.Learner(model, **SMALL)
    whole.learn(COLOURS, **SHORT)

    def stop(now: moeclip.Progress) -> None:
        if now.phase == "train" and now.step == 30:
            raise LookupError

    checkpoint = tmp_path / "part"
    with pytest.raises(LookupError):
        parts.learn(COLOURS, **SHORT, checkpoint=checkpoint, progress=stop)
    assert checkpoint.exists()
    assert parts.learn(COLOURS, **SHORT, checkpoint=checkpoint).resumed
    whole.save(tmp_path / "whole")
    parts.save(tmp_path / "parts")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


def longest_pause(work: Any) -> tuple[float, float]:
    """How long `work` took, and for how long a second Python thread stood still meanwhile at most."""
    stop, pauses = threading.Event(), [0.0]

    def tick() -> None:
        last = time.monotonic()
        while not stop.is_set():
            time.sleep(0.001)
            now = time.monotonic()
            pauses[0] = max(pauses[0], now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.monotonic()
    work()
    seconds = time.monotonic() - begin
    stop.set()
    thread.join()
    return seconds, pauses[0]


def test_the_gil_is_released(model: moeclip.Model) -> None:
    # One call into C, long enough to tell: the other thread must not wait for all of it.
    texts = ["a photo of a red."] * 1000
    for _ in range(8):
        seconds, pause = longest_pause(lambda: model.encode_text(texts))
        if seconds > 1:
            break
        texts *= 2
    assert seconds > 0.2 and pause < seconds / 2

    def learn() -> None:
        moeclip.Learner(model, **SMALL).learn(COLOURS, **{**SHORT, "iterations": 2000})

    seconds, pause = longest_pause(learn)
    assert pause < seconds / 2


def test_threads_take_turns(model: moeclip.Model, learner: moeclip.Learner) -> None:
    picture = next((COLOURS / "test/red").glob("*.png"))
    expected = model.encode_image(picture), model.encode_text("x"), learner.classify(picture)
    wrong: list[BaseException] = []

    def use() -> None:
        try:
            for _ in range(20):
                np.testing.assert_array_equal(model.encode_image(picture), expected[0])
                np.testing.assert_array_equal(model.encode_text("x"), expected[1])
                assert learner.classify(picture) == expected[2]
                assert len(learner.tasks) == 2
        except BaseException as error:
            wrong.append(error)

    def teach() -> None:
        try:
            moeclip.Learner(model, **SMALL).learn(COLOURS, **SHORT)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=target) for target in (use, use, teach, use)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_while_at_work() -> None:
    model = moeclip.Model(CLIP, threads=1)
    learner = moeclip.Learner(model, **SMALL)
    begun = threading.Event()
    reports: list[moeclip.LearnReport] = []
    thread = threading.Thread(target=lambda: reports.append(
        learner.learn(COLOURS, **{**SHORT, "iterations": 500}, progress=lambda now: begun.set())))
    thread.start()
    begun.wait()
    learner.close()
    model.close()
    thread.join()
    assert reports[0].iterations == 501


def test_forgotten_in_any_order() -> None:
    program = """
import gc, sys
import moeclip
for order in range(4):
    model = moeclip.Model(sys.argv[1], threads=1)
    learner = moeclip.Learner(model, n_experts=4, bottleneck=4)
    if order == 0:
        del model, learner
    elif order == 1:
        del learner, model
    elif order == 2:  # a ring, which the collector takes apart
        model.learner, learner.ring = learner, [model, learner]
        del model, learner
        gc.collect()
    else:
        model.close()
        learner.encode_text("x")
left = moeclip.Learner(moeclip.Model(sys.argv[1]), n_experts=4)  # to be forgotten at the end of the program
data = moeclip.Dataset(sys.argv[2]).renamed("other")
gc.collect()
data[0]
"""
    subprocess.run([sys.executable, "-X", "dev", "-c", program, CLIP, COLOURS], check=True)
