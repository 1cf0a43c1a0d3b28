"""Rooms: rays against closed forms, normals against depths, and a cache that heals."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.errors import UserError
from equipoise.problems.vision.layout import CLASSES, Scenes, open_part
from equipoise.problems.vision.made_rooms import rooms
from equipoise.problems.vision.network import network_of
from equipoise.problems.vision.rooms import dataset
from equipoise.problems.vision.rooms.camera import Camera
from equipoise.problems.vision.rooms.dataset import rooms_folder
from equipoise.problems.vision.rooms.light import _clear
from equipoise.problems.vision.rooms.materials import drawn
from equipoise.problems.vision.rooms.render import _worth_seeing, render
from equipoise.problems.vision.rooms.room import FLOOR, WALL, Room
from equipoise.problems.vision.rooms.sensor import exact_normals
from equipoise.problems.vision.rooms.solids import Box, Cylinder, Ellipsoid
from equipoise.problems.vision.rooms.view import seen
from equipoise.problems.vision.sheet import PALETTE, sheet_of_predictions

SMALL = {"train": 6, "val": 2, "test": 2}


def solid(kind, half=(1.0, 2.0, 0.5), yaw=0.0, centre=(0.0, 0.0, 0.0)):
    rng = np.random.default_rng(0)
    arrays = (np.array(part, np.float32) for part in (centre, half))
    return kind(0, *arrays, yaw, drawn(rng), 0)


def ray(solid, origin, direction):
    origin, direction = (np.array(part, np.float32) for part in (origin, direction))
    return float(solid.distance(origin, direction[None])[0])


@pytest.mark.parametrize(
    ("kind", "origin", "direction", "distance"),
    [
        (Box, (-5, 0, 0), (1, 0, 0), 4),
        (Box, (-5, 1.9, 0.4), (1, 0, 0), 4),
        (Box, (-5, 2.1, 0), (1, 0, 0), np.inf),
        (Box, (-5, 0, 0), (-1, 0, 0), np.inf),
        (Box, (0, 0, 5), (0, 0, -2), 2.25),  # in lengths of the direction
        (Ellipsoid, (-5, 0, 0), (1, 0, 0), 4),
        (Ellipsoid, (-5, 1, 0), (1, 0, 0), 5 - np.sqrt(1 - 1 / 4)),
        (Ellipsoid, (-5, 1.5, 0.4), (1, 0, 0), np.inf),  # 9/16 + 16/25 is more than 1
        (Cylinder, (-5, 0, 0.4), (1, 0, 0), 4),
        (Cylinder, (-5, 1, 0), (1, 0, 0), 5 - np.sqrt(1 - 1 / 4)),
        (Cylinder, (0.5, 0, 3), (0, 0, -1), 2.5),
        (Cylinder, (0.9, 1.5, 3), (0, 0, -1), np.inf),
    ],
)
def test_rays_meet_solids_where_they_are(kind, origin, direction, distance):
    assert ray(solid(kind), origin, direction) == pytest.approx(distance, rel=1e-5)


def test_a_turned_box_is_turned():
    turned = solid(Box, half=(1, 1, 1), yaw=np.pi / 4, centre=(1, 2, 3))
    assert ray(turned, (-5, 2, 3), (1, 0, 0)) == pytest.approx(6 - np.sqrt(2), rel=1e-5)


INSIDE = {
    Box: lambda x: np.abs(x).max(-1),
    Ellipsoid: lambda x: np.linalg.norm(x, axis=-1),
    Cylinder: lambda x: np.maximum(np.linalg.norm(x[..., :2], axis=-1), np.abs(x[..., 2])),
}
"""1 on the surface, in a solid's own coordinates."""


