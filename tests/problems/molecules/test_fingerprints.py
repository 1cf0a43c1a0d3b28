import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from equipoise.problems import cache
from equipoise.problems.molecules import fingerprints as module
from equipoise.problems.molecules.fingerprints import BITS, fingerprints

SMILES = ["CCO", "c1ccccc1C(=O)O", "CC(=O)Oc1ccccc1C(=O)O", "*", "[H][H]"]


def test_are_rdkits():
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=4, fpSize=2048)
    expected = [generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(each)) for each in SMILES]
    np.testing.assert_array_equal(np.unpackbits(fingerprints(SMILES), axis=1), expected)


def test_rows_of_what_does_not_parse_are_empty(capfd):
    packed = fingerprints(["CCO", "FAIL", "", "C1CC", "C(C)(C)(C)(C)C"])
    assert packed.any(1).tolist() == [True, False, False, False, False]
    assert "rror" not in capfd.readouterr().err


def test_progress_goes_to_stderr(capfd):
    fingerprints(SMILES)
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_of_nothing():
    assert fingerprints([]).shape == (0, BITS // 8)


def test_batches_keep_the_order(monkeypatch):
    whole = fingerprints(SMILES)
    monkeypatch.setattr(module, "BATCH", 2)
    np.testing.assert_array_equal(module._compute(SMILES), whole)


def test_in_processes_are_the_same(monkeypatch):
    whole = fingerprints(SMILES)
    monkeypatch.setattr(module, "MANY", 1)
    np.testing.assert_array_equal(module._compute(SMILES), whole)


def test_are_computed_once(monkeypatch, capfd):
    first = fingerprints(SMILES)
    capfd.readouterr()
    monkeypatch.setattr(module, "_compute", lambda smiles: pytest.fail("computed again"))
    np.testing.assert_array_equal(fingerprints(SMILES), first)
    assert capfd.readouterr().err == ""


def test_other_molecules_or_another_rdkit_are_computed(monkeypatch, cache):
    fingerprints(SMILES)
    fingerprints(SMILES[::-1])
    monkeypatch.setattr(module.rdkit, "__version__", "other")
    fingerprints(SMILES)
    assert len(list(cache.iterdir())) == 3


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a cache"),
        lambda path: np.savez(path, other=np.zeros(3)),
        lambda path: np.savez(path, packed=np.zeros((2, 256), np.uint8)),
        lambda path: np.savez(path, packed=np.array([{}], object)),
    ],
)
def test_a_damaged_cache_is_written_anew(cache, damage):
    first = fingerprints(SMILES)
    (path,) = cache.iterdir()
    damage(path)
    np.testing.assert_array_equal(fingerprints(SMILES), first)
    np.testing.assert_array_equal(np.load(path)["packed"], first)


def test_a_failed_write_leaves_nothing(cache, monkeypatch):
    def fail(path, **arrays):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(module.np, "savez_compressed", fail)
    assert fingerprints(SMILES).shape == (5, 256)
    assert list(cache.iterdir()) == []


def test_a_cache_that_is_no_folder_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "file"))
    assert fingerprints(SMILES).shape == (5, 256)


def test_without_the_variable_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("EQUIPOISE_CACHE")
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    fingerprints(SMILES)
    assert len(list((tmp_path / "equipoise").iterdir())) == 1
