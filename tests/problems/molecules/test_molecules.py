import gzip
import math
import pickle
import sys
from itertools import chain

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import torch
from problems.scored import scored
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold
from sklearn.metrics import average_precision_score, mean_squared_error, r2_score, roc_auc_score

from equipoise.errors import UserError
from equipoise.losses import task_losses
from equipoise.problems import OVERALL
from equipoise.problems.molecules.assays import pcba_notes
from equipoise.problems.molecules.fingerprints import fingerprints
from equipoise.problems.molecules.molecules import molecules

HEADS = ["c1ccccc1", "c1ccncc1", "c1ccoc1", "c1ccsc1", "C1CC1", "C1CCCC1", "C1CCCCC1"]
HEADS += ["N#C", "C=C", "C#C"]
SMILES = [f"{head}C{tail}" for head in HEADS for tail in ("O", "N", "F", "Cl", "Br", "I")]
SIZE = len(SMILES)


def table(**columns):
    """Sixty molecules with a binary label that some lack, and other columns as given."""
    active = [("1", "0", "", "0")[row % 4] for row in range(SIZE)]
    return pd.DataFrame({"smiles": SMILES, "active": active, **columns})


@pytest.fixture
def write(tmp_path):
    def write(content, name="assays.csv"):
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            content.to_csv(path, index=False)
        else:
            path.write_text(content)
        return path

    return write


def numbers(seed=0, loc=0.0, scale=1.0, missing=0.3):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(SIZE) < missing, np.nan, rng.normal(loc, scale, SIZE))


def every(part):
    return part[torch.arange(len(part))]


def parts(problem):
    return problem.train, problem.validation, problem.test


def rows(part):
    """The rows of ``SMILES`` that are in a part, found by their fingerprints."""
    row_of = {bits.tobytes(): row for row, bits in enumerate(fingerprints(SMILES))}
    return [row_of[bits.numpy().tobytes()] for bits in every(part)[0]]


def error(*arguments, **options):
    with pytest.raises(UserError) as caught:
        molecules(*arguments, **options)
    return str(caught.value)


def test_binary_file(write):
    frame = table(toxic=np.arange(SIZE) % 2)
    problem = molecules(write(frame))
    assert problem.tasks == ["active", "toxic"]
    assert [len(part) for part in parts(problem)] == [48, 6, 6]
    assert list(problem.goals.items()) == [("average precision", "max"), ("ROC-AUC", "max")]
    assert list(problem.notes) == []
    assert problem.files == {}
    packed, labels, mask = every(problem.train)
    assert (packed.dtype, labels.dtype, mask.dtype) == (torch.uint8, torch.float32, torch.bool)
    assert packed.shape == (48, 256)
    assert not labels[~mask].any()
    known = sum(int(every(part)[2].sum()) for part in parts(problem))
    assert known == SIZE * 3 // 4 + SIZE
    recipe = problem.recipe
    assert (recipe.steps, recipe.batch_size, recipe.lr) == (900, 40_000, 3e-4)


def test_rows_keep_their_labels(write):
    """Each molecule's own row number as its label comes back with its fingerprint."""
    value = np.arange(SIZE) + 0.5
    problem = molecules(write(pd.DataFrame({"smiles": SMILES, "value": value})))
    train = value[rows(problem.train)]
    for part in parts(problem):
        standardised = (value[rows(part)] - train.mean()) / train.std()
        np.testing.assert_allclose(every(part)[1][:, 0], standardised, rtol=1e-5)


def test_split_is_disjoint_whole_and_of_its_seed(write):
    path = write(pd.DataFrame({"smiles": SMILES, "value": np.arange(SIZE) + 0.5}))

    first, again, other = (
        [rows(part) for part in parts(molecules(path, split_seed=seed))] for seed in (0, 0, 1)
    )
    assert sorted(chain(*first)) == sorted(chain(*other)) == list(range(SIZE))
    assert first == again
    assert set(first[2]) != set(other[2])


def test_gzip_smiles_in_any_case_and_spaces_after_commas(write, tmp_path):
    text = table().rename(columns={"smiles": "SMILES"}).to_csv(index=False).replace(",", ", ")
    path = tmp_path / "assays.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert molecules(path).tasks == ["active"]


