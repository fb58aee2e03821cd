"""What run.sh prepared: a tiny model, pictures, the program."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import moeclip

FOLDER = Path(os.environ["MOECLIP_TEST_FOLDER"])
PROGRAM = os.environ["MOECLIP_PROGRAM"]
SMALL: dict[str, Any] = {"n_experts": 4, "bottleneck": 4, "selector_hidden": 8}
SHORT: dict[str, Any] = {"iterations": 60, "batch": 8, "selector_iterations": 20}


def run_program(*arguments: Any) -> list[Any]:
    """The JSON objects that the program prints."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], cwd=FOLDER, capture_output=True, text=True, check=True)
    found, at, text = [], 0, done.stdout.rstrip()
    while at < len(text):
        value, at = json.JSONDecoder().raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        found.append(value)
    return found


def as_printed(value: float) -> float:
    """The program prints 15 digits."""
    return float(f"{value:.15g}")


@pytest.fixture(scope="session")
def state() -> Path:
    """A state in which the program learned two tasks."""
    path = FOLDER / "program.safetensors"
    run_program("learn", "--model", "clip.safetensors", "--state", path, "--experts", 4, "--bottleneck", 4,
                "--selector-hidden", 8, "--selector-iterations", 20, "--batch", 8, "--threads", 1, "--iterations", 60,
                "--no-eval", "--quiet", "--json", FOLDER / "pictures/colours", f"lines={FOLDER}/pictures/stripes")
    return path


@pytest.fixture(scope="session")
def model() -> moeclip.Model:
    return moeclip.Model(FOLDER / "clip.safetensors", threads=1)


@pytest.fixture(scope="session")
def learner(model: moeclip.Model, state: Path) -> moeclip.Learner:
    return moeclip.Learner(model, state)
