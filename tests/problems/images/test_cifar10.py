import io
import os
import pickle
import pickletools
import tarfile

import numpy as np
import pytest
import torch
from problems.scored import scored
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from equipoise.errors import UserError
from equipoise.losses import task_losses
from equipoise.problems.images.cifar10 import cifar10
from equipoise.problems.images.cifar_files import CLASSES, read_cifar

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (4_100, 32, 32, 3), dtype=np.uint8)
LABELS = GENERATOR.integers(0, 10, 4_100)


def every(part):
    return part[torch.arange(len(part))]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An .npz file without a test part."""
    path = tmp_path_factory.mktemp("cifar") / "images.npz"
    np.savez(path, images=PIXELS, labels=LABELS, classes=np.array(CLASSES))
    return path


def saved(path, train, test=None):
    """An .npz file of the first images, with a test part of the last ones."""
    arrays = {"train_images": PIXELS[:train], "train_labels": LABELS[:train]}
    if test is None:
        arrays = {"images": PIXELS[:train], "labels": LABELS[:train]}
    else:
        arrays |= {"test_images": PIXELS[-test:], "test_labels": LABELS[-test:]}
    np.savez(path, **arrays)
    return path


PLACES = {image.tobytes(): place for place, image in enumerate(PIXELS)}


def rows_of(images):
    """Images (n, 3, 32, 32) as their places in PIXELS."""
    return [PLACES[image.tobytes()] for image in images.permute(0, 2, 3, 1).contiguous().numpy()]


# Reading


def binary(rows):
    labels = LABELS[rows].astype(np.uint8)[:, None]
    pixels = PIXELS[rows].transpose(0, 3, 1, 2).reshape(-1, 3_072)
    return np.concatenate([labels, pixels], 1).tobytes()


OLDER = {"SHORT_BINBYTES": b"U", "BINBYTES": b"T", "BINUNICODE": b"T"}
"""Strings of Python 2, whose bytes are laid out the same."""


def pickled(rows, **other):
    """As Python 2 and an old NumPy wrote it: with protocol 2, strings of bytes, and old names."""
    batch = {
        b"data": PIXELS[rows].transpose(0, 3, 1, 2).reshape(-1, 3_072),
        b"labels": LABELS[rows].tolist(),
        b"batch_label": b"training batch 1 of 5",
        b"filenames": [b"camion_s_000148.png"] * len(rows),
    }
    content = pickle.dumps(batch | {name.encode(): value for name, value in other.items()}, 3)
    older = bytearray(content)
    for opcode, _, position in pickletools.genops(content):
        if opcode.name in OLDER:
            older[position : position + 1] = OLDER[opcode.name]
    older[1] = 2
    return bytes(older).replace(b"numpy._core.", b"numpy.core.")


BATCHES = [np.arange(0, 30), np.arange(30, 70)]
TEST_BATCH = np.arange(70, 95)
WRITERS = {"bin": (binary, ".bin"), "py": (pickled, "")}


def official(version):
    """File name → content."""
    write, ending = WRITERS[version]
    contents = {f"data_batch_{k + 1}{ending}": write(rows) for k, rows in enumerate(BATCHES)}
    return contents | {f"test_batch{ending}": write(TEST_BATCH), f"batches.meta{ending}": b"?"}


def folder_of(path, contents, inside=""):
    folder = path / inside
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return path


def archive_of(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("cifar-10-batches")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in reversed(contents.items()):
            member = tarfile.TarInfo(f"cifar-10-batches/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("form", ["folder", "folder above", "archive"])
def test_the_official_files(tmp_path, version, form):
    contents = official(version)
    if form == "archive":
        path = archive_of(tmp_path / "cifar.tar.gz", contents)
    else:
        path = folder_of(tmp_path, contents, f"cifar-10-batches-{version}" * (form != "folder"))
    found = read_cifar(path)
    assert found.classes == CLASSES
    for images, rows in ((found.train, np.concatenate(BATCHES)), (found.test, TEST_BATCH)):
        assert np.array_equal(images.pixels, PIXELS[rows].transpose(0, 3, 1, 2))
        assert np.array_equal(images.labels, LABELS[rows])


def test_of_both_versions_one_is_read(tmp_path):
    for version in WRITERS:
        folder_of(tmp_path, official(version), f"cifar-10-batches-{version}")
    assert len(read_cifar(tmp_path).train.labels) == 70


def test_npz_with_and_without_a_test_part(tmp_path, file):
    found = read_cifar(saved(tmp_path / "two.npz", 30, 20))
    assert np.array_equal(found.train.pixels, PIXELS[:30].transpose(0, 3, 1, 2))
    assert np.array_equal(found.test.labels, LABELS[-20:])
    assert found.classes == CLASSES
    assert read_cifar(file).test is None


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "harm",
    [
        lambda path: Call(os.mkdir, path),
        lambda path: Call(eval, f"__import__('os').mkdir({path!r})"),
        lambda path: {b"data": [Call(os.mkdir, path)]},
    ],
)
def test_a_pickle_can_run_nothing(tmp_path, harm, protocol):
    harmful = pickle.dumps(harm(str(tmp_path / "harm")), protocol)
    (tmp_path / "data_batch_1").write_bytes(harmful)
    with pytest.raises(UserError, match=r"asks for .*, which no batch of CIFAR-10 does"):
        read_cifar(tmp_path)
    assert not (tmp_path / "harm").exists()
    pickle.loads(harmful)
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1]), "no dict"),
        (pickle.dumps({b"data": 1}), "no 'data'"),
        (pickled([0], data=np.array([[None] * 3_072])), "something else than bytes"),
        (pickled([0], data=np.zeros((1, 3_072))), "something else than bytes"),
        (pickled([0], data=np.zeros((1, 10), np.uint8)), "no 'data'"),
        (pickled([0], labels=[1, 2]), "no 'labels'"),
        (pickled([0], labels=["1"]), "no 'labels'"),
        (pickled([0], labels=[10**30]), "no 'labels'"),
        (pickled([0], labels=[10]), "from 0 to 9, found 10"),
        (b"", "damaged"),
        (b"\x80\x02cnumpy\nndarray\nq\x00}b.", "damaged"),
        (b"no pickle", "data_batch_1 of"),
    ],
)
def test_a_strange_pickle_is_refused(tmp_path, content, message):
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_cifar(tmp_path)


def test_a_pickle_that_ends_anywhere_is_refused(tmp_path):
    whole = pickled([0])
    ends = [*range(300), *range(300, len(whole), 211), len(whole) - 1]
    for end in ends:
        (tmp_path / "data_batch_1").write_bytes(whole[:end])
        with pytest.raises(UserError, match="get it again"):
            read_cifar(tmp_path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "no batch of CIFAR-10"),
        ({"test_batch.bin": binary([0])}, "no batch of CIFAR-10 to train on"),
        ({"data_batch_1.bin": binary([0])[:-1]}, "3,072 bytes, not a multiple of 3,073"),
        ({"data_batch_1.bin": b""}, "0 bytes"),
        ({"data_batch_1.bin": b"\x0a" + binary([0])[1:]}, "from 0 to 9, found 10"),
    ],
)
def test_strange_batches_are_refused(tmp_path, contents, message):
    with pytest.raises(UserError, match=message):
        read_cifar(folder_of(tmp_path, contents))


@pytest.mark.parametrize("name", ["missing.npz", "missing.tar.gz", "text.npz", "text.tar.gz"])
def test_what_is_no_such_file_is_refused(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("text")
    with pytest.raises(UserError, match=f"cannot read .*{name}"):
        read_cifar(tmp_path / name)


def test_a_cut_archive_is_refused(tmp_path):
    path = archive_of(tmp_path / "cifar.tar.gz", official("bin"))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(UserError, match="cannot read"):
        read_cifar(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": PIXELS[:20].astype(float)}, "in uint8"),
        ({"images": PIXELS[:20, :16]}, r"must be \(images, 32, 32, 3\)"),
        ({"labels": LABELS[:19]}, "one for each image"),
        ({"labels": LABELS[:20] / 2}, "integers"),
        ({"labels": LABELS[:20] - 1}, "from 0 to 9, found -1"),
        ({"labels": np.array([{}] * 20)}, "cannot read"),
    ],
)
def test_a_strange_npz_is_refused(tmp_path, changed, message):
    np.savez(tmp_path / "a.npz", **{"images": PIXELS[:20], "labels": LABELS[:20]} | changed)
    with pytest.raises(UserError, match=message):
        read_cifar(tmp_path / "a.npz")


def test_an_npz_without_labels_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS[:20])
    with pytest.raises(UserError, match="no array 'labels'"):
        read_cifar(tmp_path / "a.npz")


# The problem


@pytest.mark.parametrize(
    ("train", "test", "sizes"),
    [
        (4_100, None, [800, 200, 1_000, 2_000]),
        (2_000, None, [800, 200, 500, 500]),
        (1_000, None, [600, 200, 100, 100]),
        (1_000, 300, [700, 200, 100, 300]),
        (1_500, 2_500, [800, 200, 500, 2_000]),
    ],
)
def test_sizes_and_whose_images(tmp_path, train, test, sizes):
    problem = cifar10(saved(tmp_path / "a.npz", train, test))
    parts = [problem.train, problem.held_out, problem.validation, problem.test]
    assert [len(part) for part in parts] == sizes
    assert all(f"{size:,}" in problem.notes[0] for size in sizes)
    found = [rows_of(every(part)[0]) for part in parts]
    for part, rows in zip(parts, found, strict=True):
        assert torch.equal(every(part)[1], torch.eye(10)[LABELS[rows]])
    together = np.concatenate(found)
    assert len(np.unique(together)) == len(together)
    assert max(map(max, found[:3])) < train
    assert (min(found[3]) >= 4_100 - test) if test else (max(found[3]) < train)


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (400, None, {}, "400 training images, of which 200 are kept to choose on and to test;"),
        (1_000, None, {"train_size": 800}, "and to test; `train_size`"),
        (2_000, None, {"train_size": 0}, "`train_size` must be"),
        (2_000, None, {"held_out": 0}, "`held_out` must be"),
        (2_000, 2_000, {"train_size": 1_701}, "of which 100 are kept to choose on;"),
        (2_000, 99, {}, "99 test images"),
    ],
)
def test_too_few_images_are_refused(tmp_path, train, test, options, message):
    with pytest.raises(UserError, match=message):
        cifar10(saved(tmp_path / "a.npz", train, test), **options)


def test_sizes_can_be_given(tmp_path):
    problem = cifar10(saved(tmp_path / "a.npz", 2_000, 2_000), train_size=1_700, held_out=200)
    assert [len(problem.train), len(problem.held_out), len(problem.validation)] == [1_700, 200, 100]
    assert problem.recipe.steps == 40 * 27


def test_the_recipe_is_the_papers(file):
    recipe = cifar10(file).recipe
    assert (recipe.steps, recipe.batch_size, recipe.held_out_batch_size) == (40 * 13, 64, 256)


@pytest.mark.parametrize(
    ("given", "name"), [("0", "airplane"), ("9", "truck"), ("frog", "frog"), ("-1", None)]
)
def test_the_main_task_by_name_or_number(file, given, name):
    if name:
        assert cifar10(file, main=given).main == name
    else:
        with pytest.raises(UserError, match="`main`: there is no class '-1'"):
            cifar10(file, main=given)


@pytest.mark.parametrize("noisy", ["main", "all"])
@pytest.mark.parametrize("kind", ["uniform", "background"])
def test_noise_is_where_it_says_and_nowhere_else(file, kind, noisy):
    clean = cifar10(file, main="3")
    noise = cifar10(file, main="3", noise=0.6, noise_kind=kind, noisy=noisy)
    images, labels = every(noise.train)
    clean_images, truth = every(clean.train)
    assert torch.equal(images, clean_images)
    assert torch.equal(labels != truth, noise.corrupted)
    for part in ("held_out", "validation", "test"):
        for one, other in zip(
            every(getattr(noise, part)), every(getattr(clean, part)), strict=True
        ):
            assert torch.equal(one, other)
    affected = [3] if noisy == "main" else list(range(10))
    assert noise.corrupted.any(0).nonzero().flatten().tolist() == affected
    flipped = noise.corrupted[:, affected].double()
    yes = truth[:, affected] == 1
    assert flipped[yes].mean() == pytest.approx(0.6 * (kind == "uniform"), abs=0.15)
    assert flipped[~yes].mean() == pytest.approx(0.6, abs=0.06)


def test_noise_of_the_held_out_part_is_there_and_nowhere_else(file):
    clean, dirty = cifar10(file, noise=0.2), cifar10(file, noise=0.2, held_out_noise=0.3)
    (images, truth), (same, labels) = every(clean.held_out), every(dirty.held_out)
    assert torch.equal(images, same)
    changed = labels != truth
    assert changed.any(0).tolist() == [True] + [False] * 9
    assert 0.15 < changed[:, 0].double().mean() < 0.45
    for part in ("train", "validation", "test"):
        assert torch.equal(every(getattr(clean, part))[1], every(getattr(dirty, part))[1])
    labelled = dirty.labelled()
    start = len(dirty.train)
    assert torch.equal(torch.from_numpy(labelled.wrong[start : start + len(changed)]), changed)
    assert torch.equal(torch.from_numpy(labelled.wrong[:start]), dirty.corrupted)
    parts = (dirty.train, dirty.held_out, dirty.validation, dirty.test)
    assert len(labelled.inputs) == sum(map(len, parts))
    assert [target.name for target in labelled.targets] == list(dirty.tasks)
    assert labelled.pictures(np.array([0, start])).shape == (2, 32, 32, 3)
    assert labelled.network(7)(torch.from_numpy(labelled.inputs[:2])).shape == (2, 7)


def test_the_first_images_of_the_file_are_taken_in_its_order(file):
    problem = cifar10(file, order="file", train_size=30, held_out=20)
    with np.load(file) as arrays:
        images = arrays["images" if "images" in arrays else "train_images"].transpose(0, 3, 1, 2)
    for part, rows in ((problem.train, slice(30)), (problem.held_out, slice(30, 50))):
        np.testing.assert_array_equal(every(part)[0], images[rows])
    again = cifar10(file, order="file", train_size=30, held_out=20, data_seed=1)
    assert torch.equal(every(problem.test)[0], every(again.test)[0])


def test_without_noise_nothing_is_known_to_be_wrong(file):
    assert cifar10(file).corrupted is None


def test_is_of_its_seed(file):
    one, same, other = (cifar10(file, noise=0.4, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(every(one.train)[0], every(same.train)[0])
    assert torch.equal(one.corrupted, same.corrupted)
    assert not torch.equal(every(one.train)[0], every(other.train)[0])


def test_pictures_are_the_training_images(file):
    problem = cifar10(file)
    indices = torch.tensor([5, 0, 5])
    pictures = problem.pictures(indices)
    assert (pictures.shape, pictures.dtype) == ((3, 32, 32, 3), np.uint8)
    assert np.array_equal(pictures, PIXELS[rows_of(problem.train[indices][0])])


def test_the_network_standardises_each_channel(file):
    problem = cifar10(file)
    network, seen = problem.network(), []
    network.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert network(every(problem.train)[0]).shape == (800, 10)
    for channel in seen[0].transpose(0, 1):
        assert channel.mean() == pytest.approx(0, abs=1e-3)
        assert channel.std() == pytest.approx(1, abs=1e-3)


def test_losses_and_metrics_are_scikit_learns(file):
    problem = cifar10(file)
    network = problem.network()
    images, labels = every(problem.test)
    with torch.no_grad():
        losses, mask = problem.loss_function(network, (images, labels))
        found = scored(problem, network, problem.test)
        chances = network(images).double().sigmoid()
    assert mask is None
    independent = {
        "ROC-AUC": roc_auc_score,
        "average precision": average_precision_score,
        "cross-entropy": log_loss,
    }
    for name, score in independent.items():
        own = [score(labels[:, task], chances[:, task]) for task in range(10)]
        assert [found[name][task] for task in CLASSES] == pytest.approx(own)
        assert found[name]["all"] == pytest.approx(np.mean(own))
    assert losses.mean(0).tolist() == pytest.approx(own, rel=1e-4)
    assert list(problem.goals) == list(found)


def test_a_class_that_does_not_occur_has_no_area(tmp_path):
    labels = LABELS % 9
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=labels)
    problem = cifar10(tmp_path / "a.npz")
    with torch.no_grad():
        areas = dict(scored(problem, problem.network(), problem.test)["ROC-AUC"])
    assert np.isnan(areas.pop("truck"))
    assert areas.pop("all") == pytest.approx(np.mean(list(areas.values())))


@pytest.mark.parametrize("name", ["cifar10_jpeg_6000.npz", "cifar10_train_first4000.npz"])
def test_it_learns_real_images(data_folder, name):
    torch.manual_seed(0)
    problem = cifar10(data_folder / name)
    network = problem.network()
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)
    for indices in torch.randperm(800).split(64) * 20:
        losses, mask = problem.loss_function(network, problem.train[indices])
        optimizer.zero_grad()
        task_losses(losses, mask)[0].sum().backward()
        optimizer.step()
    with torch.no_grad():
        areas = scored(problem, network, problem.test)["ROC-AUC"]
    assert areas["airplane"] > 0.7
    assert areas["all"] > 0.65