def test_truth_values_are_binary_labels(write):
    toxic = [("True", "False", "")[row % 3] for row in range(SIZE)]
    assert molecules(write(table(toxic=toxic))).tasks == ["active", "toxic"]


def test_columns_and_their_order_are_chosen(write):
    frame = table(toxic=np.arange(SIZE) % 2, structure=SMILES).drop(columns="smiles")
    problem = molecules(write(frame), smiles="structure", targets=("toxic", "active"))
    assert problem.tasks == ["toxic", "active"]
    assert problem.main is None
    assert molecules(write(table()), main="active").deciding == "active"
    assert "there is no task 'activ'" in error(write(table()), main="activ")


def test_rows_are_those_of_the_file(write):
    frame = table(active=np.arange(SIZE) % 2)
    frame.loc[[0, 30], "smiles"] = ["FAIL", ""]
    problem = molecules(write(frame))
    assert [row - 1 for row in problem.rows] == rows(problem.train)
    assert not {1, 31} & set(problem.rows)


@pytest.mark.parametrize("split", ["random", "scaffold"])
def test_with_a_main_task_a_share_is_held_out(write, split):
    path = write(pd.DataFrame({"smiles": SMILES, "value": np.arange(SIZE) + 0.5}))
    plain = molecules(path, split=split)
    problem = molecules(path, split=split, main="value", held_out=0.25)
    own = rows(problem.held_out)
    assert sorted([*own, *rows(problem.train)]) == sorted(rows(plain.train))
    assert [row - 1 for row in problem.rows] == rows(problem.train)
    assert rows(problem.test) == rows(plain.test)
    assert rows(problem.validation) == rows(plain.validation)
    assert any(each.endswith(f"by no method: {len(own)}.") for each in problem.notes)
    values = np.arange(SIZE) + 0.5
    train = values[rows(problem.train)]
    np.testing.assert_allclose(
        every(problem.held_out)[1][:, 0], (values[own] - train.mean()) / train.std(), rtol=1e-5
    )
    if split == "scaffold":
        found = [{_murcko(SMILES[row]) for row in each} for each in (own, rows(problem.train))]
        assert not found[0] & found[1]
    else:
        assert len(own) == round(0.25 * len(plain.train))


def test_rows_of_a_molecule_are_held_out_together(write):
    frame = pd.DataFrame({"smiles": SMILES * 3, "value": np.arange(3 * SIZE) + 0.5})
    problem = molecules(write(frame), main="value")
    assert not set(rows(problem.held_out)) & set(rows(problem.train))
    assert len(problem.held_out) == 3 * len(set(rows(problem.held_out)))


def test_none_is_held_out_where_none_is_asked_for(write):
    path = write(table())
    for problem in (molecules(path), molecules(path, main="active", held_out=0)):
        assert problem.held_out is None
        assert problem.notes == molecules(path).notes
    assert "`held_out`" in error(path, main="active", held_out=-1)


def test_ids_and_text_are_left_out_and_said_so(write):
    frame = table(cid=np.arange(SIZE) + 1000, name=[f"m{row}" for row in range(SIZE)])
    problem = molecules(write(frame))
    assert problem.tasks == ["active"]
    text, ids, *_ = problem.notes
    assert "not all numbers, 'name'" in text
    assert "'cid'" in ids
    assert "`targets` can name them" in ids
    assert molecules(write(frame), targets=("cid",)).tasks == ["cid"]


def test_what_does_not_parse_is_left_out_and_listed(write, capfd):
    frame = table(active=np.arange(SIZE) % 2)
    frame.loc[[0, 30], "smiles"] = ["FAIL", ""]
    problem = molecules(write(frame))
    assert (
        "Left out: rows whose SMILES is empty or does not parse, see unparsed.csv: 2."
        in problem.notes
    )
    assert problem.files == {"unparsed.csv": "row,smiles\n1,FAIL\n31,\n"}
    assert sum(map(len, parts(problem))) == SIZE - 2
    assert "rror" not in capfd.readouterr().err


