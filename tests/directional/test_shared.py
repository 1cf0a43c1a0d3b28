import copy

import pytest
import torch
from torch import nn

from equipoise.directional import (
    border_parameters,
    parameters_of,
    parameters_of_graph,
    shared_parameters,
)
from equipoise.losses import task_losses


class Tree(nn.Module):
    """A stem of all, a branch of the first two tasks, and a head for each of three."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.branch = nn.Linear(4, 4)
        self.heads = nn.ModuleList([nn.Linear(4, 1) for _ in range(3)])
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs):
        stem = self.stem(inputs)
        branch = self.branch(stem)
        features = (branch, branch, stem)
        return torch.cat([head(each) for head, each in zip(self.heads, features, strict=True)], 1)


def losses(model, inputs):
    return model(inputs) ** 2, None


def full_names(model, found):
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return [known[id(parameter)] for parameter in found]


def names(model, found):
    return {name.split(".")[0] for name in full_names(model, found)}


@pytest.mark.parametrize(
    ("main", "expected"), [(0, {"stem", "branch"}), (1, {"stem", "branch"}), (2, {"stem"})]
)
def test_reached_by_the_main_task_and_by_another(main, expected):
    model, inputs = Tree(), torch.randn(5, 3)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = shared_parameters(losses, model, inputs, main)
    assert names(model, found) == expected
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_gradient_of_zero_is_no_sign_of_being_out_of_reach():
    model = Tree()
    for head in model.heads:
        nn.init.zeros_(head.weight)  # so nothing flows back into the trunk
    found = shared_parameters(losses, model, torch.randn(5, 3), 0)
    assert names(model, found) == {"stem", "branch"}


def test_frozen_parameters_are_not_shared():
    model = Tree()
    model.stem.requires_grad_(False)
    assert names(model, shared_parameters(losses, model, torch.randn(5, 3), 0)) == {"branch"}


@pytest.mark.parametrize("main", [0, 2])
def test_a_layer_with_an_output_for_each_task_is_not_shared(main):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    found = shared_parameters(losses, model, torch.randn(5, 3), main)
    assert full_names(model, found) == ["0.weight", "0.bias"]


def test_of_one_task_all_that_it_reaches():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    found = shared_parameters(losses, model, torch.randn(5, 3), 0)
    assert [id(each) for each in found] == [id(each) for each in model.parameters()]


def test_nothing_shared_is_an_error():
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])

    def apart(model, inputs):
        return torch.cat([each(inputs) for each in model], 1) ** 2, None

    with pytest.raises(ValueError, match="no parameter is reached by the main task and by another"):
        shared_parameters(apart, model, torch.randn(5, 3), 0)


def masked(model, batch):
    inputs, mask = batch
    return model(inputs) ** 2, mask


FINDERS = [shared_parameters, border_parameters]


@pytest.mark.parametrize("find", FINDERS)
def test_a_batch_that_cannot_tell(find):
    model, inputs = Tree(), torch.randn(5, 3)
    for present in ([], [0], [1, 2]):
        mask = torch.zeros(5, 3, dtype=torch.bool)
        mask[2, present] = True
        assert find(masked, model, (inputs, mask), 0) is None
    assert find(masked, model, (inputs[:0], torch.ones(0, 3) > 0), 0) is None
    assert find(losses, nn.Linear(3, 1), inputs[:0], 0) is None


@pytest.mark.parametrize("find", FINDERS)
def test_tasks_without_labels_do_not_count(find):
    """Without the third task, the branch is shared by all there are."""
    model, inputs = Tree(), torch.randn(5, 3)
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[:, 2] = False
    found = find(masked, model, (inputs, mask), 0)
    assert names(model, found) == {"branch"} | ({"stem"} if find is shared_parameters else set())


class Encoder(nn.Module):
    """A transformer; heads apart, or in one layer; a norm at the end, or in front of each part."""

    def __init__(self, first, fused):
        super().__init__()
        self.position = nn.Parameter(torch.randn(5, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0, batch_first=True, norm_first=first)
        norm = nn.LayerNorm(8) if first else None
        self.trunk = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
        self.heads = nn.ModuleList([nn.Linear(8, 3 if fused else 1) for _ in range(3 - 2 * fused)])

    def forward(self, inputs):
        features = self.trunk(inputs + self.position).mean(1)
        return torch.cat([head(features) for head in self.heads], 1)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.MultiheadAttention(8, 2, batch_first=True)
        self.heads = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.heads(self.trunk(inputs, inputs, inputs, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.trunk = kind(8, 8, batch_first=True)
        self.heads = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.heads(self.trunk(self.stem(inputs))[0][:, -1])


class Residual(nn.Module):
    """Of which the last layer is near to the heads, and the first as near by the way around."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.stem = nn.Linear(8, 8)
        self.last = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.heads = nn.ModuleList([nn.Linear(8, 1) for _ in range(3)])

    def forward(self, inputs):
        stem = self.stem(self.scale * inputs.mean(1))
        features = stem + self.last(stem)
        return torch.cat([head(features) for head in self.heads], 1)


class WithoutModules(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(8, 8))
        self.part = nn.Linear(8, 8)
        self.second = nn.Parameter(torch.randn(8, 8))
        self.bias = nn.Parameter(torch.randn(8))
        self.heads = nn.Parameter(torch.randn(8, 3))

    def forward(self, inputs):
        features = self.part((inputs.mean(1) @ self.first).tanh())
        return (features @ self.second + self.bias) @ self.heads


def normed():
    layers = nn.Conv1d(5, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4)
    return nn.Sequential(*layers, nn.PReLU(), nn.Flatten(), nn.LazyLinear(3))


