import gzip
import math
import struct

import numpy as np
import pytest
import torch
from problems.scored import scored

from equipoise.errors import UserError
from equipoise.losses import task_losses
from equipoise.problems.images.idx import read_idx
from equipoise.problems.images.multimnist import multimnist
from equipoise.study.auditing.members import OF_CLASSES

GENERATOR = np.random.default_rng(0)
IMAGES = {
    part: GENERATOR.integers(1, 256, (size, 28, 28), dtype=np.uint8)
    for part, size in (("train", 500), ("t10k", 200))
}
LABELS = {
    part: GENERATOR.integers(0, 10, len(images), dtype=np.uint8) for part, images in IMAGES.items()
}


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def written(folder, changed=()):
    """The four files, of the images above; half of them gzipped."""
    arrays = {f"{part}-images-idx3-ubyte": IMAGES[part] for part in IMAGES}
    arrays |= {f"{part}-labels-idx1-ubyte": LABELS[part] for part in LABELS} | dict(changed)
    for name, array in arrays.items():
        if "images" in name:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array), 1))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def clean(folder):
    return multimnist(folder)


def every(part):
    return part[torch.arange(len(part))]


def parts(problem):
    return problem.train, problem.held_out, problem.validation, problem.test


# idx


@pytest.mark.parametrize("shape", [(), (7,), (3, 2), (0, 4), (2, 3, 4)])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read(tmp_path, shape, packed):
    array = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / ("a.gz" if packed else "a")
    content = idx(np.asarray(array))
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    assert np.array_equal(read_idx(path), array)
    assert read_idx(path).shape == shape