def test_targets_that_cannot_be_learned_are_left_out(write):
    frame = table(empty="", ones=1, one_label=["1"] + [""] * (SIZE - 1))
    problem = molecules(write(frame))
    assert problem.tasks == ["active"]
    assert any(
        note.endswith("labels in the training part, 'empty', 'ones', 'one_label': 3.")
        for note in problem.notes
    )


def test_a_constant_column_does_not_make_a_regression_file_mixed(write):
    assert molecules(write(table(active=0, value=numbers()))).tasks == ["value"]


def test_long_lists_of_names_are_cut(write):
    problem = molecules(write(table(**{f"empty{index}": "" for index in range(25)})))
    assert any("'empty9' and 15 more: 25." in note for note in problem.notes)


def test_molecules_without_a_label_are_left_out(write):
    problem = molecules(write(table()))
    assert "Left out: molecules without a label: 15." in problem.notes
    assert sum(map(len, parts(problem))) == 45


def test_rows_of_a_molecule_are_in_one_part_and_their_conflicts_counted(write):
    """Written otherwise each time, so that only canonical SMILES tell."""
    written = ["OCc1ccccc1", "C(O)c1ccccc1", "c1cc(ccc1)CO"]
    others = [each for each in SMILES if each != "c1ccccc1CO"]
    values = np.arange(len(others) + 3) + 0.5
    frame = pd.DataFrame({"smiles": [*written, *others], "value": values, "alike": values})
    frame.loc[:2, "alike"] = [7.0, np.nan, 7.0]
    for seed in range(3):
        problem = molecules(write(frame), split_seed=seed)
        own = fingerprints(written)[0]
        found = [int((every(part)[0].numpy() == own).all(1).sum()) for part in parts(problem)]
        assert sorted(found) == [0, 0, 3]
    rows, labels = (note for note in problem.notes if "molecule" in note)
    assert rows.endswith("all kept in one part of the split: 2.")
    assert labels.endswith("on which its rows disagree: 1.")


def test_all_rows_with_their_labels_are_there_for_an_audit(write):
    frame = table(other=numbers()).assign(
        other=lambda f: (f["other"] > 0).where(f["other"].notna())
    )
    frame.loc[59, "smiles"] = frame.loc[0, "smiles"]
    frame.loc[7, "smiles"] = "no molecule"
    problem = molecules(write(frame), main="active")
    labelled = problem.labelled()
    known = (frame["active"] != "") | frame["other"].notna()
    kept = [row for row in range(SIZE) if row != 7 and known[row]]
    assert (labelled.rows - 1).tolist() == kept
    expected = np.unpackbits(fingerprints([frame.loc[row, "smiles"] for row in kept]), axis=1)
    np.testing.assert_array_equal(labelled.inputs, expected)
    active = next(target for target in labelled.targets if target.name == "active")
    told = [frame.loc[row, "active"] for row in kept]
    assert ["" if value is None else value for value in active.named(active.values)] == told
    assert labelled.groups[0] == labelled.groups[-1]
    outputs = labelled.network(5)(torch.from_numpy(labelled.inputs[:3]))
    assert outputs.shape == (3, 5)
    assert outputs.isfinite().all()  # with bits that never vary
    assert len(np.unique(labelled.groups)) == len(kept) - 1
    assert labelled.shown["smiles"].tolist() == [frame.loc[row, "smiles"] for row in kept]
    pictures = labelled.pictures(np.array([0, 1]))
    assert pictures.shape == (2, 160, 160, 3)
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("class_weights", ["task", "global"])
def test_it_can_be_sent_to_other_processes(write, class_weights):
    problem = molecules(write(table()), class_weights=class_weights)
    other = pickle.loads(cloudpickle.dumps(problem))
    batch = every(problem.train)
    logits = torch.randn(len(problem.train), 1)
    for one, same in zip(problem.losses(logits, batch), other.losses(logits, batch), strict=True):
        assert torch.equal(one, same)


def _murcko(smiles):
    return MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(smiles))


def test_scaffolds_are_in_one_part(write):
    frame = pd.DataFrame({"smiles": SMILES, "value": np.arange(SIZE) + 0.5})
    for seed in range(3):
        problem = molecules(write(frame), split="scaffold", split_seed=seed)
        found = [{_murcko(SMILES[row]) for row in rows(part)} for part in parts(problem)]
        assert sum(map(len, found)) == len(set().union(*found)) == 8
        assert all(found)
    assert sum(map(len, parts(problem))) == SIZE


