"""Weightings of the user's own, named as module:Class, through the commands."""

import json
import re

import numpy as np
import pandas as pd
import pytest

LOSSES = '''
import equipoise


class Smallest(equipoise.LossWeighting):
    """More weight for the smaller loss.

    Args:
        tasks: see there.
        pull: how strongly.
    """

    def __init__(self, tasks, *, pull: float = 1.0):
        super().__init__(tasks)
        self.pull = pull
        self.add_state("seen", 0.0)

    def update(self, losses, counts):
        self.seen.copy_(losses)
        weights = (losses + 1) ** -self.pull
        return weights / weights.sum() * len(self.tasks)
'''

SAMPLES = '''
import torch

import equipoise


class Helpers(equipoise.HeldOutWeighting):
    """What helps counts, and nothing else."""

    def weigh_samples(self, alignments, uniform):
        return torch.where(alignments > 0, uniform, 0)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a file of the user's own, of a name that no other test has imported."""

    def own(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    return own


def compare(run, methods, *options, problem="study.toy:toy"):
    return run("compare", problem, "--methods", methods, "--seeds", 2, "--out", "out", *options)


def runs_of(out):
    found = {}
    for path in sorted(out.glob("runs/*/seed-0/run.json")):
        facts = json.loads(path.read_text())
        with np.load(path.parent / "history.npz") as arrays:
            found[facts["method"]] = facts, dict(arrays)
    return found


def test_it_is_compared_under_its_label(run, own, tmp_path):
    own("mine_losses", LOSSES)
    methods = "slaw,mine_losses:Smallest,mine_losses:Smallest(pull=2)"
    code, text = compare(run, methods)
    assert code == 0, text
    labels = ["slaw", "mine_losses:Smallest", "mine_losses:Smallest(pull=2.0)"]
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table.method) == set(labels)
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(label in text and label in page for label in labels)

    runs = runs_of(tmp_path / "out")
    for label, pull in (("mine_losses:Smallest", 1), ("mine_losses:Smallest(pull=2.0)", 2)):
        facts, history = runs[label]
        assert facts["source"].startswith("sha256:")
        losses = history["losses"].astype(float)
        expected = (losses + 1) ** -pull
        expected *= 2 / expected.sum(1, keepdims=True)
        there = ~np.isnan(losses).any(1)
        assert there.any()
        np.testing.assert_allclose(history["weights"][there], expected[there], rtol=1e-5)
    assert runs["slaw"][0]["source"] is None


def test_a_file_that_has_changed_is_another_method(run, own, tmp_path):
    own("mine_changed", LOSSES)
    assert compare(run, "slaw,mine_changed:Smallest")[0] == 0
    own("mine_changed", LOSSES + "# changed\n")
    code, text = compare(run, "slaw,mine_changed:Smallest")
    assert code == 1
    assert "the file of mine_changed:Smallest has changed since out/runs/" in text
    assert "Traceback" not in text
    assert compare(run, "slaw")[0] == 0


def test_one_of_samples_is_compared_and_composed(run, own, tmp_path):
    own("mine_samples", SAMPLES)
    name = "mine_samples:Helpers"
    code, text = compare(run, f"{name},slaw+{name}(maximize=True)", problem="study.toy:noisy")
    assert code == 0, text
    assert set(runs_of(tmp_path / "out")) == {name, f"slaw+{name}(maximize=True)"}
    assert len(list((tmp_path / "out").glob("runs/*/seed-0/samples.npz"))) == 2


def test_options_are_shown(run, own):
    own("mine_shown", LOSSES)
    code, text = run("methods", "mine_shown:Smallest")
    assert code == 0
    assert "mine_shown:Smallest  More weight for the smaller loss.\n" in text
    assert "    pull=1.0  how strongly.\n" in text


BROKEN = """
import equipoise


class Nothing(equipoise.LossWeighting):
    pass


class Demanding(equipoise.LossWeighting):
    def __init__(self, tasks, *, strength: float):
        super().__init__(tasks)
"""


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("mine_broken:Nothing", "mine_broken:Nothing cannot serve this problem, and slaw can"),
        ("mine_broken:Demanding", "mine_broken:Demanding: .*strength"),
        ("mine_broken:Demanding(strength='x')", "strength must be a number, found 'x'"),
        ("mine_broken:Wrong", "mine_broken has no 'Wrong'"),
        ("mine_broken:equipoise", "subclass of equipoise.LossWeighting"),
        ("mine_missing:Weighting", "there is no module 'mine_missing'"),
        ("slaw+mine_broken:Nothing", "Nothing takes nothing in front"),
    ],
)
def test_a_users_mistake_is_one_sentence(run, own, methods, words):
    own("mine_broken", BROKEN)
    code, text = compare(run, methods)
    assert code == 1
    assert re.search(words, text)
    assert "Traceback" not in text
    assert text.count("\n") == 1
