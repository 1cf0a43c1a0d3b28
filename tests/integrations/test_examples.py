"""The examples of hosts run, balance, and resume."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = r"([\d.e+-]+)"

pytestmark = [
    # Of a tiny run on a machine that could do more, and of a checkpoint in another folder.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # Lightning 2.6 uses what PyTorch 2.13 is about to drop.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]


def said(name, capsys):
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["lightning_module", "lightning_fabric", "accelerate_loop"])
def test_the_larger_loss_weighs_less(name, capsys):
    out = said(f"{name}.py", capsys)
    found = re.findall(rf"'position': '{NUMBER}', 'contact': '{NUMBER}'", out)
    assert len(found) == 2
    for position, contact in found:
        assert float(position) < float(contact) / 5
        assert float(position) + float(contact) == pytest.approx(2, rel=0.01)


def test_the_trainer_learns_both_heads(capsys):
    out = said("transformers_trainer.py", capsys)
    topics, stars = (
        [float(each) for each in re.findall(rf"'loss/{task}': '{NUMBER}'", out)]
        for task in ("topic", "stars")
    )
    assert topics[-1] < 0.2
    assert stars[-1] < 2  # their variance
    assert "eval_loss" in out


def torchrun(processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), str(EXAMPLES / "torchrun.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    pattern = rf"process \d of {processes}: position {NUMBER}, contact {NUMBER}"
    found = re.findall(pattern, done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(found) == processes
    return found


def test_processes_of_torchrun_weigh_as_one():
    (alone,), (first, second) = torchrun(1), torchrun(2)
    assert first == second
    expected = [pytest.approx(float(weight), rel=1e-3) for weight in alone]
    assert [float(weight) for weight in first] == expected
