"""The package's numbers are those of the program, and of an independent formula."""

from pathlib import Path

import numpy as np
import pytest
from conftest import FOLDER, SHORT, SMALL, as_printed, run_program

import moeclip

COLOURS, STRIPES, SPOTS = (FOLDER / "pictures" / name for name in ("colours", "stripes", "spots"))


def pictures_of(*folders: Path) -> list[Path]:
    found = [path for folder in folders for path in sorted(folder.rglob("*.png")) if "train" not in path.parts]
    assert len(found) > 20
    return found


def same_answers(answers: list[moeclip.Answer], printed: list[dict[str, object]]) -> None:
    assert len(answers) == len(printed)
    for answer, line in zip(answers, printed):
        labels = [{"label": label.name, "index": label.index, "probability": as_printed(label.probability)}
                  for label in answer.labels]
        score = None if answer.score is None else as_printed(answer.score)
        assert (answer.task, score, labels) == (line["task"], line["score"], line["labels"])


def test_classify_is_the_programs(learner: moeclip.Learner, state: Path) -> None:
    pictures = pictures_of(COLOURS, STRIPES, SPOTS)
    files = ["--model", "clip.safetensors", "--state", state, "--threads", 1, "--json"]
    printed = run_program("classify", *files, *pictures)
    answers = learner.classify(pictures)
    same_answers(answers, printed)
    assert {answer.task for answer in answers} >= {"colours", "lines"}
    printed = run_program("classify", *files, "--labels", "red,a green one", "--template", "this is {}", "--top", 1, "--task",
                          "lines", *pictures)
    same_answers(learner.classify(pictures, ["red", "a green one"], 1, "lines", "this is {}"), printed)
    printed = run_program("classify", *files, "--task", "none", "--labels", "red,green", *pictures)
    answers = learner.classify(pictures, ["red", "green"], task="none")
    same_answers(answers, printed)
    assert all(answer.task is None and answer.task_number == -1 for answer in answers)


def test_learning_gives_the_programs_state(model: moeclip.Model, state: Path, tmp_path: Path) -> None:
    with moeclip.Learner(model, **SMALL) as learner:
        report = learner.learn(COLOURS, **SHORT)
        assert (report.task, report.iterations, report.broken, report.resumed) == (0, 61, 0, False)
        learner.learn(moeclip.Dataset(STRIPES), name="lines", **SHORT)
        assert [task.name for task in learner.tasks] == ["colours", "lines"]
        assert learner.tasks[1].classes == ["across", "down", "slanted"]
        learner.save(tmp_path / "python.safetensors")
    assert (tmp_path / "python.safetensors").read_bytes() == state.read_bytes()


def test_evaluate_is_the_programs(learner: moeclip.Learner, state: Path) -> None:
    printed = run_program("eval", "--model", "clip.safetensors", "--state", state, "--threads", 1, "--json", COLOURS,
                          f"lines={STRIPES}", SPOTS)
    for line, (path, name) in zip(printed, ((COLOURS, "colours"), (STRIPES, "lines"), (SPOTS, "spots"))):
        found = learner.evaluate(moeclip.Dataset(path, name=name))
        assert (found.n, found.n_right, as_printed(found.accuracy)) == (line["n"], line["right"], line["accuracy"])
        assert found.routed.sum() == found.n == found.class_n.sum()
        assert found.routed_right.sum() == found.n_right == found.class_right.sum()


def test_evaluate_without_labels_is_what_classify_says(learner: moeclip.Learner) -> None:
    data = moeclip.Dataset(COLOURS, split="test", name="colours")
    found = learner.evaluate(data, no_labels=True)
    answers = learner.classify([pixels for pixels, _ in data])
    right = sum(answer.label == data.classes[label] for answer, (_, label) in zip(answers, data))
    assert (found.n, found.n_right) == (len(data), right) and right > 0
    with pytest.raises(moeclip.ArgumentError, match="give no others"):
        learner.evaluate(data, no_labels=True, templates="a {}")