def test_too_few_scaffolds(write):
    frame = table(active=np.arange(SIZE) % 2)[: SIZE // 10]
    frame = pd.concat([frame, frame])
    assert "random as `split`" in error(write(frame), split="scaffold")


def test_no_file(tmp_path):
    message = error(tmp_path / "nowhere.csv")
    assert "nowhere.csv" in message
    assert "cannot read" in message


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\x1f\x8b\x00broken", b"\x89PNG\r\n\x1a\n\x00\xff"]
)
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_no_table(tmp_path, content, ending):
    path = tmp_path / f"broken.{ending}"
    path.write_bytes(content)
    assert "broken.csv" in error(path)


def test_a_truncated_gzip_file(tmp_path):
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(table().to_csv().encode())[:-20])
    assert "cannot read" in error(path)


def test_a_folder(tmp_path):
    assert str(tmp_path) in error(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("smiles,active\n", ["has no rows"]),
        ("smiles,active\nC,1,0\nN,0,1\n", ["more cells than columns"]),
        ("smiles,active\nC,1\nN,0,1\n", ["cannot read", "line 3"]),
        ("smiles,a,b,a\nC,1,0,1\n", ["more than one column 'a'"]),
        (
            "molecule,active\nC,1\n",
            ["no columns called smiles", "`smiles`", "'molecule', 'active'"],
        ),
        ("smiles,SMILES,active\nC,C,1\n", ["2 columns called smiles", "`smiles`"]),
        ("smiles,name,id\nC,x,1\nN,y,2\n", ["no column of numbers", "`targets`", "'name', 'id'"]),
        ("smiles\nC\n", ["no column of numbers"]),
        ("smiles,all\nC,1\nN,0\nO,0\n", ["'all'", "rename"]),
        ("smiles,y\nC,1.5\nN,inf\n", ["'y'", "infinite"]),
        ("smiles,active\nC,1\nN,0\nO,0\n", ["3 have a label and", "10 are needed"]),
    ],
)
def test_unusable_table(write, content, words):
    message = error(write(content))
    assert all(word in message for word in words), message
    assert "assays.csv" in message


def test_no_molecule_left(write):
    message = error(write(table(smiles="FAIL")))
    assert "60 in all, 0 have a label" in message
    assert "`smiles`" in message


def test_what_is_there_of_pcba_is_said(write):
    assert not any("PCBA" in note for note in molecules(write(table())).notes)
    columns = {f"PCBA-{number}": table()["active"] for number in (1, 2)}
    notes = molecules(write(table(**columns), "pcba.csv")).notes
    assert notes[0] == (
        "PCBA has 128 assays and 437,929 molecules in MoleculeNet's file; this one has 2 of the "
        "columns and 60 rows."
    )
    whole = pd.DataFrame({f"PCBA-{number}": [0] for number in range(128)}).loc[[0] * 437_929]
    assert pcba_notes(whole) == [
        "This is PCBA as MoleculeNet has it: 128 assays and 437,929 molecules."
    ]


