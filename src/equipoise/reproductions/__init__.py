"""The experiments of the two papers, a short file each."""

REPRODUCTIONS = {
    name: f"equipoise.reproductions.{name.replace('-', '_')}"
    for name in (
        "slaw-regression",
        "slaw-vision",
        "slaw-screening",
        "slaw-estimate",
        "slaw-efficiency",
        "slgrad-toy",
        "slgrad-cifar",
        "slgrad-multimnist",
        "slgrad-vision",
        "slgrad-weights",
    )
}
"""Name → module whose ``REPRODUCTION`` it is."""