WHOLE = idx(np.zeros((4, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:-1], "must have 12 bytes .* has 11"),
        (WHOLE + b"\0", "must have 12 bytes .* has 13"),
        (WHOLE[:7], "not an idx file"),
        (b"", "not an idx file"),
        (b"\0\0\x0d" + WHOLE[3:], "not an idx file of unsigned bytes"),
        (gzip.compress(WHOLE, mtime=0), "not an idx file"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize("content", [b"text", gzip.compress(WHOLE, mtime=0)[:-9], None])
def test_what_cannot_be_unpacked_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*a\.gz"):
        read_idx(tmp_path / "a.gz")


# The problem


def test_sizes_are_the_papers(clean):
    assert [len(part) for part in parts(clean)] == [15_000, 5_000, 5_000, 5_000]
    images, labels = clean.train[torch.arange(5)]
    assert (images.shape, images.dtype) == ((5, 1, 36, 36), torch.uint8)
    assert labels.shape == (5, 2)
    assert clean.network()(images).shape == (5, 2, 10)
    assert (clean.recipe.batch_size, clean.recipe.held_out_batch_size) == (64, 32)
    assert clean.recipe.steps == 10 * 235


def test_canvases_are_the_digits_of_their_labels(clean):
    """Each canvas is the brighter of two images at most 4 pixels from its middle."""
    for part, source in zip(parts(clean), ["train"] * 3 + ["t10k"], strict=True):
        images, labels = every(part)
        for index in range(0, len(part), 500):
            canvas, (left, right) = images[index, 0].numpy(), labels[index].tolist()
            found = [
                (LABELS[source][one], LABELS[source][other])
                for one, other in _explanations(canvas, IMAGES[source])
            ]
            assert (left, right) in found


def _explanations(canvas, images):
    """Pairs of images that make the canvas."""
    seen = canvas > 0
    top, start = int(seen.any(1).argmax()), int(seen.any(0).argmax())
    low, end = (36 - int(seen[::-1, ::-1].any(axis).argmax()) - 28 for axis in (1, 0))
    assert max(top, start) <= 4 <= min(low, end)
    assert max(low, end) <= 8
    box, other_box = canvas[top : top + 28, start : start + 28], canvas[low : low + 28, end:]
    # An image is nowhere brighter than the canvas.
    lefts = [k for k, image in enumerate(images) if (image <= box).all()]
    rights = [k for k, image in enumerate(images) if (image <= other_box[:, :28]).all()]
    for left in lefts:
        for right in rights:
            made = np.zeros((2, 36, 36), np.uint8)
            made[0, top : top + 28, start : start + 28] = images[left]
            made[1, low : low + 28, end : end + 28] = images[right]
            if np.array_equal(made.max(0), canvas):
                yield left, right


def test_digits_are_shifted_by_up_to_four_pixels_evenly(clean):
    seen = every(clean.train)[0][:, 0] > 0
    for axis in (1, 2):
        covered = seen.any(3 - axis)
        first = covered.to(torch.uint8).argmax(1)
        last = covered.flip(1).to(torch.uint8).argmax(1)
        for starts in (first, last):
            counts = torch.bincount(starts, minlength=5)
            assert len(counts) == 5
            assert (counts / 3_000).tolist() == pytest.approx([1] * 5, abs=0.1)


@pytest.mark.parametrize("offset", [0, 6, 8])
def test_with_an_offset_all_digits_are_in_the_same_place(clean, folder, offset):
    problem = multimnist(folder, offset=offset)
    for part, source in zip(parts(problem), ["train"] * 3 + ["t10k"], strict=True):
        images, labels = every(part)
        for index in range(0, len(part), 1_000):
            canvas = images[index, 0].numpy()
            found = [
                (LABELS[source][a], LABELS[source][b]) for a, b in _pair(canvas, source, offset)
            ]
            assert tuple(labels[index].tolist()) in found
    assert not images[:, :, offset + 28 :].any()
    assert not images[:, :, :, offset + 28 :].any()


def _pair(canvas, source, offset):
    """The pairs of images that are seen, the left one at the corner."""
    left, right = canvas[:28, :28], canvas[offset : offset + 28, offset : offset + 28]
    lefts, rights = (
        [k for k, image in enumerate(IMAGES[source]) if (image <= box).all()]
        for box in (left, right)
    )
    for one in lefts:
        for other in rights:
            made = np.zeros((2, 36, 36), np.uint8)
            made[0, :28, :28] = IMAGES[source][one]
            made[1, offset : offset + 28, offset : offset + 28] = IMAGES[source][other]
            if np.array_equal(made.max(0), canvas):
                yield one, other


@pytest.mark.parametrize("offset", [-1, 9, 1.5])
def test_an_offset_beyond_the_canvas_is_refused(folder, offset):
    with pytest.raises(UserError, match="`offset` must be a whole number from 0 to 8"):
        multimnist(folder, offset=offset)


def test_fewer_pairs_are_fewer_in_every_part(folder):
    sizes = [len(part) for part in parts(multimnist(folder, pairs=300))]
    assert sizes == [300, 100, 100, 100]
    with pytest.raises(UserError, match="`pairs` must be a whole number from 100"):
        multimnist(folder, pairs=10)


def test_parts_have_images_of_their_own(clean):
    """The first row of a left image that begins in the canvas's first row is only its own."""
    rows = []
    for part in parts(clean):
        images, _ = every(part)
        alone = images[(images[:, 0, 0] > 0).any(1)][:, 0, 0]
        rows.append({bytes(row[row > 0].tolist()) for row in alone})
    sizes = [len(each) for each in rows]
    assert sizes[0] == 300
    assert sizes[1:] == pytest.approx([100, 100, 200], abs=5)
    assert len(set.union(*rows)) == sum(sizes)


def test_is_of_its_seed(clean, folder):
    for same, part in zip(parts(multimnist(folder)), parts(clean), strict=True):
        assert torch.equal(every(same)[0], every(part)[0])
    assert not torch.equal(every(multimnist(folder, data_seed=1).test)[0], every(clean.test)[0])


@pytest.mark.parametrize(
    ("noisy", "main", "shares"),
    [("main", "left", [0.4, 0]), ("main", "right", [0, 0.4]), ("all", "left", [0.4, 0.4])],
)
def test_noise_is_where_it_says_and_nowhere_else(clean, folder, noisy, main, shares):
    noise = multimnist(folder, noise=0.4, noisy=noisy, main=main)
    images, labels = every(noise.train)
    truth = every(clean.train)[1]
    assert torch.equal(images, every(clean.train)[0])
    assert torch.equal(labels != truth, noise.corrupted)
    assert noise.corrupted.double().mean(0).tolist() == pytest.approx(shares, abs=0.02)
    # Each of the nine other digits as often.
    counts = torch.bincount(((labels - truth) % 10)[noise.corrupted], minlength=10)
    assert (counts / counts.sum()).tolist() == pytest.approx([0, *[1 / 9] * 9], abs=0.02)
    for one, other in zip(parts(noise)[1:], parts(clean)[1:], strict=True):
        assert torch.equal(every(one)[1], every(other)[1])
    assert clean.corrupted is None
    assert noise.main == main


def test_noise_of_the_held_out_part_is_there_and_nowhere_else(clean, folder):
    dirty = multimnist(folder, held_out_noise=0.3)
    (images, truth), (same, labels) = every(clean.held_out), every(dirty.held_out)
    assert torch.equal(images, same)
    changed = labels != truth
    assert changed.double().mean(0).tolist() == pytest.approx([0.3, 0], abs=0.03)
    for part in ("train", "validation", "test"):
        assert torch.equal(every(getattr(clean, part))[1], every(getattr(dirty, part))[1])
    labelled = dirty.labelled()
    start = len(dirty.train)
    assert torch.equal(torch.from_numpy(labelled.wrong[start : start + len(changed)]), changed)
    assert labelled.wrong.sum() == changed.sum()
    assert {"boosting"} == set(labelled.without) < {*OF_CLASSES}
    assert labelled.network(7)(torch.from_numpy(labelled.inputs[:2])).shape == (2, 7)


def test_pictures_are_the_canvases(clean):
    pictures = clean.pictures(torch.tensor([3, 0]))
    assert (pictures.shape, pictures.dtype) == ((2, 36, 36, 1), np.uint8)
    assert np.array_equal(pictures[1, :, :, 0], clean.train[torch.tensor([0])][0][0, 0].numpy())


def test_losses_equal_a_loop(clean):
    network = clean.network().double()
    images, labels = clean.train[torch.arange(6)]
    losses, mask = clean.loss_function(network, (images, labels))
    logits = network(images).tolist()
    assert mask is None
    for row in range(6):
        for task in range(2):
            own = logits[row][task]
            expected = math.log(sum(map(math.exp, own))) - own[labels[row, task]]
            assert losses[row, task].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train-images-idx3-ubyte": IMAGES["train"][:, 1:]}, r"must be \(n, 28, 28\)"),
        ({"t10k-labels-idx1-ubyte": LABELS["train"]}, r"must be \(n, 28, 28\) and \(n,\)"),
        ({"train-labels-idx1-ubyte": LABELS["train"] + 9}, "must be digits"),
        (
            {
                "t10k-images-idx3-ubyte": IMAGES["t10k"][:99],
                "t10k-labels-idx1-ubyte": LABELS["t10k"][:99],
            },
            "has 99, and 100 are needed",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        multimnist(written(tmp_path, changed))


def test_a_folder_without_a_file_is_refused(tmp_path):
    written(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="there is no t10k-labels-idx1-ubyte or"):
        multimnist(tmp_path)


def test_it_learns_mnist(data_folder):
    torch.manual_seed(0)
    problem = multimnist(data_folder / "mnist")
    network = problem.network()
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)
    for indices in torch.randperm(15_000).split(64):
        losses, mask = problem.loss_function(network, problem.train[indices])
        optimizer.zero_grad()
        task_losses(losses, mask)[0].sum().backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = scored(problem, network, problem.test)["accuracy"]
    assert accuracy["left"] > 0.5
    assert accuracy["right"] > 0.5
    assert accuracy["all"] == pytest.approx((accuracy["left"] + accuracy["right"]) / 2)
