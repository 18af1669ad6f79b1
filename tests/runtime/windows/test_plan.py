import json
from fractions import Fraction

import numpy as np
import pytest

from sparsevit_runtime.errors import ArgumentError, PlanError
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import TILE, Plan, dense_keep, kept_windows, snapped_windows, validate_keep

DEPTHS = (2, 2, 6, 2)
STAGES = stage_geometries(672, 672, DEPTHS, 7)  # 576, 144, 36, 9 windows


@pytest.mark.parametrize(
    ("windows", "ratio", "kept"),
    [
        (120, 0.8, 23),  # 24 exactly, but 23.999... in float64
        (10, 0.9, 0),
        (5, 0.8, 0),
        (90, 0.3, 62),
        (5, 0.6, 2),  # 1 in float32
        (64, 0.0, 64),
        (64, 1.0, 0),
        (1, 0.1, 0),
        (9, 0.5, 4),
    ],
)
def test_kept_counts_truncate_in_float64(windows, ratio, kept):
    assert kept_windows(windows, ratio) == kept
    assert kept_windows(windows, np.float64(ratio)) == kept


@pytest.mark.parametrize(
    ("value", "ratios"),
    [
        (0, ((0,) * 2, (0,) * 2, (0,) * 6, (0,) * 2)),
        (0.6, ((0.6,) * 2, (0.6,) * 2, (0.6,) * 6, (0.6,) * 2)),
        (np.float32(0.5), ((0.5,) * 2, (0.5,) * 2, (0.5,) * 6, (0.5,) * 2)),
        ("0.6", ((0.6,) * 2, (0.6,) * 2, (0.6,) * 6, (0.6,) * 2)),
        (".6", ((0.6,) * 2, (0.6,) * 2, (0.6,) * 6, (0.6,) * 2)),
        ("60%", ((0.6,) * 2, (0.6,) * 2, (0.6,) * 6, (0.6,) * 2)),
        (" 33.3 % ", ((0.333,) * 2, (0.333,) * 2, (0.333,) * 6, (0.333,) * 2)),
        ("1.0", ((1.0,) * 2, (1.0,) * 2, (1.0,) * 6, (1.0,) * 2)),
        ("6e-1", ((0.6,) * 2, (0.6,) * 2, (0.6,) * 6, (0.6,) * 2)),
        (np.array(0.5), ((0.5,) * 2, (0.5,) * 2, (0.5,) * 6, (0.5,) * 2)),
        (Fraction(1, 4), ((0.25,) * 2, (0.25,) * 2, (0.25,) * 6, (0.25,) * 2)),
        ("0.6,.2,0,50%", ((0.6,) * 2, (0.2,) * 2, (0,) * 6, (0.5,) * 2)),
        (" 0.6 , 0 , 0, 0", ((0.6,) * 2, (0,) * 2, (0,) * 6, (0,) * 2)),
        (["60%", np.array(0.5), 0, 0], ((0.6,) * 2, (0.5,) * 2, (0,) * 6, (0,) * 2)),
        ([0.6, 0, 0.4, 0], ((0.6,) * 2, (0,) * 2, (0.4,) * 6, (0,) * 2)),
        ("[0.6, 0, 0.4, 0]", ((0.6,) * 2, (0,) * 2, (0.4,) * 6, (0,) * 2)),
        (np.array([0.5, 0, 0.25, 0]), ((0.5,) * 2, (0,) * 2, (0.25,) * 6, (0,) * 2)),
        ([[0.3], 0, [0.1, 0.2, 0.4], 0], ((0.3, 0.3), (0, 0), (0.1, 0.1, 0.2, 0.2, 0.4, 0.4), (0, 0))),  # per pair
        ([[0.6, 0.5], 0, [0.5, 0.3] * 3, 0], ((0.6, 0.5), (0, 0), (0.5, 0.3) * 3, (0, 0))),  # parities are independent
    ],
)
def test_accepted_forms(value, ratios):
    assert Plan.parse(value, DEPTHS).ratios == ratios
    assert Plan.parse(Plan.parse(value, DEPTHS), DEPTHS).ratios == ratios


class Tensor:
    """An array of another library, as PyTorch's are."""

    def __init__(self, values):
        self._values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self._values

    def __float__(self):
        return float(self._values)


@pytest.mark.parametrize(
    ("value", "first"), [(Tensor(0.5), 0.5), (Tensor([0.5, 0, 0, 0]), 0.5), ([Tensor(0.5), 0, 0, 0], 0.5)]
)
def test_tensors_are_read_as_arrays_are(value, first):
    assert Plan.parse(value, DEPTHS).ratios[0] == (first, first)


@pytest.mark.parametrize(
    "value", [Tensor(True), [Tensor(True), 0, 0, 0], Tensor([True] * 4), Tensor(1j), np.array([[1]])]
)
def test_tensors_of_truth_values_are_no_ratios(value):
    """As a number it would be 1: no window at all."""
    with pytest.raises(PlanError):
        Plan.parse(value, DEPTHS)


