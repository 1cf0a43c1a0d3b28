"""What each way to train does with each kind of weighting: the table of docs/setups.md.

    python tests/setups/table.py    # writes it

Each cell is what ``test_setups.py`` and ``test_setups_of_hosts.py`` find, which fail where they
find something else.
"""

from pathlib import Path

RIGHT, REFUSED = "right", "a sentence"

KINDS = {
    "losses": ("SLAW", "Uncertainty", "DWA"),
    "norms": ("GradNorm", "InverseGradientNorm", "ProbedGradientNorm"),
    "TorchJD": ("torchjd/PCGrad", "torchjd/Mean"),
    "samples": ("SLGate", "SLGrad", "HydaLearn"),
    "samples of the batch": ("CosineGate", "OLAUX"),
}
HEADINGS = {
    "losses": "SLAW and others of losses",
    "norms": "of gradient norms",
    "TorchJD": "TorchJD's",
    "samples": "SLGate, SLGrad",
    "samples of the batch": "CosineGate, OL-AUX",
}
EVERYTHING = tuple(method for methods in KINDS.values() for method in methods)
GRADIENTS = KINDS["norms"] + KINDS["TorchJD"]
SAMPLES = KINDS["samples"] + KINDS["samples of the batch"]
# What is not called with task losses alone.
MORE = ("ProbedGradientNorm", *KINDS["TorchJD"], *SAMPLES)
REFUSALS = {
    "plain loop": (),
    "gradient accumulation": tuple(each for each in EVERYTHING if each not in KINDS["losses"]),
    "bfloat16 autocast": (),
    "float16 autocast, GradScaler": (),
    "torch.compile": (),
    "checkpointed activations": ("ProbedGradientNorm",),
    "checkpointed, reentrant": (*KINDS["norms"], "torchjd/PCGrad", "CosineGate"),
    "DDP": KINDS["TorchJD"],
    "DDP, find_unused_parameters": KINDS["TorchJD"],
    "DDP, static_graph": (*KINDS["TorchJD"], "CosineGate"),
    "FSDP2": (*GRADIENTS, "CosineGate"),
    "FSDP2, bfloat16 policy": tuple(each for each in EVERYTHING if each not in KINDS["losses"]),
    "LoRA (PEFT)": (),
    "Lightning": (),
    "Lightning, LBFGS": ("Uncertainty", *MORE),
    "Fabric": (),
    "Accelerate": (),
    "Transformers": MORE,
    "scikit-learn": SAMPLES,
}
"""Setup → methods that say in a sentence that they cannot; all others are right."""

PLACE = Path(__file__).parents[2] / "docs" / "setups.md"
BEGIN, END = "<!-- made by tests/setups/table.py -->", "<!-- end -->"


def expected(setup, method):
    """What a method does in a setup."""
    return REFUSED if method in REFUSALS[setup] else RIGHT


def cell(setup, kind):
    """What is told of the methods of a kind."""
    refused = [method for method in KINDS[kind] if method in REFUSALS[setup]]
    if len(refused) in (0, len(KINDS[kind])):
        return REFUSED if refused else RIGHT
    return f"{RIGHT}; {', '.join(refused)}: {REFUSED}"


def rendered():
    """The table in Markdown."""
    lines = ["| | " + " | ".join(HEADINGS[kind] for kind in KINDS) + " |"]
    lines.append("|---" * (1 + len(KINDS)) + "|")
    lines += [
        f"| {setup} | " + " | ".join(cell(setup, kind) for kind in KINDS) + " |"
        for setup in REFUSALS
    ]
    return "\n".join(lines)


def inserted(text):
    """A document with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rendered()}\n{END}{after}"


if __name__ == "__main__":
    PLACE.write_text(inserted(PLACE.read_text()))
