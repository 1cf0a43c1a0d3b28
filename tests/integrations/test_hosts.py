"""Hosts are imported by whoever uses them, never by the library."""

import subprocess
import sys

HOSTS = ("lightning", "pytorch_lightning", "accelerate", "transformers", "peft", "tensorboard")


def test_the_library_imports_no_host():
    code = f"import sys, equipoise; print([each for each in {HOSTS} if each in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
