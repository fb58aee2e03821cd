"""ZSCL's average of weights, iCaRL's exemplars, means and answers, and joint training, against numpy on what the states hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import FOLDER
from test_analytic import COLOURS, STRIPES, features_of, pictures_of, softmax

import moeclip

SPOTS = FOLDER / "pictures" / "spots"
TYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "U8": "u1"}


def load(path: Path) -> dict[str, npt.NDArray[Any]]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + size])
    head.pop("__metadata__")
    return {name: np.frombuffer(data[8 + size:][slice(*t["data_offsets"])], TYPES[t["dtype"]]).reshape(t["shape"])
            for name, t in head.items()}


def test_average_of_weights(model: moeclip.Model, tmp_path: Path) -> None:
    """The checkpoints hold the weights after each step: their mean is what the task ends with, and the next begins with."""
    part, seen = tmp_path / "part", {}

    def look(progress: moeclip.Progress) -> None:
        if progress.phase == "train" and progress.step > 1:  # what was written after the step before
            seen[progress.step - 1] = load(part)

    with moeclip.Learner(model, mode="zscl", zscl_every=2) as learner:
        learner.learn_reference(SPOTS, templates=["a drawing with {} spots", "{}"])
        learner.save(tmp_path / "before")
        for name in (COLOURS, STRIPES):
            seen.clear()
            begin = load(tmp_path / "before")
            learner.learn(name, iterations=5, batch=6, learning_rate=1e-3, checkpoint=part, checkpoint_seconds=0, progress=look)
            part.unlink()
            learner.save(tmp_path / "before")
            end = load(tmp_path / "before")
            assert sorted(seen) == [1, 2, 3, 4, 5]
            assert begin["zscl.texts"].shape[0] == 4
            for key, value in end.items():
                if key.startswith("zscl."):
                    np.testing.assert_array_equal(value, begin[key])
                    continue
                # after the steps of the numbers 0, 2 and 4: the first, the third and the fifth
                expected = np.mean([np.asarray(t[key], np.float64) for t in (begin, seen[1], seen[3], seen[5])], axis=0)
                np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
            assert np.abs(np.asarray(end["visual.proj"]) - begin["visual.proj"]).max() > 1e-4
            np.testing.assert_array_equal(end["logit_scale"], begin["logit_scale"])


def test_zscl_keeps_what_it_is_held_to(model: moeclip.Model, tmp_path: Path) -> None:
    """With a heavy weight, pictures of the reference set are encoded much as before; the kept features are the untouched CLIP's."""
    pictures = sorted(SPOTS.rglob("*.png"))
    untouched, moved = np.asarray(model.encode_image(pictures)), {}
    for weight in (0.0, 30.0):
        with moeclip.Learner(model, mode="zscl", zscl_weight=weight, zscl_every=0) as learner:
            learner.learn_reference(SPOTS)
            learner.learn(COLOURS, iterations=40, batch=6, learning_rate=1e-3)
            moved[weight] = np.abs(np.asarray(learner.encode_image(pictures)) - untouched).mean()
            learner.save(tmp_path / "s")
            kept = load(tmp_path / "s")
    assert moved[30.0] < 0.7 * moved[0.0], moved
    again = np.asarray(model.encode_image([np.ascontiguousarray(p.transpose(1, 2, 0)) for p in kept["zscl.pictures"]]))
    np.testing.assert_allclose(kept["zscl.features"], again, atol=1e-5)
    texts = np.asarray(model.encode_text(["a photo of a few.", "a photo of a many."]))
    np.testing.assert_allclose(kept["zscl.texts"], texts, atol=1e-5)


def herd(x: npt.NDArray[np.float64], n: int) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < n:
        off = [np.inf if i in chosen else float(np.linalg.norm(x.mean(0) - x[[*chosen, i]].mean(0))) for i in range(len(x))]
        chosen.append(int(np.argmin(off)))
    return chosen


