#!/usr/bin/env python3
"""Makes tests/data/continuum.txt: the measures of random results by the `continuum` package itself (1.2.7; `pip install continuum`).

A line a case: number of steps, R row by row (accuracy on step j's pictures after step i), accuracy_A, forgetting, backward transfer,
positive backward transfer, remembering, forward transfer."""
import numpy as np
from continuum.metrics import metrics

random = np.random.default_rng(20231)
for steps in (1, 2, 3, 4, 5, 10, 20, 50):
    all_preds, all_targets, all_tasks = [], [], []
    for i in range(steps):
        tasks = np.concatenate([np.full(20 + 5 * (j % 7), j) for j in range(steps)])
        targets = 2 * tasks + random.integers(0, 2, len(tasks))
        right = random.random(len(tasks)) < 0.3 + 0.5 * np.exp(-0.1 * np.abs(i - tasks))
        all_preds.append(np.where(right, targets, (targets + 1) % (2 * steps)))
        all_targets.append(targets)
        all_tasks.append(tasks)
    numbers = [metrics._get_R_ij(i, j, all_preds, all_targets, all_tasks) for i in range(steps) for j in range(steps)]
    for name in ("accuracy_A", "forgetting", "backward_transfer", "positive_backward_transfer", "remembering", "forward_transfer"):
        numbers.append(getattr(metrics, name)(all_preds, all_targets, all_tasks))
    print(steps, *(repr(float(x)) for x in numbers))