def test_no_target_left(write):
    assert "no target" in error(write(table(active=1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smiles": "smile"}, ["`smiles`", "'smile'", "did you mean 'smiles'?"]),
        ({"smiles": "xyz"}, ["`smiles`", "there are 'smiles', 'active', 'name'"]),
        ({"targets": ("activ",)}, ["`targets`", "did you mean 'active'?"]),
        ({"targets": ("smiles",)}, ["`targets`", "'smiles'"]),
        ({"targets": ("active", "active")}, ["`targets`", "'active' more than once"]),
        ({"targets": ("name",)}, ["'name'", "not all numbers", "'m0'"]),
        ({"targets": ()}, ["`targets`", "'active', 'name'"]),
    ],
)
def test_wrong_columns(write, options, words):
    message = error(write(table(name=[f"m{row}" for row in range(SIZE)])), **options)
    assert all(word in message for word in words), message


def test_mixed_kinds(write):
    path = write(table(value=numbers()))
    message = error(path)
    assert "binary labels ('active') and other numbers ('value')" in message
    assert "`targets`" in message
    assert "regression as `kind`" in message
    assert "RMSE" in molecules(path, kind="regression").goals
    assert "RMSE" in molecules(path, targets=("value",)).goals
    assert "ROC-AUC" in molecules(path, targets=("active",)).goals


def test_binary_is_binary(write):
    message = error(write(table(grade=np.arange(SIZE) % 3)), kind="binary")
    assert "'grade' has the value 2" in message
    assert "regression as `kind`" in message


@pytest.mark.parametrize("package", ["rdkit", "joblib", "platformdirs"])
def test_a_missing_package(write, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("cache", "molecules.fingerprints"):
        monkeypatch.delitem(sys.modules, f"equipoise.problems.{module}", raising=False)
    message = error(write(table()))
    assert package in message
    assert "pip install 'equipoise[molecules]'" in message


def _double(problem):
    torch.manual_seed(0)
    return problem.network().double()


def test_network(write):
    problem = molecules(write(table(toxic=np.arange(SIZE) % 2)))
    network = _double(problem)
    packed = every(problem.train)[0]
    bits = torch.from_numpy(np.unpackbits(packed.numpy(), axis=1)).double()
    torch.testing.assert_close(network(packed), network.heads(network.trunk(bits)))
    assert [tuple(each.shape) for each in problem.shared(network)] == [
        (2000, 2048),
        (2000,),
        (100, 2000),
        (100,),
    ]
    assert network.heads.weight.shape == (2, 100)


def test_binary_losses_equal_a_loop_over_pairs(write):
    toxic = [("1", "", "0", "0", "0")[row % 5] for row in range(SIZE)]
    problem = molecules(write(table(toxic=toxic)))
    network = _double(problem)
    _, known, present = every(problem.train)
    batch = problem.train[torch.tensor([5, 1, 30, 17, 2, 9])]
    losses, mask = problem.loss_function(network, batch)
    losses = losses.detach()
    logits = network(batch[0]).detach()
    for row in range(6):
        for task in range(2):
            if not batch[2][row, task]:
                assert not mask[row, task]
                continue
            label = float(batch[1][row, task])
            own = [
                float(y) for y, there in zip(known[:, task], present[:, task], strict=True) if there
            ]
            weight = len(own) / (2 * own.count(label))
            probability = 1 / (1 + math.exp(-float(logits[row, task])))
            expected = -weight * math.log(probability if label else 1 - probability)
            assert float(losses[row, task]) == pytest.approx(expected, rel=1e-6)
    assert mask.any()
    assert not mask.all()
    assert losses.isfinite().all()


def test_global_class_weights_are_one_pair_over_the_weights_of_a_batch(write):
    toxic = [("1", "", "0", "0", "0")[row % 5] for row in range(SIZE)]
    problem = molecules(write(table(toxic=toxic)), class_weights="global")
    network = _double(problem)
    _, known, present = every(problem.train)
    share = float(known[present].mean())
    batch = problem.train[torch.tensor([5, 1, 30, 17, 2, 9])]
    means, _ = task_losses(*problem.loss_function(network, batch))
    probabilities = network(batch[0]).detach().sigmoid()
    for task in range(2):
        total = weights = 0.0
        for row in range(6):
            if batch[2][row, task]:
                label = float(batch[1][row, task])
                weight = 1 - share if label else share
                probability = float(probabilities[row, task])
                total -= weight * math.log(probability if label else 1 - probability)
                weights += weight
        assert float(means[task].detach()) == pytest.approx(total / weights, rel=1e-6)


def test_the_first_targets_and_rows_with_labels_of_them(write):
    frame = table(toxic=[str(row % 2) for row in range(SIZE)])
    one = molecules(write(frame), first=1)
    assert one.tasks == ["active"]
    both = molecules(write(frame), labelled_in_first=1)
    assert both.tasks == ["active", "toxic"]
    labelled = sum(active != "" for active in frame["active"])
    for problem in (one, both):
        assert sum(map(len, parts(problem))) == labelled
        numbers = [frame["active"][row - 1] for row in problem.rows]
        assert "" not in numbers
    with pytest.raises(UserError, match="`first`"):
        molecules(write(frame), first=3)


def test_both_classes_weigh_the_same(write):
    """Where all logits are 0, each task's loss over the training part is log 2."""
    problem = molecules(write(table(toxic=(np.arange(SIZE) % 7 == 0).astype(int))))
    network = problem.network()
    torch.nn.init.zeros_(network.heads.weight)
    torch.nn.init.zeros_(network.heads.bias)
    means, _ = task_losses(*problem.loss_function(network, every(problem.train)))
    torch.testing.assert_close(means, torch.full((2,), math.log(2)))


def test_squared_losses_equal_a_loop_over_pairs(write):
    first, second = numbers(1, loc=1e6, scale=0.5), numbers(2, loc=-3, scale=40)
    frame = pd.DataFrame({"smiles": SMILES, "a": first, "b": second})
    problem = molecules(write(frame))
    network = _double(problem)
    batch = every(problem.train)
    losses, mask = problem.loss_function(network, batch)
    losses, outputs = losses.detach(), network(batch[0]).detach()
    for row in range(len(mask)):
        for task in range(2):
            if mask[row, task]:
                expected = (float(outputs[row, task]) - float(batch[1][row, task])) ** 2
                assert float(losses[row, task]) == pytest.approx(expected, rel=1e-9)
    assert losses.isfinite().all()
    for task in range(2):
        own = batch[1][mask[:, task], task].double()
        assert float(own.mean()) == pytest.approx(0, abs=1e-6)
        assert float(own.std(correction=0)) == pytest.approx(1, rel=1e-6)


def _pairs(problem, network, part):
    """Labelled pairs by task, one by one."""
    packed, labels, mask = every(part)
    with torch.no_grad():
        outputs = network(packed)
    pairs = {name: ([], []) for name in problem.tasks}
    for row in range(len(mask)):
        for task, name in enumerate(problem.tasks):
            if mask[row, task]:
                pairs[name][0].append(float(labels[row, task]))
                pairs[name][1].append(float(outputs[row, task]))
    return pairs


def _pooled(pairs):
    return [list(chain.from_iterable(pair[side] for pair in pairs.values())) for side in (0, 1)]


def _measure(problem, network, part):
    with torch.no_grad():
        return scored(problem, network, part)


def test_binary_metrics_are_scikit_learns(write):
    rare = np.where(np.arange(SIZE) == 11, 1, 0)
    problem = molecules(write(table(toxic=np.arange(SIZE) % 2, rare=rare)), split_seed=2)
    network = _double(problem)
    pairs = _pairs(problem, network, problem.train)
    found = _measure(problem, network, problem.train)
    for metric, expected in (
        ("average precision", average_precision_score),
        ("ROC-AUC", roc_auc_score),
    ):
        assert list(found[metric]) == [OVERALL, *problem.tasks]
        for name in problem.tasks:
            assert found[metric][name] == pytest.approx(expected(*pairs[name]))
        assert found[metric][OVERALL] == pytest.approx(expected(*_pooled(pairs)))
    held_out = _measure(problem, network, problem.test)
    assert math.isnan(held_out["ROC-AUC"]["rare"])
    assert math.isnan(held_out["average precision"]["rare"])
    assert not math.isnan(held_out["ROC-AUC"][OVERALL])


def test_regression_metrics_are_in_the_units_of_the_file(write):
    frame = pd.DataFrame({"smiles": SMILES, "a": numbers(1, 50, 8), "b": numbers(2, -3, 0.1)})
    problem = molecules(write(frame))
    network = _double(problem)
    pairs = _pairs(problem, network, problem.train)
    found = _measure(problem, network, problem.train)
    train = frame.iloc[rows(problem.train)]
    for name in problem.tasks:
        labels, outputs = map(np.array, pairs[name])
        std = train[name].std(ddof=0)
        rmse = mean_squared_error(labels * std, outputs * std) ** 0.5
        assert found["RMSE"][name] == pytest.approx(rmse)
        assert found["R²"][name] == pytest.approx(r2_score(labels, outputs))
    labels, outputs = _pooled(pairs)
    assert found["RMSE"][OVERALL] == pytest.approx(mean_squared_error(labels, outputs) ** 0.5)
    assert found["R²"][OVERALL] == pytest.approx(r2_score(labels, outputs))
    assert problem.goals == {"RMSE": "min", "R²": "max"}
    assert next(iter(problem.goals)) == "RMSE"


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_metrics_of_outputs_that_are_not_numbers_are_nan(write, kind):
    problem = molecules(write(table(toxic=np.arange(SIZE) % 2)), kind=kind)
    network = problem.network()
    torch.nn.init.constant_(network.heads.bias, torch.nan)
    found = _measure(problem, network, problem.test)
    assert all(math.isnan(value) for values in found.values() for value in values.values())


def test_a_task_without_labels_in_a_part_has_no_metric(write):
    problem = molecules(write(table(a=numbers(1), b=numbers(2))), targets=("a", "b"))
    _, _, mask = problem.test.tensors
    mask[:, 1] = False
    found = _measure(problem, problem.network(), problem.test)
    assert math.isnan(found["RMSE"]["b"])
    assert math.isnan(found["R²"]["b"])
    assert not math.isnan(found["RMSE"][OVERALL])


def test_it_learns(write):
    problem = molecules(write(table(ring=[int("1" in each) for each in SMILES])), targets=("ring",))
    torch.manual_seed(0)
    network = problem.network()
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)
    for _ in range(25):
        losses, mask = problem.loss_function(network, every(problem.train))
        optimizer.zero_grad()
        task_losses(losses, mask)[0].sum().backward()
        optimizer.step()
    assert _measure(problem, network, problem.test)["ROC-AUC"][OVERALL] == 1


def test_clintox(data_folder):
    problem = molecules(data_folder / "clintox.csv.gz")
    assert problem.tasks == ["FDA_APPROVED", "CT_TOX"]
    assert sum(map(len, parts(problem))) == 1_487
    assert problem.files["unparsed.csv"].count("\n") == 1 + 4
    assert any("all kept in one part" in note and note.endswith(": 26.") for note in problem.notes)
    assert any("disagree" in note and note.endswith(": 38.") for note in problem.notes)


def test_clintox_by_scaffold(data_folder):
    path = data_folder / "clintox.csv.gz"
    texts = pd.read_csv(path)["smiles"]
    packed = fingerprints(texts.tolist())
    scaffolds = {}
    for text, bits in zip(texts, packed, strict=True):
        if bits.any():
            scaffolds.setdefault(bits.tobytes(), set()).add(_murcko(text))
    problem = molecules(path, split="scaffold")
    found = [
        set().union(*(scaffolds[bits.numpy().tobytes()] for bits in every(part)[0]))
        for part in parts(problem)
    ]
    assert not found[0] & found[1]
    assert not (found[0] | found[1]) & found[2]
    assert [len(part) for part in parts(problem)] == pytest.approx([1189, 149, 149], abs=15)


@pytest.fixture
def head(data_folder, tmp_path):
    def head(name, rows):
        path = tmp_path / f"{name}.csv"
        pd.read_csv(data_folder / f"{name}.csv.gz", nrows=rows).to_csv(path, index=False)
        return path

    return head


def test_tox21(head):
    problem = molecules(head("tox21", 1_500))
    assert len(problem.tasks) == 12
    assert "mol_id" not in problem.tasks
    assert any("'mol_id'" in note for note in problem.notes)
    found = _measure(problem, problem.network(), problem.validation)
    assert 0 < found["average precision"][OVERALL] < 1


def test_toxcast(head):
    problem = molecules(head("toxcast_data", 300))
    assert 400 < len(problem.tasks) < 617
    losses, mask = problem.loss_function(problem.network(), every(problem.train))
    assert losses.isfinite().all()
    assert mask.any(0).all()


def test_chembl(head):
    problem = molecules(head("chembl_5thresh", 1_000))
    assert list(problem.goals) == ["RMSE", "R²"]
    assert any("targets without two different labels" in note for note in problem.notes)
    losses, mask = problem.loss_function(problem.network(), every(problem.train))
    means, counts = task_losses(losses, mask)
    assert counts.min() >= 2
    torch.testing.assert_close(means, torch.ones_like(means), rtol=0.2, atol=0)