def test_features_make_the_probabilities(model: moeclip.Model, learner: moeclip.Learner) -> None:
    pictures, labels = pictures_of(COLOURS, STRIPES), ["red", "green", "blue"]
    prompts = [f"a photo of a {label}." for label in labels]
    for task in ("none", "colours"):
        images, texts = learner.encode_image(pictures, task), learner.encode_text(prompts, task)
        assert images.dtype == texts.dtype == np.float32
        assert images.shape == (len(pictures), model.sizes.embed)
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
        logits = 100.0 * images.astype(np.float64) @ texts.astype(np.float64).T
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
        for row, answer in zip(expected, learner.classify(pictures, labels, task=task, logit_scale=100)):
            found = {label.index: label.probability for label in answer.labels}
            np.testing.assert_allclose([found[k] for k in range(3)], row, atol=1e-4)
    np.testing.assert_array_equal(model.encode_image(pictures), learner.encode_image(pictures, "none"))
    np.testing.assert_array_equal(model.encode_text(prompts), learner.encode_text(prompts))
    assert not np.allclose(learner.encode_text(prompts), learner.encode_text(prompts, "colours"))


def test_who_encodes(learner: moeclip.Learner) -> None:
    pictures = pictures_of(COLOURS, STRIPES, SPOTS)
    answers = learner.classify(pictures, explain=True)
    features, tasks = learner.encode_image_tasks(pictures)
    assert tasks.tolist() == [answer.task_number for answer in answers]
    for i in (0, len(pictures) // 2):
        np.testing.assert_allclose(learner.encode_image(pictures[i], int(tasks[i]))[0], features[i], atol=1e-6)
    for answer in answers:
        why = answer.explanation
        assert why is not None and why.errors.shape == why.thresholds.shape == (2,)
        nearest = int(why.errors.argmin())
        assert answer.score is not None
        np.testing.assert_allclose(answer.score, why.errors[nearest] / why.thresholds[nearest], rtol=1e-5)
        assert answer.task_number == (nearest if answer.score <= 1 else -1)
        sums = why.gates.sum(axis=1)
        np.testing.assert_allclose(sums, 0 if answer.task is None else 1, atol=1e-5)


def test_sizes_and_versions(model: moeclip.Model) -> None:
    printed = run_program("info", "--json", "clip.safetensors")
    assert model.sizes.embed == 32 and model.sizes.image_size == 16 and model.sizes.activation == "quick-gelu"
    assert len(model.fingerprint) == 32 and int(model.fingerprint, 16) > 0
    assert printed and moeclip.__version__ == moeclip.versions()["moeclip"]
    assert {"oneDNN", "libpng", "processor", "compiler"} <= set(moeclip.versions())


def test_dataset() -> None:
    with moeclip.Dataset(COLOURS) as train:
        test = train.with_split("test")
        assert train.classes == ["blue", "green", "red"] and train.name == "colours" and train.format == "folder"
        assert len(test) == len(list(COLOURS.glob("test/*/*.png"))) and len(train) == len(list(COLOURS.glob("train/*/*.png")))
        for i, (pixels, label) in enumerate(test):
            assert pixels.dtype == np.uint8 and pixels.shape == (24, 24, 3)
            assert int(pixels.mean(axis=(0, 1)).argmax()) == 2 - label == 2 - test.label(i)
            assert Path(test.item_name(i)).parent.name == test.classes[label]
        np.testing.assert_array_equal(test[-1][0], test[len(test) - 1][0])
    assert moeclip.Dataset(COLOURS, max_per_class=(2, 1)).with_split("test").split == "test"
    assert len(moeclip.Dataset(COLOURS, max_per_class=(2, 1))) == 6
    assert len(moeclip.Dataset(COLOURS, max_per_class=(2, 1), split="test")) == 3
    assert moeclip.Dataset(COLOURS, classes=["b", "g", "r"]).classes == ["b", "g", "r"]
    renamed = moeclip.Dataset(COLOURS).renamed("other")
    assert renamed.name == "other" and renamed.classes == ["blue", "green", "red"] and renamed[0][0].shape == (24, 24, 3)
