"""What each arm executed, and what its engine planned, as tables."""

from icd.report import site_tables

CHOICE = {
    "group": "neurons", "size": 3072, "kept": 1536, "sites": 12, "masked_ms": 0.0412, "compact_ms": 0.0309,
    "slower_rounds": 1, "rounds": 9, "chosen": "compact", "cached": True,
    "timed": "one layer",
}  # fmt: skip
METRICS = {
    "sites": [{"site": "0.neurons", "group": "neurons"}, {"site": "1.neurons", "group": "neurons"}],
    "arms": {
        "dense": {"executed": {"engine": "auto", "plan": []}},
        "linear": {
            "executed": {
                "engine": "auto",
                "sites": {"0.neurons": [1536, 3072], "1.neurons": [3072, 3072]},
                "plan": [CHOICE, {**CHOICE, "slower_rounds": 9, "chosen": "masked", "timed": "whole model"}],
            }
        },
    },
}


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_a_plan_is_a_table_of_its_own_a_row_a_choice():
    assert texts(site_tables.plan(METRICS)) == [
        ["linear", "neurons", "1,536 / 3,072", "12", "one layer", "0.04120", "0.03090", "1 of 9", "cut"],
        ["linear", "neurons", "1,536 / 3,072", "12", "whole model", "0.04120", "0.03090", "9 of 9", "whole"],
    ]
    table = site_tables.executed(METRICS)
    assert [name for name, _ in table.headings] == ["arm", "engine", "neurons"]
    assert texts(table)[1] == ["linear", "auto", "4,608 of 6,144"]


def test_other_engines_have_no_plan():
    assert not site_tables.plan({"arms": {"dense": {"executed": {"engine": "compact"}}}}).rows
    assert not site_tables.plan({}).rows
