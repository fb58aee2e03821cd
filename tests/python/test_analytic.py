"""The analytic method's answers are those of an independent formula: numpy on the package's own features."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import FOLDER

import moeclip

COLOURS, STRIPES = (FOLDER / "pictures" / name for name in ("colours", "stripes"))
Matrix = npt.NDArray[np.float64]


def pictures_of(*folders: Path) -> list[Path]:
    found = [path for folder in folders for path in sorted(folder.rglob("*.png")) if "train" not in path.parts]
    assert len(found) > 10
    return found


def features_of(learner: moeclip.Learner, pictures: list[Path]) -> Matrix:
    return np.asarray(learner.encode_image(pictures, "none"), np.float64)


def training_of(learner: moeclip.Learner, folder: Path) -> tuple[Matrix, list[str]]:
    pictures = sorted(folder.glob("train/*/*.png"))
    assert len(pictures) > 10
    return features_of(learner, pictures), [path.parent.name for path in pictures]


def softmax(logits: Matrix) -> Matrix:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def kernel(x: Matrix, y: Matrix, gamma: float) -> Matrix:
    return np.asarray(np.exp(-gamma * ((x[:, None] - y[None]) ** 2).sum(-1)))


@pytest.mark.parametrize("order", [(COLOURS, STRIPES), (STRIPES, COLOURS)])
def test_answers_are_numpys(model: moeclip.Model, order: tuple[Path, Path]) -> None:
    """Task by task, in either order, against all pictures at once; and the fusion with zero-shot, label by label."""
    lam, gamma, beta = 0.01, 1.5, 0.8
    with moeclip.Learner(model, mode="analytic", ridge_form="kernel", ridge=lam, ridge_gamma=gamma,
                         ridge_fusion=beta) as learner:
        for folder in order:
            report = learner.learn(folder, batch=5)
            assert report.images > 10 and report.broken == 0
        learned = [name for task in learner.tasks for name in task.classes]
        both = [training_of(learner, folder) for folder in order]
        x, names = np.concatenate([b[0] for b in both]), [name for b in both for name in b[1]]
        y = np.array([[name == column for column in learned] for name in names], np.float64)
        alpha = np.linalg.solve(kernel(x, x, gamma) + lam * np.eye(len(x)), y)
        labels = learned[1:] + ["something else entirely", learned[0]]
        pictures = pictures_of(COLOURS, STRIPES)
        tests = features_of(learner, pictures)
        texts = np.asarray(learner.encode_text([f"a photo of a {label}." for label in labels]), np.float64)
        zero_shot = softmax(20.0 * tests @ texts.T)
        regression = kernel(tests, x, gamma) @ alpha
        column = [learned.index(label) if label in learned else -1 for label in labels]
        n_fused = 0
        for i, answer in enumerate(learner.classify(pictures, labels, top=len(labels), logit_scale=20)):
            expected = zero_shot[i]
            if column[int(np.argmax(zero_shot[i]))] >= 0:
                taught = np.array([regression[i, c] if c >= 0 else 0 for c in column])
                expected = (1 - beta) * expected + beta * taught
                n_fused += 1
            best = int(np.argmax(expected))
            share = np.maximum(expected, 0) / np.maximum(expected, 0).sum()
            found = {label.index: label.probability for label in answer.labels}
            np.testing.assert_allclose([found[k] for k in range(len(labels))], share, atol=2e-4)
            if np.sort(expected)[-1] - np.sort(expected)[-2] > 1e-3:
                assert answer.label == labels[best]
        assert n_fused > 0


def test_one_picture_or_many(model: moeclip.Model) -> None:
    with moeclip.Learner(model, mode="analytic", ridge_hidden=64) as learner:
        learner.learn(COLOURS)
        pictures = pictures_of(COLOURS)
        for path, answer in zip(pictures, learner.classify(pictures)):
            alone = learner.classify([path])[0]
            assert alone.label == answer.label and abs(alone.probability - answer.probability) < 1e-5
        assert learner.evaluate(COLOURS).accuracy > 0.9
        explained = learner.classify(pictures[:2], explain=True)
        assert all(a.explanation is not None and a.explanation.gates.size == 0 for a in explained)


def test_options_are_checked(model: moeclip.Model) -> None:
    with pytest.raises(moeclip.ArgumentError, match="fusion"):
        moeclip.Learner(model, mode="analytic", ridge_fusion=1.5)
    with pytest.raises(ValueError, match="ridge_form must be one of"):
        moeclip.Learner(model, mode="analytic", ridge_form="both")
