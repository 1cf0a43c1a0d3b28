"""Scenes in the layout of NYUv2: reading, losses, scores, augmentation, and what is refused."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from problems.scored import scored
from problems.vision.made_up import HEIGHT, WIDTH, scene, wall, write

import equipoise
from equipoise.errors import UserError
from equipoise.problems.vision.augmentation import Augmented, cropped, mirrored
from equipoise.problems.vision.layout import Batch, Scenes, open_part
from equipoise.problems.vision.network import network_of
from equipoise.problems.vision.nyuv2 import nyuv2
from equipoise.problems.vision.orientation import normals_of_depth
from equipoise.problems.vision.tasks import MedianAngle, angle, answers, losses, masks
from equipoise.study.sources import Source


@pytest.fixture
def broken(tmp_path):
    write(tmp_path, "train", [scene(seed) for seed in range(10)])
    write(tmp_path, "val", [scene(100)])
    return tmp_path


problem_of = partial(nyuv2, height=HEIGHT)


def scenes(folder, part="train", size=(HEIGHT, WIDTH), **options):
    found = open_part(folder / part)
    return Scenes(found, range(found.scenes), size, **options)


def every(part):
    return part[torch.arange(len(part))]


def test_a_scene_is_its_files(folder):
    batch = scenes(folder)[torch.tensor([3, 0])]
    parts = scene(3)
    assert [each.dtype for each in batch] == [torch.float32, torch.int64, *[torch.float32] * 2]
    np.testing.assert_allclose(batch.image[0].permute(1, 2, 0), parts["image"], rtol=1e-6)
    np.testing.assert_array_equal(batch.label[0], parts["label"])
    np.testing.assert_allclose(batch.depth[0], parts["depth"][..., 0], rtol=1e-6)
    np.testing.assert_allclose(batch.normal[0].permute(1, 2, 0), parts["normal"], atol=1e-6)


@pytest.mark.parametrize(
    "dtypes",
    [
        {"image": "float64", "label": "int64", "depth": "float64", "normal": "float64"},
        {"image": "float16", "label": "int8", "depth": "float16", "normal": "float16"},
        {"label": "int16"},
    ],
)
def test_any_dtype_is_read(folder, tmp_path, dtypes):
    write(tmp_path, "train", [scene(seed) for seed in range(3)], **dtypes)
    expected, found = (every(scenes(each))[:4] for each in (folder, tmp_path))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one[:3], other, rtol=2e-3, atol=2e-3)


def test_halves_are_means_of_images_and_values_of_all_else(folder):
    size = (HEIGHT // 2, WIDTH // 2)
    small, large = scenes(folder, size=size)[torch.tensor([0])], scenes(folder)[torch.tensor([0])]
    means = large.image.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    torch.testing.assert_close(small.image, means)
    for name in ("label", "depth"):
        blocks = getattr(large, name).unfold(1, 2, 2).unfold(2, 2, 2).flatten(-2)
        assert (getattr(small, name)[..., None] == blocks).any(-1).all()
    lengths = small.normal.norm(dim=1)
    assert set(lengths.round(decimals=5).unique().tolist()) == {0.0, 1.0}


def test_normals_that_are_no_numbers_or_of_no_length_are_missing(broken):
    path = broken / "train" / "normal" / "0.npy"
    normal = np.load(path)
    normal[0, 0], normal[0, 1], normal[0, 2] = np.nan, 1e-9, 3 * normal[5, 5]
    np.save(path, normal)
    found = every(scenes(broken)).normal[0]
    assert (found[:, 0, :2] == 0).all()
    assert not masks(every(scenes(broken)))["normals"][0, 0, :2].any()


@pytest.mark.parametrize("protocol", ["slaw", "mtan"])
def test_losses_are_those_of_a_loop_over_valid_pixels(folder, protocol):
    batch = every(scenes(folder))
    batch = Batch(*(part.double() if part.is_floating_point() else part for part in batch))
    outputs = random_outputs(len(batch.image))
    found, mask = losses(protocol, outputs, batch)
    assert mask.all()
    for number in (0, 7):
        own = {name: each[number].numpy() for name, each in outputs.items()}
        entropies, logs, apart, angles = [], [], [], []
        for row in range(HEIGHT):
            for column in range(WIDTH):
                label = int(batch.label[number, row, column])
                if label >= 0:
                    logits = own["segmentation"][:, row, column]
                    entropies.append(math.log(np.exp(logits).sum()) - logits[label])
                depth = float(batch.depth[number, row, column])
                if depth:
                    predicted = own["depth"][0, row, column]
                    logs.append(math.log(predicted) - math.log(depth))
                    apart.append(abs(predicted - depth))
                normal = batch.normal[number, :, row, column].numpy()
                if normal.any():
                    ours = own["normals"][:, row, column]
                    angles.append(1 - ours @ normal / np.linalg.norm(ours))
        depth = np.mean(np.square(logs)) - np.mean(logs) ** 2 / 2
        expected = [np.mean(entropies), depth, np.mean(angles) / 2]
        if protocol == "mtan":
            expected = [np.mean(entropies), np.mean(apart), np.mean(angles)]
        np.testing.assert_allclose(found[number], expected, rtol=1e-9)


def random_outputs(number):
    generator = torch.Generator().manual_seed(1)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    return {
        "segmentation": draw(number, 13, HEIGHT, WIDTH),
        "depth": draw(number, 1, HEIGHT, WIDTH).exp(),
        "normals": draw(number, 3, HEIGHT, WIDTH),
    }


@pytest.mark.parametrize("protocol", ["slaw", "mtan"])
def test_a_scene_without_a_label_has_no_loss_and_a_gradient_that_is_finite(folder, protocol):
    image, label, depth, normal = every(scenes(folder))
    label[0], depth[1], normal[2] = -1, 0, 0
    outputs = {name: each.requires_grad_() for name, each in random_outputs(len(image)).items()}
    found, mask = losses(protocol, outputs, Batch(image, label, depth, normal))
    assert mask[:4].tolist() == [
        [False, True, True],
        [True, False, True],
        [True, True, False],
        [True] * 3,
    ]
    found.sum().backward()
    for output in outputs.values():
        assert output.grad.isfinite().all()
    assert (outputs["segmentation"].grad[0] == 0).all()
    assert (outputs["depth"].grad[1] == 0).all()
    assert (outputs["normals"].grad[2] == 0).all()


def test_scores_are_those_of_their_definitions(folder):
    problem = problem_of(folder)
    outputs = random_outputs(len(problem.test))

    class Says(torch.nn.Module):
        def forward(self, image):
            rows = [int(torch.argmin((test_images - one).abs().sum((1, 2, 3)))) for one in image]
            return {name: each[rows].float() for name, each in outputs.items()}

    batch = every(problem.test)
    test_images = batch.image
    found = scored(problem, Says(), problem.test)
    valid = masks(batch)
    outputs = {name: each.float() for name, each in outputs.items()}
    predicted = outputs["segmentation"].argmax(1)[valid["segmentation"]].numpy()
    label = batch.label[valid["segmentation"]].numpy()
    overlaps = [
        ((predicted == each) & (label == each)).sum()
        / ((predicted == each) | (label == each)).sum()
        for each in range(13)
    ]
    ours = outputs["depth"][:, 0][valid["depth"]].double().numpy()
    depth = batch.depth[valid["depth"]].double().numpy()
    normals = outputs["normals"].movedim(1, -1)[valid["normals"]].double().numpy()
    truth = batch.normal.movedim(1, -1)[valid["normals"]].double().numpy()
    cosines = (normals * truth).sum(1) / np.linalg.norm(normals, axis=1)
    degrees = np.degrees(np.arccos(cosines / np.linalg.norm(truth, axis=1)))
    near = np.maximum(ours / depth, depth / ours) < 1.25
    right = [(predicted == label).mean(), near.mean(), (degrees < 11.25).mean()]
    expected = {
        "share right": np.mean(right),
        "mIoU": np.mean(overlaps),
        "depth error, m": np.abs(ours - depth).mean(),
        "relative depth error": (np.abs(ours - depth) / depth).mean(),
        "depth RMSE, m": np.sqrt(np.square(ours - depth).mean()),
        "mean angle, °": degrees.mean(),
        "within 22.5°": (degrees < 22.5).mean(),
        "within 30°": (degrees < 30).mean(),
    }
    for name, value in expected.items():
        assert found[name]["all"] == pytest.approx(value, rel=1e-5), name
    assert found["median angle, °"]["normals"] == pytest.approx(np.median(degrees), abs=0.02)


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 11.25, 90.0, 179.9999])
def test_angles_are_exact_also_near_zero(degrees):
    turned = [math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 0]
    one, other = torch.tensor([[2.0, 0, 0], turned], dtype=torch.float64).split(1)
    assert float(angle(one, other)) == pytest.approx(degrees, rel=1e-6, abs=1e-9)


def test_a_median_of_batches_is_that_of_all():
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(2, 1_001, 3, generator=generator, dtype=torch.float64)
    metric = MedianAngle()
    for part in pairs.split(100, dim=1):
        metric.update(*part)
    assert float(metric.compute()) == pytest.approx(float(angle(*pairs).median()), abs=0.011)


def test_what_is_mirrored_looks_the_other_way(folder):
    batch = scenes(folder)[torch.tensor([2])]
    one = Batch(*(part[0] for part in batch))
    other = mirrored(one)
    assert torch.equal(mirrored(other).normal, one.normal)
    # The normals are still those of the depths.
    for each in (one, other):
        told = each.normal[:, :-1, 1:-1]
        exact = normals_of_depth(each.depth[None])[0][:, :, : told.shape[2]]
        flat = (
            (each.depth[:-1, 1:-1] > 0) & (told.norm(dim=0) > 0) & (exact[:, :, :].norm(dim=0) > 0)
        )
        assert (told * exact).sum(0)[flat].median() > 0.999


def test_what_is_brought_nearer_is_less_deep_and_has_the_same_normals(folder):
    """Of the middle of a wall that faces the camera all is known."""
    flat = Batch(
        torch.rand(3, HEIGHT, WIDTH),
        torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 13,
        torch.full((HEIGHT, WIDTH), 3.0),
        torch.tensor([0.0, 0, 1])[:, None, None].expand(3, HEIGHT, WIDTH),
    )
    near = cropped(flat, 1.5, 0.5, 0.5)
    assert (near.depth == 2).all()
    assert torch.equal(near.normal, flat.normal)
    inner = flat.label[4:20, 6:27]
    assert set(near.label.unique().tolist()) <= set(inner.unique().tolist())
    assert near.label[0, 0] == inner[0, 0]
    same = cropped(flat, 1.0, 0.3, 0.7)
    assert all(torch.equal(one, other) for one, other in zip(same, flat, strict=True))


def test_augmentation_is_of_the_generator(folder):
    augmented = Augmented(scenes(folder))
    rows = torch.arange(8)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(augmented[rows])
    assert all(torch.equal(one, other) for one, other in zip(*drawn[:2], strict=True))
    assert not torch.equal(drawn[0].image, drawn[2].image)


@pytest.mark.parametrize("flipped", [False, True])
def test_normals_that_point_the_other_way_are_noticed(folder, tmp_path, flipped):
    for part, number in (("train", 12), ("val", 2)):
        made = [scene(seed) for seed in range(number)]
        for each in made:
            each["normal"] = each["normal"] * [1, -1 if flipped else 1, 1]
        write(tmp_path, part, made)
    (*notes,) = problem_of(tmp_path).notes
    assert any("`normals_y` down" in note for note in notes) == flipped
    assert problem_of(tmp_path, normals_y="down" if flipped else "up").notes == []


def test_normals_of_a_wall():
    """z = 3 + x/2 has the normal (−1/2, 0, 1) where z is depth, so (1/2, 0, 1) to the camera."""
    depth = torch.tensor(wall(0.5, 0.0, 3.0))[None]
    expected = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64) / 1.25**0.5
    found = normals_of_depth(depth)[0].flatten(1)
    torch.testing.assert_close(found, expected[:, None].expand_as(found))


def test_the_parts_do_not_overlap_and_follow_their_seed(folder):
    problem = problem_of(folder, main="segmentation", held_out=0.25)
    parts = [problem.train, problem.validation, problem.held_out]
    rows = [row for part in parts for row in part.rows]
    assert sorted(rows) == list(range(20))
    assert [len(part) for part in parts] == [13, 2, 5]
    assert len(problem.test) == 6
    other = problem_of(folder, main="segmentation", held_out=0.25, data_seed=1)
    assert other.train.rows != problem.train.rows
    assert problem_of(folder).held_out is None


def test_protocols(folder):
    slaw, mtan = problem_of(folder), problem_of(folder, protocol="mtan")
    assert (slaw.recipe.steps, slaw.recipe.batch_size, slaw.recipe.clip) == (660, 36, 0.5)
    assert (mtan.recipe.steps, mtan.recipe.batch_size) == (200 * 3, 8)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = mtan.recipe.optimizer([parameter], 1e-4)
    schedule = mtan.recipe.schedule(optimizer, 6)
    rates = []
    for _ in range(6):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 5e-5, 2.5e-5])


def test_the_small_network_has_the_size_it_says_and_mixes_no_scenes():
    network = network_of("small")()
    size = sum(each.numel() for each in network.parameters())
    assert 300_000 < size < 500_000
    images = torch.rand(3, 3, HEIGHT, WIDTH)
    together, alone = network(images), network(images[:1])
    for name, channels in {"segmentation": 13, "depth": 1, "normals": 3}.items():
        assert together[name].shape == (3, channels, HEIGHT, WIDTH)
        torch.testing.assert_close(together[name][:1], alone[name], rtol=1e-4, atol=1e-5)
    assert (together["depth"] > 0).all()


@pytest.mark.parametrize(
    ("method", "network"),
    [
        *((method, "small") for method in ("constant", "slaw", "slgate", "slgrad", "cosinegate")),
        *((method, "resnet50") for method in ("slaw", "slgrad")),
    ],
)
def test_methods_learn_from_it(folder, tmp_path, method, network):
    result = equipoise.compare(
        "nyuv2",
        options={
            "data": folder,
            "height": HEIGHT,
            "main": "segmentation",
            "augment": True,
            "network": network,
        },
        methods=[method],
        seeds=1,
        steps=3,
        batch_size=4,
        out=tmp_path / "out",
        progress=False,
    )
    assert not result.failures
    (run,) = result.runs
    assert all(math.isfinite(value) for value in run.facts.metrics["share right"].values())


def test_a_network_of_ones_own(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vision_own.py").write_text(
        "from equipoise.problems.vision.network import Network, Residuals\n"
        "def tiny():\n    return Network(Residuals((8, 16)), 16)\n"
        "def wrong():\n    return 3\n"
    )
    problem = problem_of(folder, network="vision_own:tiny")
    assert len(list(problem.shared(problem.network()))) > 0
    with pytest.raises(UserError, match=r"must make a torch\.nn\.Module with a trunk"):
        problem_of(folder, network="vision_own:wrong").network()
    with pytest.raises(UserError, match="cannot be imported"):
        problem_of(folder, network="vision_own:missing")
    with pytest.raises(UserError, match="`network` must be small, large"):
        problem_of(folder, network="huge")


def test_a_changed_network_is_another_study(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        "from equipoise.problems.vision.network import Network, Residuals\n"
        "def tiny():\n    return Network(Residuals((8, 16)), 16)\n"
    )
    (tmp_path / "vision_changed.py").write_text(text)
    options = {"data": folder, "height": HEIGHT, "network": "vision_changed:tiny"}
    source = Source.find("nyuv2")

    def identity():
        known = source.options(options)
        return source.identity(known, source.make(known))

    before = identity()
    assert identity() == before
    (tmp_path / "vision_changed.py").write_text(f"{text}# changed\n")
    assert identity() != before


def remove(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def replaced(change):
    def replace(path):
        np.save(path, change(np.load(path)))

    return replace


@pytest.mark.parametrize(
    ("harm", "path", "sentence"),
    [
        (remove, "train/depth/9.npy", "as many files of each kind, 1 or more; found image 10, lab"),
        (cut, "train/normal/3.npy", r"cannot read .*3\.npy as an array"),
        (replaced(lambda each: each[:-1]), "train/label/4.npy", r"4\.npy must be \(24, 32\)"),
        (replaced(lambda each: each[..., 0]), "val/image/0.npy", r"must be \(height, width, 3\)"),
        (replaced(lambda each: each.astype("S3")), "val/image/0.npy", "an array of numbers"),
        (replaced(lambda each: 255 * each), "train/image/2.npy", r"must be in \[0, 1\], found 0"),
        (replaced(lambda each: each + 5), "train/label/2.npy", "classes from 0 to 12, or -1"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_a_sentence(broken, harm, path, sentence):
    harm(broken / path)
    with pytest.raises(UserError, match=sentence):
        every(problem_of(broken).train)


def test_what_is_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="scenes are in train and val, each with the folders image"):
        nyuv2(tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"height": 25}, "`height` must be from 16 to 24"),
        ({"held_out": 1.0}, "`held_out` must be from 0"),
        ({"held_out": 0.95, "main": "depth"}, "too few to split"),
    ],
)
def test_parameters_that_cannot_be(folder, options, sentence):
    with pytest.raises(UserError, match=sentence):
        nyuv2(folder, **{"height": HEIGHT, **options})


def test_answers_are_of_valid_pixels(folder):
    batch = every(scenes(folder))
    found = answers(random_outputs(len(batch.image)), batch)
    assert {task: len(pair[1]) for task, pair in found.items()} == {
        "segmentation": int((batch.label >= 0).sum()),
        "depth": int((batch.depth > 0).sum()),
        "normals": int((batch.normal.norm(dim=1) > 0).sum()),
    }