def test_icarl(model: moeclip.Model, tmp_path: Path) -> None:
    with moeclip.Learner(model, mode="icarl", exemplars=20) as learner:
        first: npt.NDArray[Any] = np.empty(0)
        for number, folder in enumerate((COLOURS, STRIPES)):
            learner.learn(folder, iterations=30, batch=6, learning_rate=1e-3)
            learner.save(tmp_path / "s")
            kept = load(tmp_path / "s")
            each = 20 // (3 * (number + 1))
            assert kept["icarl.labels"].tolist() == [c for c in range(3 * (number + 1)) for _ in range(each)]
            # The new classes' exemplars are those that numpy herds, in that order: told by their features.
            stored = np.asarray(learner.encode_image([np.ascontiguousarray(p.transpose(1, 2, 0)) for p in kept["icarl.pictures"]]),
                                np.float64)
            for c, name in enumerate(learner.tasks[number].classes):
                x = np.asarray(learner.encode_image(sorted((folder / "train" / name).glob("*.png"))), np.float64)
                mine = slice((3 * number + c) * each, (3 * number + c + 1) * each)
                np.testing.assert_allclose(stored[mine], x[herd(x, each)], atol=1e-5)
            means = stored.reshape(-1, each, stored.shape[1]).mean(1)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            np.testing.assert_allclose(kept["icarl.means"], means, atol=1e-5)
            if number == 0:
                first = kept["icarl.pictures"].reshape(3, each, -1)
            else:  # of earlier classes the first ones stay
                np.testing.assert_array_equal(kept["icarl.pictures"][:3 * each].reshape(3, each, -1), first[:, :each])
        learned = [name for task in learner.tasks for name in task.classes]
        labels = ["something else entirely", *learned]
        pictures = pictures_of(COLOURS, STRIPES)
        tests = features_of(learner, pictures)
        texts = np.asarray(learner.encode_text([f"a photo of a {label}." for label in labels]), np.float64)
        by_text = softmax(5.0 * tests @ texts.T)
        scale = float(np.exp(load(tmp_path / "s")["logit_scale"]).item())
        by_mean = softmax(scale * tests @ means.T)
        right = 0
        for i, answer in enumerate(learner.classify(pictures, labels, top=len(labels), logit_scale=5)):
            expected = np.array([by_text[i, 0], *((1 - by_text[i, 0]) * by_mean[i])])
            found = {label.index: label.probability for label in answer.labels}
            np.testing.assert_allclose([found[k] for k in range(len(labels))], expected, atol=2e-3)
            nearest = int(np.argmin(np.linalg.norm(means - tests[i], axis=1)))
            own = learner.classify([pictures[i]], learned)[0]
            if np.diff(np.sort(by_mean[i])[-2:])[0] > 1e-3:
                assert own.label == learned[nearest] and own.task_number == nearest // 3
            right += own.label == pictures[i].parent.name
        assert right > 0.8 * len(pictures)


def test_joint(model: moeclip.Model, tmp_path: Path) -> None:
    """Its first task is fine-tuning; the second begins anew, so that how the first was learned does not matter."""
    states = []
    for mode, rate in (("finetune", 1e-3), ("joint", 1e-3), ("joint", 1e-2)):
        with moeclip.Learner(model, mode=mode) as learner:
            learner.learn(COLOURS, iterations=10, batch=6, learning_rate=rate)
            learner.save(tmp_path / "s")
            states.append(load(tmp_path / "s"))
            if mode == "joint":
                with pytest.raises(moeclip.ArgumentError, match="those of colours are not given"):
                    learner.learn(STRIPES, iterations=10, batch=6)
                with pytest.raises(moeclip.MismatchError, match="not the classes"):
                    learner.learn(STRIPES, iterations=10, batch=6, earlier=[moeclip.Dataset(SPOTS, name="colours")])
                report = learner.learn(STRIPES, iterations=10, batch=6, learning_rate=1e-3, earlier=[COLOURS])
                assert report.iterations == 22 and [t.iterations for t in learner.tasks] == [11, 22]
                assert learner.evaluate(COLOURS).accuracy > 0.9
                learner.save(tmp_path / "s")
                states.append(load(tmp_path / "s"))
    finetune, first, second, _, again = states
    assert finetune.keys() == first.keys() == second.keys()
    for key, value in finetune.items():
        np.testing.assert_array_equal(value, first[key])
        np.testing.assert_array_equal(second[key], again[key])
    assert any(np.abs(second[key] - first[key]).max() > 1e-3 for key in first)
