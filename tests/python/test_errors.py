"""Errors are exceptions of the right kind with the library's message, and change nothing."""

from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import FOLDER, SHORT, SMALL

import moeclip

CLIP = FOLDER / "clip.safetensors"
COLOURS = FOLDER / "pictures/colours"


# What a type checker would refuse, C must not see either.
untyped: Any = moeclip


@pytest.mark.parametrize("call, kind, message", [
    (lambda m: untyped.Model(FOLDER / "none"), moeclip.FileError, "none: cannot open"),
    (lambda m: untyped.Model(COLOURS / "test/red/0.png"), moeclip.MoeclipError, "0.png"),
    (lambda m: untyped.Model(7), TypeError, "path must be a path"),
    (lambda m: untyped.Model(b"x"), TypeError, "not bytes"),
    (lambda m: untyped.Model(CLIP, threads="x"), TypeError, "n_threads must be a number, not str"),
    (lambda m: untyped.Model(CLIP, threads=1 << 40), ValueError, "n_threads is out of range"),
    (lambda m: untyped.Model(CLIP, activation="relu"), ValueError, "'gelu', not 'relu'"),
    (lambda m: untyped.Learner("x"), TypeError, "must be a moeclip.Model"),
    (lambda m: untyped.Learner(m, FOLDER / "none"), moeclip.FileError, "none"),
    (lambda m: untyped.Learner(m, CLIP), moeclip.FormatError, "clip.safetensors"),
    (lambda m: untyped.Learner(m, CLIP, seed=1), ValueError, "seed is fixed by the state"),
    (lambda m: untyped.Learner(m, mode="x"), ValueError, "mode must be one of"),
    (lambda m: untyped.Learner(m, n_experts=0), moeclip.ArgumentError, "expert"),
    (lambda m: untyped.Learner(m, n_experts=2.5), TypeError, "n_experts must be a number, not float"),
    (lambda m: untyped.Learner(m).classify(COLOURS / "test/red/0.png"), moeclip.ArgumentError, "label"),
    (lambda m: untyped.Learner(m).classify([], "cat"), TypeError, "sequence of str"),
    (lambda m: untyped.Learner(m).classify([], ["cat", 3]), TypeError, r"labels\[1\] must be str"),
    (lambda m: untyped.Learner(m).classify([], ["a\0b"]), ValueError, "NUL"),
    (lambda m: untyped.Learner(m).classify([], ["cat"], task="birds"), ValueError, "not 'birds'"),
    (lambda m: untyped.Learner(m).classify(COLOURS / "test/red/0.png", ["cat"], task=3), moeclip.ArgumentError, "3"),
    (lambda m: untyped.Learner(m).classify([], ["cat"], task=-1), ValueError, "at least 0"),
    (lambda m: untyped.Learner(m).encode_text(["x"], task="auto"), ValueError, "no selector"),
    (lambda m: untyped.Learner(m).learn(3), TypeError, "Dataset or a path"),
    (lambda m: untyped.Learner(m).learn(COLOURS, progress=3), TypeError, "progress must be callable"),
    (lambda m: untyped.Learner(m).learn(COLOURS, iterations="many"), TypeError, "iterations"),
    (lambda m: untyped.Learner(m).learn(COLOURS, learning_rate=-1.0), moeclip.ArgumentError, "learning rate"),
    (lambda m: untyped.Learner(m).learn(FOLDER / "none"), moeclip.FileError, "none"),
    (lambda m: untyped.Learner(m).save(FOLDER / "no/s.safetensors"), (moeclip.ArgumentError, moeclip.FileError), "."),
    (lambda m: untyped.Dataset(COLOURS, split="x"), ValueError, "'train', 'test'"),
    (lambda m: untyped.Dataset(COLOURS, train_fraction=2), moeclip.ArgumentError, "."),
    (lambda m: untyped.Dataset(COLOURS, max_per_class=-1), ValueError, "max_per_class"),
    (lambda m: untyped.Dataset(COLOURS)[10000], IndexError, "10000 of"),
    (lambda m: untyped.Dataset(COLOURS)["0"], TypeError, "."),
    (lambda m: m.encode_text([3]), TypeError, r"texts\[0\] must be str"),
    (lambda m: m.encode_text("\ud800"), ValueError, "surrogate"),
])
def test_kinds(model: moeclip.Model, call: Callable[[Any], object], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        call(model)
    if isinstance(caught.value, moeclip.MoeclipError):
        assert caught.value.code is type(caught.value).code


def test_hierarchy(model: moeclip.Model) -> None:
    with pytest.raises(OSError):
        moeclip.Model(FOLDER / "none")
    with pytest.raises(ValueError):
        moeclip.Learner(model, n_experts=0)
    assert issubclass(moeclip.OutOfMemoryError, MemoryError) and issubclass(moeclip.FormatError, moeclip.MoeclipError)
    assert moeclip.MismatchError.code is moeclip.Code.MISMATCH


def test_state_of_another_model(state: Path, tmp_path: Path) -> None:
    # Some bytes of the last tensor, which are numbers.
    data = bytearray(CLIP.read_bytes())
    data[-400:-396] = b"\0\0\0\x3f"
    other = tmp_path / "other.safetensors"
    other.write_bytes(data)
    with moeclip.Model(other) as model, pytest.raises(moeclip.MismatchError, match="program.safetensors"):
        moeclip.Learner(model, state)


def test_damaged_state(model: moeclip.Model, state: Path, tmp_path: Path) -> None:
    data = bytearray(state.read_bytes())
    data[-10] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    with pytest.raises(moeclip.FormatError, match="damaged.safetensors"):
        moeclip.Learner(model, tmp_path / "damaged.safetensors")


def test_closed(model: moeclip.Model) -> None:
    with moeclip.Model(CLIP) as other:
        learner = moeclip.Learner(other, **SMALL)
    with pytest.raises(ValueError, match="the model is closed"):
        other.encode_text("x")
    assert learner.encode_text("x").shape == (1, 32)  # keeps the model's memory
    learner.close()
    learner.close()
    for call in (learner.encode_text, learner.save, learner.learn):
        with pytest.raises(ValueError, match="the learner is closed"):
            call("x")
    data = moeclip.Dataset(COLOURS)
    assert data.left_out == {"kind": 0, "loose": 0}
    data.close()
    with pytest.raises(ValueError, match="the data set is closed"):
        len(data)
    assert "closed" in repr(other) and "closed" in repr(learner) and "closed" in repr(data)


def test_broken_pictures(model: moeclip.Model, tmp_path: Path) -> None:
    for kind in ("red", "green"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for i, path in enumerate(sorted((COLOURS / "train" / kind).iterdir())[:8]):
            data = path.read_bytes()
            (tmp_path / "set" / kind / path.name).write_bytes(data[:60] if i == 2 else data)
    broken: list[tuple[str, str]] = []
    report = moeclip.Learner(model, **SMALL).learn(moeclip.Dataset(tmp_path / "set", train_fraction=0.99), **SHORT,
                                                  broken=lambda item, message: broken.append((item, message)))
    assert report.broken == len(set(broken)) == 2 and all(".png" in item and message for item, message in broken)
    with pytest.warns(RuntimeWarning, match="left out: .*png"):
        moeclip.Learner(model, **SMALL).learn(moeclip.Dataset(tmp_path / "set", train_fraction=0.99), **SHORT)

    def refuse(item: str, message: str) -> None:
        raise LookupError(item)

    learner = moeclip.Learner(model, **SMALL)
    with pytest.raises(LookupError, match="png"):
        learner.learn(moeclip.Dataset(tmp_path / "set", train_fraction=0.99), **SHORT, broken=refuse)
    assert learner.tasks == []
