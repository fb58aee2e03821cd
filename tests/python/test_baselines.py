"""The linear probe's answers over the classes of several tasks are those of numpy, from the state's own weights."""

import json
from pathlib import Path

import numpy as np
from test_analytic import COLOURS, STRIPES, features_of, pictures_of, softmax

import moeclip


def test_union_of_heads(model: moeclip.Model, tmp_path: Path) -> None:
    with moeclip.Learner(model, mode="linear-probe", probe_l2=0.05) as learner:
        for folder in (COLOURS, STRIPES):
            learner.learn(folder, batch=5)
        learner.save(tmp_path / "s.safetensors")
        data = (tmp_path / "s.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        head = json.loads(data[8:8 + size])["probe.weights"]
        begin, end = head["data_offsets"]
        weights = np.frombuffer(data[8 + size + begin:8 + size + end], "<f4").reshape(head["shape"]).astype(np.float64)
        learned = [name for task in learner.tasks for name in task.classes]
        task_of = [number for number, task in enumerate(learner.tasks) for _ in task.classes]
        assert len(learned) == len(weights)
        labels = ["something else entirely", *learned[1:], learned[0]]
        pictures = pictures_of(COLOURS, STRIPES)
        tests = features_of(learner, pictures)
        texts = np.asarray(learner.encode_text([f"a photo of a {label}." for label in labels]), np.float64)
        zero_shot = softmax(5.0 * tests @ texts.T)
        heads = softmax(tests @ weights[:, :-1].T + weights[:, -1])
        tasks = set()
        for i, answer in enumerate(learner.classify(pictures, labels, top=len(labels), logit_scale=5)):
            taught = 1 - zero_shot[i, 0]
            expected = np.array([zero_shot[i, 0], *(taught * heads[i, 1:]), taught * heads[i, 0]])
            found = {label.index: label.probability for label in answer.labels}
            np.testing.assert_allclose([found[k] for k in range(len(labels))], expected, atol=2e-4)
            best = int(np.argmax(expected))
            if np.sort(expected)[-1] - np.sort(expected)[-2] > 1e-3:
                assert answer.label == labels[best]
                assert (answer.task is None) == (best == 0)
                tasks.add(None if best == 0 else task_of[learned.index(labels[best])])
        assert {0, 1} <= tasks


def test_zero_shot_learns_nothing(model: moeclip.Model) -> None:
    with moeclip.Learner(model, mode="zero-shot") as learner:
        before = learner.evaluate(COLOURS)
        report = learner.learn(COLOURS)
        assert report.images == 0 and len(learner.tasks) == 1
        assert learner.evaluate(COLOURS).accuracy == before.accuracy
