from kdzoo import report

TEACHER = {
    "name": "wrn16-2_10-35",
    "method": "none",
    "teachers": [],
    "parameters": 691_674,
    "test_error_last": 8.5,
    "images_per_second": 700.4,
    "wall_seconds": 3000.0,
    "config": {"model": "wrn16-2"},
    "dataset": {"name": "cifar10"},
}
STUDENT = {
    **TEACHER,
    "name": "wrn16-1_10-35",
    "method": "kd",
    "teachers": [TEACHER],
    "parameters": 175_066,
    "test_error_last": 10.25,
    "test_agreement_last": 91.26,
    "config": {"model": "wrn16-1"},
}


def test_table():
    assert report.table([TEACHER, STUDENT]).splitlines() == [
        "| model         | method | teacher       | parameters | test error (%) | agreement (%) | images/s | minutes |",
        "| ------------- | ------ | ------------- | ---------: | -------------: | ------------: | -------: | ------: |",
        "| wrn16-2_10-35 | none   | -             |    691,674 |           8.50 |             - |      700 |    50.0 |",
        "| wrn16-1_10-35 | kd     | wrn16-2_10-35 |    175,066 |          10.25 |          91.3 |      700 |    50.0 |",
    ]


def test_plot_is_saved(tmp_path):
    report.plot_students([STUDENT, {**STUDENT, "teachers": []}], tmp_path / "students.svg")
    svg = (tmp_path / "students.svg").read_text()
    assert "<!-- 10.25 -->" in svg
    assert "<!-- 8.50 -->" in svg