@pytest.mark.parametrize("ratios", [5, None, "ab", [5], [None], ((True,),), (("much",),), [[[0.5]]], {0.5: 1}])
def test_what_is_no_plan(ratios):
    with pytest.raises(PlanError, match="ratios of a plan are lists|is not a ratio or a list of ratios"):
        Plan(ratios)


@pytest.mark.parametrize("depths", [None, 5, "ab", [None], [2.0], [True], [-1], [10**9]])
def test_what_are_no_depths(depths):
    for read in (Plan.dense, lambda d: Plan.uniform(0.5, d), lambda d: Plan.parse(0.5, d)):
        with pytest.raises(ArgumentError, match="blocks of (each|a) stage"):
            read(depths)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "from 0 to 1"),
        (-0.1, "from 0 to 1"),
        (float("nan"), "from 0 to 1"),
        (True, "not bool"),
        (None, "not NoneType"),
        ({"a": 1}, "not dict"),
        ([0.5, 0.5], "2 stages, the model has 4"),
        ([[0.5, 0.6, 0.7], 0, 0, 0], "3 ratios; it has 2 blocks in 1 pairs"),
        (["much", 0, 0, 0], "not a ratio"),
        ([0, 0, [0.5, 0, 0.4, 0, 0.3, 0], 0], "even blocks of stage 2 decrease"),
        ([0, 0, [0, 0.5, 0, 0.4, 0, 0.4], 0], "odd blocks of stage 2 decrease"),
        ("no-such-plan.json", "no plan file"),
        ("1.5", "from 0 to 1"),
        ("150%", "from 0 to 1"),
        ("-.1", "from 0 to 1"),
        ("9" * 5000, "ratio inf"),
        # in a time that grows with its length alone
        pytest.param("9" * 10**6 + "x", "cannot read the plan file", id="a million figures"),
        ("1e9999", "ratio inf"),
        (10**400, "a plan is"),
        ([10**400, 0, 0, 0], "stage 0 of the plan is not a ratio"),
        (f"[{'9' * 5000},0,0,0]", "is no list of ratios|stage 0 of the plan is not a ratio"),
        ("[" * 3000, "is no list of ratios"),
        ("[0.5,0.5", "is no list of ratios"),
        ("[true,true,true,true]", "stage 0 of the plan is not a ratio or a list of ratios: True"),
        ([[True, False], 0, 0, 0], "stage 0 of the plan is not a ratio"),
        (np.array([True] * 4), "stage 0 of the plan is not a ratio"),
        (np.array(True), "not ndarray"),
        ([0.5j, 0, 0, 0], "stage 0 of the plan is not a ratio"),
        ([None, 0, 0, 0], "stage 0 of the plan is not a ratio"),
        (["\x1b[2J", 0, 0, 0], r"not a ratio or a list of ratios: '\\x1b\[2J'"),
        ([[[0.5, 0.5], 0], 0, 0, 0], "stage 0 of the plan is not a ratio"),
        ("a\0b", "cannot read the plan file .*null byte"),
        ("x" * 300, "cannot read the plan file .*too long"),
        ("", "no plan file"),
        ("/", "cannot read the plan file '/' .Is a directory"),
        ("/dev/zero", "larger than"),
        (Plan.dense((2, 2)), "made for this model"),
    ],
)
def test_refused_forms(value, message):
    with pytest.raises(PlanError, match=message):
        Plan.parse(value, DEPTHS)


def test_plan_files_come_back(tmp_path):
    plan = Plan.parse([[0.3], 0, [0.1, 0.2, 0.4], 0], DEPTHS)
    plan.save(tmp_path / "plan.json")
    assert Plan.parse(tmp_path / "plan.json", DEPTHS) == plan
    assert Plan.parse(str(tmp_path / "plan.json"), DEPTHS) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{broken", "not readable JSON"),
        ("[" * 3000, "not readable JSON"),
        ('{"schema": 1, "ratios": ' + "9" * 5000 + "}", "not readable JSON|a plan is"),
        ('{"schema": 1, "ratios": [true, true, true, true]}', "stage 0 of the plan is not a ratio"),
        ('{"schema": 1, "ratios": {"a": 1}}', "not dict"),
        ('{"schema": 1, "ratios": null}', "not NoneType"),
        ("[0.5, 0.5, 0.5, 0.5]", 'no "ratios"'),
        (json.dumps({"schema": 2, "ratios": [0, 0, 0, 0]}), "schema 2"),
        (json.dumps({"schema": 1, "ratios": [0, 0]}), "2 stages"),
    ],
)
def test_refused_plan_files(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=message):
        Plan.parse(path, DEPTHS)