def parametrized():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 3))
    model(torch.randn(2, 5, 8))
    nn.utils.parametrizations.weight_norm(model[1])
    return model


def of_rnn(number):
    return [f"trunk.{kind}_l{number}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


LAST = ["linear2.weight", "linear2.bias"]
BORDERS = {
    "norm behind the last layer": (
        lambda: Encoder(False, False),
        [f"trunk.layers.1.{name}" for name in (*LAST, "norm2.weight", "norm2.bias")],
    ),
    "norm at the end": (
        lambda: Encoder(True, True),
        [*(f"trunk.layers.1.{name}" for name in LAST), "trunk.norm.weight", "trunk.norm.bias"],
    ),
    "attention": (Attending, ["trunk.out_proj.weight", "trunk.out_proj.bias"]),
    "lstm": (lambda: Recurrent(nn.LSTM), of_rnn(0)),
    "gru": (lambda: Recurrent(nn.GRU), of_rnn(0)),
    "residual": (Residual, ["last.2.weight", "last.2.bias"]),
    "parameters without modules": (WithoutModules, ["second", "bias"]),
    "convolution and norm": (
        normed,
        ["3.weight", "3.bias", "4.weight", "4.bias", "5.weight"],
    ),
    "parametrized": (
        parametrized,
        ["1.bias", "1.parametrizations.weight.original0", "1.parametrizations.weight.original1"],
    ),
}


@pytest.mark.parametrize("main", [0, 1])
@pytest.mark.parametrize(("make", "expected"), BORDERS.values(), ids=BORDERS)
def test_border(make, expected, main):
    model, inputs = make(), torch.randn(4, 5, 8)
    model(inputs)
    for name, parameter in model.named_parameters():
        if "heads" in name:
            nn.init.zeros_(parameter)  # so nothing flows back into the trunk
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = border_parameters(losses, model, inputs, main)
    assert full_names(model, found) == expected
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("main", [0, 1, 2])
def test_every_task_passes_the_border(main):
    model = Tree()
    found = border_parameters(losses, model, torch.randn(5, 3), main)
    assert full_names(model, found) == [
        "stem.0.weight",
        "stem.0.bias",
        "stem.1.weight",
        "stem.1.bias",
    ]


def test_border_of_one_task_is_its_last_layer():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    assert full_names(model, border_parameters(losses, model, torch.randn(5, 3), 0)) == [
        "2.weight",
        "2.bias",
    ]


def test_border_without_a_matrix_is_all_that_is_shared():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.heads = nn.Linear(3, 2)

        def forward(self, inputs):
            return self.heads(self.scale * inputs)

    model = Scaled()
    assert full_names(model, border_parameters(losses, model, torch.randn(5, 3), 0)) == ["scale"]


def test_border_of_a_frozen_trunk_that_nothing_else_shares():
    model = Tree()
    model.stem.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter is reached by all tasks"):
        border_parameters(losses, model, torch.randn(5, 3), 0)


def test_border_of_a_compiled_model():
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    compiled = torch.compile(model, backend="aot_eager")
    found = border_parameters(losses, compiled, torch.randn(5, 3), 0)
    assert full_names(model, found) == ["2.weight", "2.bias"]


# Of the graph of task losses


def graph_of(model, inputs, mask=None):
    return task_losses(model(inputs) ** 2, mask)[0]


def test_leaves_of_a_graph_that_more_than_one_task_reaches():
    model, inputs = Tree(), torch.randn(5, 3)
    model.stem[0].bias.requires_grad_(False)
    task_means = graph_of(model, inputs)
    found = parameters_of_graph(task_means)
    assert sorted(full_names(model, found)) == sorted(
        ["stem.0.weight", "stem.1.weight", "stem.1.bias", "branch.weight", "branch.bias"]
    )
    assert all(parameter.grad is None for parameter in model.parameters())
    task_means.sum().backward()  # the graph is kept


def test_a_graph_with_a_layer_for_all_heads():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    found = parameters_of_graph(graph_of(model, torch.randn(5, 3)))
    assert sorted(full_names(model, found)) == ["0.bias", "0.weight"]


def test_a_graph_with_fewer_than_two_tasks_cannot_tell():
    model, mask = Tree(), torch.zeros(5, 3, dtype=torch.bool)
    assert parameters_of_graph(graph_of(model, torch.randn(5, 3), mask)) is None
    mask[:, 1] = True
    assert parameters_of_graph(graph_of(model, torch.randn(5, 3), mask)) is None
    mask[0, 2] = True
    assert names(model, parameters_of_graph(graph_of(model, torch.randn(5, 3), mask))) == {"stem"}
    assert parameters_of_graph(torch.zeros(2, requires_grad=True)) is None


def test_graph_of_one_task():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    found = parameters_of_graph(graph_of(model, torch.randn(5, 3)))
    assert full_names(model, found) == full_names(model, model.parameters())


def test_graphs_without_anything_shared():
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
    inputs = torch.randn(5, 3)
    apart = torch.stack([each(inputs).mean() for each in model])
    with pytest.raises(ValueError, match="no parameter is reached by more than one task"):
        parameters_of_graph(apart)
    with pytest.raises(ValueError, match="the losses have no graph"):
        parameters_of_graph(apart.detach())


# As given


def test_the_same_parameter_twice():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    model[1].bias = model[0].bias
    assert len(parameters_of(model)) == 3
    with pytest.raises(ValueError, match="shared holds the same parameter twice"):
        parameters_of([model[0].weight, model[0].bias, model[1].bias])