@pytest.mark.parametrize("kind", INSIDE)
def test_normals_are_gradients_of_what_is_1_on_the_surface(kind):
    body = solid(kind, half=(0.7, 0.4, 0.9), yaw=0.6)
    rng = np.random.default_rng(0)
    directions = (rng.normal(0, 0.2, (400, 3)) + np.array([0, 1, -0.5])).astype(np.float32)
    eye = np.float32([0.2, -3.0, 1.5])
    found = body.distance(eye, directions)
    points = (eye + found[:, None] * directions)[np.isfinite(found)].astype(np.float64)
    assert len(points) > 100

    def inside(places):
        return INSIDE[kind]((places - body.centre) @ body.axes.T / body.half)

    np.testing.assert_allclose(inside(points), 1, atol=1e-4)
    steps = 1e-6 * np.eye(3)
    gradient = np.stack([inside(points + each) - inside(points - each) for each in steps], -1)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    own = (points - body.centre) @ body.axes.T / body.half
    normals = body.normals(own) @ body.axes
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cosines = (normals * gradient).sum(1)
    assert np.mean(cosines > 0.9999) > 0.97  # all but those next to an edge


def test_an_empty_room_is_its_walls():
    room = Room(np.random.default_rng(0))
    width, depth, height = map(float, room.size)
    eye = np.float32([width / 2, depth / 2, height / 2])
    camera = Camera(eye, 0.0, 0.0, 0.0, np.radians(60))
    view = seen(room, camera, 21, 21)
    assert view.depth[10, 10] == pytest.approx(width / 2, rel=1e-4)
    assert view.label[10, 10] == WALL
    np.testing.assert_allclose(exact_normals(view, camera)[10, 10], [0, 0, 1], atol=1e-5)
    down = Camera(eye, 0.3, -np.pi / 2 + 1e-3, 0.0, np.radians(20))
    floor = seen(room, down, 5, 5)
    assert (floor.label == FLOOR).all()
    assert floor.depth[2, 2] == pytest.approx(height / 2, rel=1e-3)


def test_normals_agree_with_depth():
    """Those of the triangle of three neighbouring points, where these are of one side."""
    angles = []
    for seed in range(6):
        room, camera = _worth_seeing(seed)
        view = seen(room, camera, 72, 96)
        right = view.points[:-1, 1:] - view.points[:-1, :-1]
        below = view.points[1:, :-1] - view.points[:-1, :-1]
        normal = np.cross(below, right)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
        here, beside, under = (
            (slice(-1), slice(-1)),
            (slice(-1), slice(1, None)),
            (slice(1, None), slice(-1)),
        )
        same = np.ones((71, 95), bool)
        for other in (beside, under):
            same &= view.thing[here] == view.thing[other]
            same &= (view.normals[here] * view.normals[other]).sum(-1) > 0.9999
        cosine = (normal * view.normals[:-1, :-1]).sum(-1)[same]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    assert np.median(np.concatenate(angles)) < 0.1
    assert np.mean(np.concatenate(angles) < 1) > 0.9


def test_a_shadow_is_where_something_is_in_between():
    room = Room(np.random.default_rng(0))
    room.solids = [solid(Box, half=(0.5, 0.5, 0.1), centre=(2, 2, 1))]
    points = np.float32([[[2, 2, 0], [0.2, 0.2, 0], [2, 2, 1.5]]])
    up = np.zeros_like(points) + np.float32([0, 0, 1])
    assert _clear(room, points, up, np.float32([2, 2, 2.4])).tolist() == [[0, 1, 1]]


def test_scenes_are_in_the_layout_and_hold_all_classes():
    made = [render(seed, 36, 48) for seed in range(40)]
    labels = np.concatenate([scene.label.ravel() for scene in made])
    shares = np.bincount(labels[labels >= 0], minlength=len(CLASSES)) / len(labels)
    assert shares.min() > 0.005
    assert shares.argmax() == WALL
    assert 0 < (labels == -1).mean() < 0.15
    for scene in made:
        assert scene.image.shape == (36, 48, 3)
        assert scene.depth.shape == (36, 48, 1)
        assert 0 <= scene.image.min() <= scene.image.max() <= 1
        assert (scene.depth >= 0).all()
        assert (scene.depth == 0).mean() < 0.4
        lengths = np.linalg.norm(scene.normal, axis=-1)
        assert np.isclose(lengths[lengths > 0], 1, atol=1e-5).all()
        # z is towards the camera wherever a surface is seen.
        assert (scene.normal[..., 2][lengths > 0] > -0.75).all()


def test_a_scene_is_of_its_seed():
    one, same, other = render(3, 24, 32), render(3, 24, 32), render(4, 24, 32)
    assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True))
    assert not np.array_equal(one.image, other.image)


