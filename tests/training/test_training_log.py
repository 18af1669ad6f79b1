import csv

import pytest

from sparsevit_training.training_log import TrainingLog

COLUMNS = ["step", "loss", "miou_50"]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_written_at_once(tmp_path):
    log = TrainingLog(tmp_path / "log.csv", COLUMNS, 0)
    log.write(step=1, loss=0.123456789)
    assert rows(tmp_path / "log.csv") == [{"step": "1", "loss": "0.123457", "miou_50": ""}]
    log.close()


@pytest.mark.parametrize(
    ("resume_step", "kept"), [(0, []), (2, ["0", "1"]), (3, ["0", "1", "2"]), (9, ["0", "1", "2", "3"])]
)
def test_resuming_drops_what_will_be_written_again(tmp_path, resume_step, kept):
    path = tmp_path / "log.csv"
    log = TrainingLog(path, COLUMNS, 0)
    for step in range(4):
        log.write(step=step, loss=1.0)
    log.close()
    log = TrainingLog(path, COLUMNS, resume_step)
    log.write(step=99)
    log.close()
    assert [r["step"] for r in rows(path)] == [*kept, "99"]


def test_a_row_cut_off_in_the_middle_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss,miou_50\n0,1.0,\n\n,2.0")
    TrainingLog(path, COLUMNS, 5).close()
    assert [r["step"] for r in rows(path)] == ["0"]
