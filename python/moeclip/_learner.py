"""moeclip.Learner"""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._core import (SELECTIONS, BrokenCallback, Owner, Path, ProgressCallback, Run, as_list, c_path, c_texts, choose,
                    finite, own, py_text, set_numbers)
from ._dataset import Dataset
from ._errors import check, new_error
from ._images import ImagesLike, Picture, c_images, pieces
from ._model import FloatArray, Model
from ._native import ffi, lib

_MODES = {"moe": lib.MOECLIP_MODE_MOE, "finetune": lib.MOECLIP_MODE_FINETUNE, "analytic": lib.MOECLIP_MODE_ANALYTIC,
          "zero-shot": lib.MOECLIP_MODE_ZERO_SHOT, "linear-probe": lib.MOECLIP_MODE_LINEAR_PROBE,
          "wise-ft": lib.MOECLIP_MODE_WISE_FT, "lwf": lib.MOECLIP_MODE_LWF, "zscl": lib.MOECLIP_MODE_ZSCL,
          "icarl": lib.MOECLIP_MODE_ICARL, "joint": lib.MOECLIP_MODE_JOINT}
_FORMS = {"projection": lib.MOECLIP_RIDGE_PROJECTION, "kernel": lib.MOECLIP_RIDGE_KERNEL}
_SELECTORS = {"auto": lib.MOECLIP_SELECTOR_AUTO, "autoencoder": lib.MOECLIP_SELECTOR_AUTOENCODER,
              "gaussian": lib.MOECLIP_SELECTOR_GAUSSIAN, "prototypes": lib.MOECLIP_SELECTOR_PROTOTYPES}

#: "auto" (the selector decides), "none" (the untouched CLIP), a task's name, or its number.
TaskChoice = Union[str, int]


@dataclass(frozen=True)
class Task:
    """A learned task."""

    name: str
    classes: list[str]
    templates: list[str]
    iterations: int  #: steps it was trained for
    images: int  #: pictures in its train split
    threshold: Optional[float]  #: of its selector; None when fine-tuning


@dataclass(frozen=True)
class LearnReport:
    """What learning a task came to."""

    task: int  #: number of the new task
    iterations: int
    images: int
    broken: int  #: pictures that could not be read and were left out
    trainable: int  #: numbers trained
    final_loss: Optional[float]  #: mean of the last tenth
    seconds: float
    waited_seconds: float
    selector_seconds: float
    threshold: Optional[float]  #: the selector's
    resumed: bool  #: went on from a checkpoint


@dataclass(frozen=True)
class Label:
    name: str
    index: int  #: in the labels asked for, or in the answering task's classes (analytic, no task named: in all tasks' classes)
    probability: float


@dataclass(frozen=True)
class Explanation:
    """Why an answer came about."""

    errors: npt.NDArray[np.float64]  #: [n_tasks] of each task's autoencoder; empty without a choice by the selector
    thresholds: npt.NDArray[np.float64]  #: [n_tasks] the error up to which a task takes a picture
    reference_error: Optional[float]  #: of the reference set's autoencoder
    gates: FloatArray  #: [n_blocks, n_experts] share of each expert; all 0 for the untouched CLIP