@pytest.mark.parametrize(
    ("value", "keep"),
    [
        (0.0, [576, 144, 36, 36, 36, 9]),
        (0.6, [230, 57, 14, 14, 14, 3]),
        ([[0.6], 0, [0.2, 0.4, 0.5], 0], [230, 144, 28, 21, 18, 9]),
        (1.0, [0] * 6),
    ],
)
def test_keep_of_a_plan(value, keep):
    assert Plan.parse(value, DEPTHS).keep(STAGES).tolist() == keep


def test_keep_needs_equal_counts_in_a_pair():
    with pytest.raises(PlanError, match="--fixed"):
        Plan.parse([[0.6, 0.5], 0, 0, 0], DEPTHS).keep(STAGES)
    # On a small map two ratios can keep the same windows: nothing is lost then.
    assert Plan.parse([0, 0, 0, [0.5, 0.55]], DEPTHS).keep(STAGES).tolist()[-1] == 4


def test_dense():
    assert Plan.dense(DEPTHS).is_dense and not Plan.uniform(0.1, DEPTHS).is_dense
    assert dense_keep(STAGES).tolist() == Plan.dense(DEPTHS).keep(STAGES).tolist()


@pytest.mark.parametrize(
    "keep", [[576, 144, 36, 36, 36, 9], [0] * 6, np.array([5, 4, 3, 2, 1, 0], np.int32), (1, 1, 3, 3, 2, 9)]
)
def test_keep_in_range(keep):
    checked = validate_keep(keep, STAGES)
    assert checked.dtype == np.int64 and checked.tolist() == list(keep)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([577, 144, 36, 36, 36, 9], "stage 0 .* 0 to 576"),
        ([576, 144, 36, 36, 36, -1], "stage 3 .* 0 to 9"),
        ([576, 144, 20, 21, 20, 9], "stage 2 increases"),
        ([576, 144, 36, 36, 36], "6 integers"),
        ([576.0] * 6, "dtype float64"),
        ([[576, 144, 36, 36, 36, 9]], r"shape \(1, 6\)"),
        ("dense", "6 integers"),
    ],
)
def test_keep_out_of_range(keep, message):
    with pytest.raises(PlanError, match=message):
        validate_keep(keep, STAGES)


def test_a_plan_file_that_names_a_file_is_refused(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"schema": 1, "ratios": str(path)}))
    with pytest.raises(PlanError, match="expected a number or a list"):
        Plan.parse(path, (2, 2))


@pytest.mark.parametrize("nested", [False, True])
def test_an_integer_of_thousands_of_digits_is_refused(nested):
    with pytest.raises(PlanError, match="a plan is|not a ratio"):
        Plan.parse([10**5000, 0, 0, 0] if nested else 10**5000, DEPTHS)


@pytest.mark.parametrize(("name", "kept"), [("cfg1", 403), ("cfg2", 230), ("cfg3", 172)])
def test_published_plans_by_name(name, kept):
    plan = Plan.parse(name, DEPTHS)
    assert plan.keep(STAGES)[0] == kept and plan.keep(STAGES)[1] == 144
    with pytest.raises(PlanError, match=rf"{name} is a published plan .*\[2, 2, 6, 2\].*\[2, 2, 18, 2\].*\./{name}"):
        Plan.parse(name, (2, 2, 18, 2))


def test_a_file_of_a_published_plans_name_is_reached_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Plan.uniform(0.5, DEPTHS).save("cfg2")
    assert Plan.parse("./cfg2", DEPTHS) == Plan.uniform(0.5, DEPTHS) != Plan.parse("cfg2", DEPTHS)


def test_counts_on_the_edges_of_tiles_fill_them():
    edges = sorted({snapped_windows(count, 36, 7) for count in range(37)})
    assert edges == [0, 2, 5, 7, 10, 13, 15, 18, 20, 23, 26, 28, 31, 33, 36]
    for size, windows in ((7, 36), (7, 9), (8, 30), (12, 12), (4, 100)):
        for count in range(windows + 1):
            snapped = snapped_windows(count, windows, size)
            tiles = -(-count * size**2 // TILE)
            assert count <= snapped <= windows and -(-snapped * size**2 // TILE) == tiles
            assert snapped == windows or -(-(snapped + 1) * size**2 // TILE) > tiles


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 0.6, 0.8, 1.0, "cfg2", [0.3, 0.6, [0.1, 0.11, 0.5], 0.7]])
def test_a_snapped_plan_computes_more_in_the_later_stages_alone(value):
    depths = (2, 2, 6, 2)
    stages = stage_geometries(672, 672, depths, 7)
    plan = Plan.parse(value, depths)
    keep, snapped = plan.keep(stages).tolist(), plan.snapped(stages).keep(stages).tolist()
    assert snapped[:2] == keep[:2]
    assert snapped[2:5] == [snapped_windows(count, 36, 7) for count in keep[2:5]]
    assert snapped[5:] == [snapped_windows(count, 9, 7) for count in keep[5:]]
    assert plan.snapped(stages).snapped(stages).keep(stages).tolist() == snapped