@pytest.fixture
def drawn_once(monkeypatch):
    """Small parts, and how often they were drawn."""
    times = []
    write = dataset.write_rooms
    monkeypatch.setattr(dataset, "write_rooms", lambda *a: (times.append(a[0]), write(*a))[1])
    return times


def test_rooms_are_drawn_once_and_again_if_they_are_damaged(cache, drawn_once):
    folder = rooms_folder(24, 32, SMALL)
    assert rooms_folder(24, 32, SMALL) == folder
    assert len(drawn_once) == 1
    before = json.loads((folder / dataset.SUMS).read_text())
    assert len(before) == 4 * 10
    (folder / "val" / "depth" / "1.npy").write_bytes(b"cut")
    rooms_folder(24, 32, SMALL)
    (folder / dataset.SUMS).unlink()
    rooms_folder(24, 32, SMALL)
    assert len(drawn_once) == 3
    assert json.loads((folder / dataset.SUMS).read_text()) == before
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_the_loader_of_nyuv2_reads_them(cache):
    folder = rooms_folder(24, 32, SMALL)
    part = open_part(folder / "train")
    assert (part.scenes, part.height, part.width) == (6, 24, 32)
    batch = Scenes(part, range(6), (24, 32))[torch.arange(6)]
    expected = render(0, 24, 32)
    np.testing.assert_array_equal(batch.label[0], expected.label)
    np.testing.assert_allclose(batch.depth[0], expected.depth[..., 0], rtol=1e-6)
    np.testing.assert_allclose(batch.image[0].permute(1, 2, 0), expected.image, atol=1e-3)


@pytest.mark.parametrize("main", [None, "depth"])
def test_methods_learn_from_them(cache, monkeypatch, tmp_path, main):
    monkeypatch.setattr(
        "equipoise.problems.vision.rooms.dataset.rooms_folder",
        lambda height, width: rooms_folder(height, width, SMALL),
    )
    problem = rooms(scenes=6, main=main)
    assert problem.notes == []  # y of the normals points up
    assert (len(problem.validation), len(problem.test)) == (2, 2)
    assert len(problem.train) == (6 if main is None else 5)
    result = equipoise.compare(
        "rooms",
        options={"scenes": 6, "main": main},
        methods=["slaw" if main is None else "slgate"],
        seeds=1,
        steps=2,
        batch_size=3,
        out=tmp_path / "out",
        progress=False,
    )
    assert not result.failures
    (run,) = result.runs
    assert Image.open(io.BytesIO(run.sheet())).format == "WEBP"
    assert 'alt="predictions of sl' in result.page.read_text(encoding="utf-8")


def test_a_network_that_cannot_be_is_refused_before_anything_is_drawn(cache, monkeypatch):
    def drawn(height, width):
        raise AssertionError("drawn")

    monkeypatch.setattr("equipoise.problems.vision.rooms.dataset.rooms_folder", drawn)
    with pytest.raises(UserError, match="`network` must be small, large, resnet50"):
        rooms(network="huge")


def test_a_sheet_shows_what_a_network_says_beside_what_is_true(cache):
    part = open_part(rooms_folder(24, 32, SMALL) / "val")
    scenes = Scenes(part, range(2), (24, 32))
    with torch.no_grad():
        sheet = sheet_of_predictions(scenes, network_of("small")().eval())
    above = round(32 / 6)
    assert sheet.shape == (above + 2 * 24, 7 * 32, 3)
    columns = np.split(sheet[above:], 7, 1)
    for number in range(2):
        image, classes, said, depth, _, normal, _ = (
            np.split(column, 2)[number] for column in columns
        )
        scene = scenes[torch.tensor([number])]
        assert (image == (255 * scene.image[0]).byte().permute(1, 2, 0).numpy()).all()
        assert (classes == PALETTE[scene.label[0].numpy()]).all()  # -1 is the last colour
        assert (said != classes).any()
        assert ((depth > 0).any(-1) <= (scene.depth[0] > 0).numpy()).all()
        there = scene.normal[0].any(0).numpy()
        back = normal[there] / 127.5 - 1
        assert back == pytest.approx(scene.normal[0].permute(1, 2, 0).numpy()[there], abs=0.01)