@dataclass(frozen=True)
class Answer:
    """What is on a picture."""

    task: Optional[str]  #: that answered; None: the untouched CLIP
    task_number: int  #: of that task; -1: the untouched CLIP
    score: Optional[float]  #: the selector's error over the nearest task's threshold: above 1, it was turned away
    labels: list[Label]  #: the most probable first
    explanation: Optional[Explanation] = None

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[0].name

    @property
    def probability(self) -> float:
        """Of the most probable label."""
        return self.labels[0].probability


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on the test part of a data set."""

    n: int
    n_right: int
    n_broken: int  #: pictures that could not be read and were left out
    accuracy: float  #: n_right / n
    routed: npt.NDArray[np.int64]  #: [tasks + 1] pictures answered by the untouched CLIP, then by each task
    routed_right: npt.NDArray[np.int64]  #: [tasks + 1] of those, how many rightly
    class_n: npt.NDArray[np.int64]  #: [n_classes]
    class_right: npt.NDArray[np.int64]  #: [n_classes]
    seconds: float


def _array(pointer: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A copy of C's numbers."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if pointer == ffi.NULL or n == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(ffi.buffer(pointer, n), dtype).reshape(shape).copy()


class Learner(Owner):
    """Teaches a model one domain (task) after another, and classifies with all of them.

    state: a file that `save` or `moeclip learn` wrote; None begins with no task. A state belongs to one model. alexnet:
    torchvision's AlexNet weights for a selector like the paper's, the same for a state whose selector was made with it.

    The other options are fixed once a state exists, and None is the library's default: mode ("moe": mixture-of-experts
    adapters, "finetune": all of CLIP's weights, "analytic": ridge regression on frozen features in one pass,
    "zero-shot": nothing, "linear-probe": logistic regression on frozen features, "wise-ft", "lwf", "zscl",
    "icarl": fine-tuning as those papers have it, "joint": on the pictures of all tasks at once), n_experts of each block
    (22), top_k (2), bottleneck (64), freeze_per_task (2), text_adapters (True), shared_router (False), use_selector (True),
    selector_hidden (100), selector_layer (chosen by kind and depth), seed (0), selector ("auto": autoencoders with alexnet, else Gaussians;
    "autoencoder", "gaussian", "prototypes"), dynamic_experts (False), dynamic_margin (0.02), dynamic_probe (40). Of the
    analytic mode alone: ridge_form ("projection", or "kernel", which keeps every picture's feature), ridge_hidden (2048),
    ridge (lambda; 0.1, or 0.001 for the kernel), ridge_gamma (1), ridge_fusion (0.9), ridge_pictures (8192). Of
    linear-probe alone: probe_l2 (0.003); of wise-ft: wise_alpha (0.5); of lwf: lwf_weight (1), lwf_temperature (2); of zscl, which needs learn_reference before the
    first task: zscl_weight (1), zscl_temperature (2), zscl_every (100 steps from one average to the next; 0: none),
    zscl_pictures (of the reference set, at most so many are kept: 1024); of icarl: exemplars (2000 in all), icarl_weight (1),
    icarl_temperature (2).

    Raises FileError, FormatError, MismatchError (a state of another model), ArgumentError.
    """

    _what = "learner"

    def __init__(self, model: Model, state: Optional[Path] = None, *, alexnet: Optional[Path] = None,
                 mode: Optional[str] = None, n_experts: Optional[int] = None, top_k: Optional[int] = None,
                 bottleneck: Optional[int] = None, freeze_per_task: Optional[int] = None,
                 text_adapters: Optional[bool] = None, shared_router: Optional[bool] = None,
                 use_selector: Optional[bool] = None, selector_hidden: Optional[int] = None,
                 selector_layer: Optional[int] = None, seed: Optional[int] = None, selector: Optional[str] = None,
                 dynamic_experts: Optional[bool] = None, dynamic_margin: Optional[float] = None,
                 dynamic_probe: Optional[int] = None, ridge_form: Optional[str] = None,
                 ridge_hidden: Optional[int] = None, ridge: Optional[float] = None,
                 ridge_gamma: Optional[float] = None, ridge_fusion: Optional[float] = None,
                 ridge_pictures: Optional[int] = None, probe_l2: Optional[float] = None,
                 wise_alpha: Optional[float] = None, lwf_weight: Optional[float] = None,
                 lwf_temperature: Optional[float] = None, zscl_weight: Optional[float] = None,
                 zscl_temperature: Optional[float] = None, zscl_every: Optional[int] = None,
                 zscl_pictures: Optional[int] = None, exemplars: Optional[int] = None,
                 icarl_weight: Optional[float] = None, icarl_temperature: Optional[float] = None) -> None:
        self._handle: Any = None
        if not isinstance(model, Model):
            raise TypeError(f"model must be a moeclip.Model, not {type(model).__name__}")
        numbers: dict[str, Any] = {
            "n_experts": n_experts, "top_k": top_k, "bottleneck": bottleneck, "freeze_per_task": freeze_per_task,
            "text_adapters": text_adapters, "shared_router": shared_router, "use_selector": use_selector,
            "selector_hidden": selector_hidden, "selector_layer": selector_layer, "seed": seed,
            "dynamic_experts": dynamic_experts, "dynamic_margin": dynamic_margin, "dynamic_probe": dynamic_probe,
            "ridge_hidden": ridge_hidden, "ridge": ridge, "ridge_gamma": ridge_gamma, "ridge_fusion": ridge_fusion,
            "ridge_pictures": ridge_pictures, "probe_l2": probe_l2,
            "wise_alpha": wise_alpha, "lwf_weight": lwf_weight, "lwf_temperature": lwf_temperature,
            "zscl_weight": zscl_weight, "zscl_temperature": zscl_temperature, "zscl_every": zscl_every,
            "zscl_pictures": zscl_pictures, "exemplars": exemplars, "icarl_weight": icarl_weight,
            "icarl_temperature": icarl_temperature,
        }
        given = [name for name, value in {**numbers, "mode": mode, "selector": selector, "ridge_form": ridge_form}.items()
                 if value is not None]
        if state is not None and given:
            raise ValueError(f"{given[0]} is fixed by the state; give it only where there is no state")
        model_handle, out, err = model._get(), ffi.new("moeclip_learner **"), new_error()
        c_alexnet = ffi.NULL if alexnet is None else c_path(alexnet, "alexnet")
        if state is not None:
            code = model._guard.call(lib.moeclip_learner_load, model_handle, c_path(state, "state"), c_alexnet, out, err)
        else:
            options = ffi.new("moeclip_learner_options *")
            lib.moeclip_learner_options_defaults(options)
            set_numbers(options, numbers)
            if mode is not None:
                options.mode = choose(mode, _MODES, "mode")
            if selector is not None:
                options.selector = choose(selector, _SELECTORS, "selector")
            if ridge_form is not None:
                options.ridge_form = choose(ridge_form, _FORMS, "ridge_form")
            options.alexnet = c_alexnet
            code = model._guard.call(lib.moeclip_learner_create, model_handle, options, out, err)
        check(code, err)
        # The learner's memory goes first, in whichever order Python forgets the two objects.
        self._handle = own(out[0], lib.moeclip_learner_destroy, model_handle)
        self._model_handle = model_handle
        self._guard = model._guard

    # --- tasks --------------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> list[Task]:
        """The tasks learned so far, by number."""
        handle = self._get()

        def read() -> list[Task]:
            tasks, info = [], ffi.new("moeclip_task_info *")
            for number in range(lib.moeclip_learner_tasks(handle)):
                err = new_error()
                check(lib.moeclip_learner_task(handle, number, info, err), err)
                tasks.append(Task(py_text(info.name), [py_text(info.classes[i]) for i in range(info.n_classes)],
                                  [py_text(info.templates[i]) for i in range(info.n_templates)], info.iterations,
                                  info.images, finite(info.threshold)))
            return tasks

        found: list[Task] = self._guard.call(read)
        return found

    def _task_names(self) -> list[str]:
        """Inside a guarded call."""
        names, info = [], ffi.new("moeclip_task_info *")
        for number in range(lib.moeclip_learner_tasks(self._handle)):
            check(lib.moeclip_learner_task(self._handle, number, info, ffi.NULL), new_error())
            names.append(py_text(info.name))
        return names

    def _task_number(self, task: TaskChoice) -> int:
        if isinstance(task, str):
            if task in ("auto", "none"):
                return int(lib.MOECLIP_TASK_AUTO if task == "auto" else lib.MOECLIP_TASK_NONE)
            names = [learned.name for learned in self.tasks]
            if task not in names:
                raise ValueError(f'task must be "auto", "none", a number or one of {names}, not {task!r}')
            return names.index(task)
        number = operator.index(task)
        if number < 0:
            raise ValueError(f'task must be "auto", "none", a name or a number of at least 0, not {number}')
        return number

    @property
    def has_reference(self) -> bool:
        return bool(lib.moeclip_learner_has_reference(self._get()))

    # --- learning -----------------------------------------------------------------------------------------------------

    def _learn(self, function: Callable[..., Any], dataset: Union[Dataset, Path], name: Optional[str],
               templates: Optional[Sequence[str]], checkpoint: Optional[Path], progress: Optional[ProgressCallback],
               broken: Optional[BrokenCallback], numbers: dict[str, Any],
               earlier: Sequence[Union[Dataset, Path]] = ()) -> LearnReport:
        handle, data = self._get(), _dataset(dataset, name)
        options, report, err = ffi.new("moeclip_task_options *"), ffi.new("moeclip_learn_report *"), new_error()
        lib.moeclip_task_options_defaults(options)
        set_numbers(options, numbers)
        if templates is not None:
            c_templates, options.n_templates = c_texts(as_list(templates), "templates")
            options.templates = c_templates
        sets = [_dataset(each, None) for each in earlier]
        if sets:
            c_sets = ffi.new("moeclip_dataset *[]", [each._get() for each in sets])
            options.earlier, options.n_earlier = c_sets, len(sets)
        if checkpoint is not None:
            c_checkpoint = c_path(checkpoint, "checkpoint")
            options.checkpoint = c_checkpoint
        run = Run(progress, broken)
        check(run.call(self._guard, function, handle, data._get(), options, run.callbacks, report, err), err)
        return LearnReport(report.task, report.iterations, report.images, report.broken, report.trainable,
                           finite(report.final_loss), report.seconds, report.waited_seconds, report.selector_seconds,
                           finite(report.threshold), bool(report.resumed))

    def learn(self, dataset: Union[Dataset, Path], *, name: Optional[str] = None, iterations: Optional[int] = None,
              epochs: Optional[int] = None, batch: Optional[int] = None, learning_rate: Optional[float] = None,
              weight_decay: Optional[float] = None, label_smoothing: Optional[float] = None, warmup: Optional[int] = None,
              dropout: Optional[float] = None, balance: Optional[float] = None,
              shots_augment_once: Optional[bool] = None, templates: Optional[Union[str, Sequence[str]]] = None,
              selector_iterations: Optional[int] = None, selector_learning_rate: Optional[float] = None,
              threshold: Optional[float] = None, selector_false_alarms: Optional[float] = None,
              kept_bytes: Optional[int] = None, loader_threads: Optional[int] = None,
              checkpoint: Optional[Path] = None, checkpoint_seconds: Optional[float] = None,
              progress: Optional[ProgressCallback] = None, broken: Optional[BrokenCallback] = None,
              earlier: Sequence[Union[Dataset, Path]] = ()) -> LearnReport:
        """Learns the train part of a data set as the next task.

        dataset: a Dataset or a path that Dataset takes; name: of the task, if not the set's. None is the library's
        default: iterations (1000), epochs (in place of iterations), batch (64), learning_rate (1e-3), templates ("a
        photo of a {}."; the first trains, all are averaged when classifying), and as in moeclip/learner.h for the rest.

        checkpoint: a file to write the unfinished task to, every checkpoint_seconds (60), and to go on from when it is
        there. Remove it after the finished state is saved.

        earlier: the data sets of the earlier tasks, each with its task's name, for the mode "joint".

        progress is called after each step, broken with the name and the message of a picture that cannot be read and is
        left out (None: a RuntimeWarning). What they raise, or Ctrl-C, stops learning and comes out of this call; the
        learner is then as it was before, and a checkpoint is written first where there is one.

        Raises ArgumentError, FormatError, NumericError (the loss is no number: a smaller learning rate helps), FileError.
        """
        return self._learn(lib.moeclip_learner_learn, dataset, name, _templates(templates), checkpoint, progress, broken, {
            "iterations": iterations, "epochs": epochs, "batch": batch, "learning_rate": learning_rate,
            "weight_decay": weight_decay, "label_smoothing": label_smoothing, "warmup": warmup, "dropout": dropout,
            "balance": balance, "shots_augment_once": shots_augment_once, "selector_iterations": selector_iterations,
            "selector_learning_rate": selector_learning_rate, "threshold": threshold, "selector_false_alarms": selector_false_alarms, "kept_bytes": kept_bytes,
            "loader_threads": loader_threads, "checkpoint_seconds": checkpoint_seconds}, earlier)

    def learn_reference(self, dataset: Union[Dataset, Path], *, batch: Optional[int] = None,
                        templates: Optional[Union[str, Sequence[str]]] = None,
                        selector_iterations: Optional[int] = None, selector_learning_rate: Optional[float] = None,
                        loader_threads: Optional[int] = None, progress: Optional[ProgressCallback] = None,
                        broken: Optional[BrokenCallback] = None) -> LearnReport:
        """The reference set: pictures of no task, once and before the first task.

        moe: the selector learns them as such. zscl: the state keeps some, and training is held to what the untouched CLIP
        says of them and of the names of their classes in the templates.
        """
        return self._learn(lib.moeclip_learner_learn_reference, dataset, None, _templates(templates), None, progress, broken, {
            "batch": batch, "selector_iterations": selector_iterations, "selector_learning_rate": selector_learning_rate,
            "loader_threads": loader_threads})

    def prune(self) -> int:
        """Forgets experts that no answer depends on, so that a state saved afterwards is smaller: how many there were."""
        n, err = ffi.new("int64_t *"), new_error()
        check(self._guard.call(lib.moeclip_learner_prune, self._get(), n, err), err)
        return int(n[0])

    def save(self, path: Path) -> None:
        """Writes everything that was learned (a temporary file first, so that a failure leaves the old one)."""
        err = new_error()
        check(self._guard.call(lib.moeclip_learner_save, self._get(), c_path(path, "path"), err), err)

    # --- answers ------------------------------------------------------------------------------------------------------

    def classify(self, images: ImagesLike, labels: Optional[Sequence[str]] = None, top: int = 5, task: TaskChoice = "auto",
                 templates: Optional[Union[str, Sequence[str]]] = None, explain: bool = False, *,
                 logit_scale: Optional[float] = None, selection: str = "per_image") -> list[Answer]:
        """The most probable labels of each picture, and who answered.

        labels: the candidates; None: the classes of the task that answers (with no task learned yet, they are needed).
        top: how many to give back. task: who answers. templates: prompts with {} for `labels`. explain: fill
        Answer.explanation. logit_scale: what cosines are multiplied with; None: the model's own. selection: "per_image",
        or "per_batch", one choice for each 32 pictures.

        Raises ArgumentError, FileError, FormatError; TypeError or ValueError for what is no picture.
        """
        handle, options = self._get(), ffi.new("moeclip_classify_options *")
        lib.moeclip_classify_options_defaults(options)
        set_numbers(options, {"top": top, "logit_scale": logit_scale})
        options.selection = choose(selection, SELECTIONS, "selection")
        options.task = self._task_number(task)
        if labels is not None:
            c_labels, options.n_labels = c_texts(labels, "labels")
            options.labels = c_labels
        c_templates = _templates(templates)
        if c_templates is not None:
            kept, options.n_templates = c_texts(c_templates, "templates")
            options.templates = kept
        answers: list[Answer] = []
        for piece in pieces(images):
            answers += self._guard.call(self._classify, handle, piece, options, explain)
        return answers

    def _classify(self, handle: Any, piece: list[Picture], options: Any, explain: bool) -> list[Answer]:
        n, images, err = len(piece), c_images(piece), new_error()
        answers = ffi.new("moeclip_answer[]", n)
        reasons = ffi.new("moeclip_explanation[]", n) if explain else None
        if reasons is None:
            check(lib.moeclip_learner_classify(handle, images, n, options, answers, err), err)
        else:
            check(lib.moeclip_learner_explain(handle, images, n, options, answers, reasons, err), err)
        try:
            names = self._task_names()
            return [
                Answer(names[a.task] if a.task >= 0 else None, a.task, finite(a.score),
                       [Label(py_text(a.name[k]), a.label[k], a.probability[k]) for k in range(a.n_labels)],
                       _explanation(reasons[i]) if reasons is not None else None) for i, a in enumerate(answers)
            ]
        finally:
            lib.moeclip_answers_clear(answers, n)
            if reasons is not None:
                lib.moeclip_explanations_clear(reasons, n)

    def encode_image(self, images: ImagesLike, task: TaskChoice = "auto") -> FloatArray:
        """Features of pictures: float32 [n, embed], each of length 1.

        A picture of a learned task goes through that task's adapters, and is to be compared with texts that were encoded
        for the same task. task: "auto" (the selector decides, picture by picture), "none", a name or a number.
        """
        return self.encode_image_tasks(images, task)[0]

    def encode_image_tasks(self, images: ImagesLike,
                           task: TaskChoice = "auto") -> tuple[FloatArray, npt.NDArray[np.int32]]:
        """As encode_image, and the number of the task that encoded each picture (-1: the untouched CLIP): int32 [n]."""
        handle, number = self._get(), self._task_number(task)
        embed = self._embed()
        rows: list[FloatArray] = [np.empty((0, embed), np.float32)]
        who: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
        for piece in pieces(images):
            rows.append(np.empty((len(piece), embed), np.float32))
            who.append(np.empty(len(piece), np.int32))
            err, array = new_error(), c_images(piece)
            check(self._guard.call(lib.moeclip_learner_encode_images, handle, array, len(piece), number,
                                   ffi.from_buffer("int[]", who[-1], require_writable=True), ffi.NULL,
                                   ffi.from_buffer("float[]", rows[-1], require_writable=True), err), err)
        return np.concatenate(rows), np.concatenate(who)

    def encode_text(self, texts: Union[str, Sequence[str]], task: TaskChoice = "none") -> FloatArray:
        """Features of texts, as they are (no template): float32 [n, embed], each of length 1.

        task: "none", or the name or number of the task whose pictures they are to be compared with.
        """
        handle, number = self._get(), self._task_number(task)
        if number == lib.MOECLIP_TASK_AUTO:
            raise ValueError('task must be "none", a name or a number: no selector decides about texts')
        array, n = c_texts(as_list(texts), "texts")
        err, out = new_error(), np.empty((n, self._embed()), np.float32)
        if n > 0:
            check(self._guard.call(lib.moeclip_learner_encode_texts, handle, array, n, number,
                                   ffi.from_buffer("float[]", out, require_writable=True), err), err)
        return out

    def _embed(self) -> int:
        sizes = ffi.new("moeclip_model_sizes *")
        lib.moeclip_model_get_sizes(self._model_handle, sizes)
        return int(sizes.embed)

    def evaluate(self, dataset: Union[Dataset, Path], *, task: TaskChoice = "auto", selection: str = "per_image",
                 batch: Optional[int] = None, max_images: Optional[int] = None, gate_noise: Optional[bool] = None,
                 training_crop: Optional[bool] = None, seed: Optional[int] = None,
                 templates: Optional[Union[str, Sequence[str]]] = None, no_labels: Optional[bool] = None,
                 loader_threads: Optional[int] = None, progress: Optional[ProgressCallback] = None,
                 broken: Optional[BrokenCallback] = None) -> Evaluation:
        """Accuracy on the test part of a data set, over its own classes; with no_labels as `classify` answers without
        labels, over the classes of all tasks.

        templates: None is those of the learned task of the set's name, else "a photo of a {}." The callbacks are those
        of `learn`. Raises ArgumentError, FileError, FormatError.
        """
        handle, data, err = self._get(), _dataset(dataset, None), new_error()
        options, out = ffi.new("moeclip_evaluate_options *"), ffi.new("moeclip_evaluation *")
        lib.moeclip_evaluate_options_defaults(options)
        set_numbers(options, {"batch": batch, "max_images": max_images, "gate_noise": gate_noise,
                              "training_crop": training_crop, "seed": seed, "loader_threads": loader_threads,
                              "no_labels": no_labels})
        options.task = self._task_number(task)
        options.selection = choose(selection, SELECTIONS, "selection")
        c_templates = _templates(templates)
        if c_templates is not None:
            kept, options.n_templates = c_texts(c_templates, "templates")
            options.templates = kept
        run = Run(progress, broken)
        check(run.call(self._guard, lib.moeclip_learner_evaluate, handle, data._get(), options, run.callbacks, out, err), err)
        try:
            return Evaluation(out.n, out.n_right, out.n_broken, out.accuracy,
                              _array(out.routed, (out.n_routes,), np.int64),
                              _array(out.routed_right, (out.n_routes,), np.int64),
                              _array(out.class_n, (out.n_classes,), np.int64),
                              _array(out.class_right, (out.n_classes,), np.int64), out.seconds)
        finally:
            lib.moeclip_evaluation_clear(out)

    def __repr__(self) -> str:
        if self._handle is None:
            return "<moeclip.Learner, closed>"
        return f"<moeclip.Learner, {lib.moeclip_learner_tasks(self._handle)} tasks>"


def _dataset(dataset: Union[Dataset, Path], name: Optional[str]) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset if name is None or name == dataset.name else dataset.renamed(name)
    if isinstance(dataset, (str, os.PathLike)):
        return Dataset(dataset, name=name)
    raise TypeError(f"dataset must be a moeclip.Dataset or a path, not {type(dataset).__name__}")


def _templates(templates: Optional[Union[str, Sequence[str]]]) -> Optional[Sequence[str]]:
    return None if templates is None else as_list(templates)


def _explanation(e: Any) -> Explanation:
    return Explanation(_array(e.error, (e.n_tasks,), np.float64), _array(e.threshold, (e.n_tasks,), np.float64),
                       finite(e.reference_error), _array(e.gate, (e.n_blocks, e.n_experts), np.float32))
