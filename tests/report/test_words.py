"""The verdict sentence says what the record says, for every outcome."""

from __future__ import annotations

import pytest

from icd.report.caveats import badges, caveats
from icd.report.phrases import no_device
from icd.report.words import solver_sentence, verdict
from tests.report.build import ITERATIVE, earlier, metrics, missing, ratio, simulate

LINEAR = ("dense", "linear", "aa")


def with_latency(block, name="iterative_vs_linear"):
    record = metrics()
    record["compare"][name]["latency"] = block
    return record


def text(record) -> str:
    return " ".join(verdict(record).sentences)


def test_the_headline_of_a_scan_that_looped_in_python_says_what_it_is_worth():
    record = metrics()
    record["tags"] = ["reference-scan"]
    said = verdict(record).sentences[0]
    assert "Python loop over time, so no latency of this run is to be published; quality" in said


def test_win_states_change_interval_n_and_floor():
    first = verdict(metrics()).sentences[0]
    assert first == (
        "Re-optimising the memory layout after channel sparsity 0.5 made tiny faster: latency −20.0 % (95 % "
        "interval −22.0 to −18.0 %, n = 5 processes) against permuting once before it (linear), beyond the "
        "noise floor of ±2 %; quality of iterative (cosine): −0.01 pp against linear and −5.00 pp "
        "against the dense fp32 model."
    )


@pytest.mark.parametrize(
    ("word", "delta", "ci95", "phrase"),
    [
        ("WIN", -20.0, [-22.0, -18.0], "made tiny faster"),
        ("LOSS", 12.0, [9.0, 15.0], "made tiny slower"),
        ("EQUIVALENT", 0.1, [-1.0, 1.2], "made no notable difference to the speed of tiny"),
        ("AMBIGUOUS", -2.0, [-6.0, 2.2], "This run cannot tell whether"),
    ],
)
def test_each_verdict_leads_with_its_word_and_its_own_sentence(word, delta, ci95, phrase):
    said = verdict(with_latency(ratio(delta, ci95, word)))
    assert said.word == word
    assert phrase in said.sentences[0]
    assert "n = 5 processes" in said.sentences[0]


def test_all_verdicts_have_the_same_number_of_sentences():
    blocks = (ratio(d, [d - 1, d + 1], w) for d, w in ((-9.0, "WIN"), (9.0, "LOSS"), (0.0, "EQUIVALENT")))
    assert len({len(verdict(with_latency(block)).sentences) for block in blocks}) == 1


def test_equivalence_limits_are_wider_on_a_cpu_than_on_a_gpu():
    record = with_latency(ratio(0.1, [-0.5, 0.6], "EQUIVALENT"))
    assert "limits of ±3 %" in verdict(record).sentences[0]
    record["config"]["device"] = "cuda:0"
    assert "limits of ±1 %" in verdict(record).sentences[0]


def test_simulated_is_said_in_the_first_sentence_and_gets_no_verdict():
    said = verdict(simulate(metrics()))
    assert said.word == "SIMULATED"
    assert said.sentences[0].startswith("Simulated, nothing was timed")
    assert "WIN" not in " ".join(said.sentences)


def test_a_precision_that_was_emulated_is_no_simulated_device():
    record = simulate(metrics())
    record["config"]["precision"] = "fp8"
    record["tags"].append("emulated")
    said = verdict(record)
    assert said.word == "SIMULATED" and "computed latency" not in said.sentences[0]
    assert said.sentences[0].startswith(
        "Simulated: fp8 was not executed here but rounded to and computed in float32; so emulated, "
    )
    assert "The precision was not executed" in " ".join(caveats(record, {}))
    assert "model of the device" not in " ".join(caveats(record, {}))
    assert no_device(simulate(metrics())) and not no_device(record)


def test_missing_latency_gives_its_reason():
    said = verdict(with_latency(missing("the clock broke")))
    assert said.word == "NO VERDICT"
    assert "the clock broke" in said.sentences[0]


def test_one_process_has_no_interval_and_no_verdict():
    block = ratio(-20.0, None, None, n_units=1, reason="an interval needs 2 processes")
    first = verdict(with_latency(block)).sentences[0]
    assert "no interval, n = 1 process)" in first
    assert "there is no verdict: an interval needs 2 processes" in first


def test_rolled_back_is_said():
    record = metrics()
    assert "rolled back" not in text(record)
    record["tags"] = ["rolled-back"]
    assert "iterative runs linear's layout" in text(record)


def test_floor_follows_from_aa():
    said = text(metrics())
    assert "A/A control (a second allocation of linear against linear): latency +0.1 %" in said
    assert "so changes within ±2 % count as noise" in said


def test_without_aa_the_fixed_floor_is_named():
    record = metrics()
    del record["compare"]["aa"]
    assert "no A/A control" in text(record)
    assert "the fixed ±2 %" in text(record)


def test_both_qualities_are_always_stated():
    assert (
        "; quality of iterative (cosine): −0.01 pp against linear and −5.00 pp against the dense fp32"
        in verdict(metrics()).sentences[0]
    )
    record = metrics()
    record["compare"]["iterative_vs_linear"] |= {"quality_pp": None, "quality_reason": "no probes"}
    assert "not known against linear and −5.00 pp" in text(record)
    record["compare"]["iterative_vs_linear"]["quality_vs_dense_pp"] = None
    assert "; quality was not compared (no probes)." in text(record)


def test_for_channels_equal_to_slicing_is_expected():
    assert "EQUIVALENT. For channel sparsity an EQUIVALENT is expected" in text(metrics())
    assert "re-layout is slicing there" in text(metrics())


def test_for_channels_a_win_over_slicing_is_a_surprise():
    record = with_latency(ratio(-9.0, [-10.0, -8.0], "WIN"), "iterative_vs_sliced")
    assert "The WIN found is therefore a surprise" in text(record)


def test_for_blocks_only_the_gain_over_slicing_counts():
    record = metrics()
    record["config"]["transform"] = "block"
    assert "Only what is gained here is owed to the layout search" in text(record)
    assert "is expected" not in text(record)


def test_linear_pipeline_is_judged_against_dense():
    said = verdict(metrics(LINEAR, "linear"))
    assert "Permuting once and then applying channel sparsity 0.5 made tiny faster" in said.sentences[0]
    assert "no iterative arm" in said.sentences[-2]


def test_dense_pipeline_is_a_baseline():
    said = verdict(metrics(("dense",), "dense"))
    assert said.word == "BASELINE"
    assert said.sentences == (
        "The dense tiny takes 12 ms a forward on average.",
        "Nothing was compared: this run is a baseline, not a result.",
    )


def test_a_run_of_linear_and_its_copy_says_how_far_they_differ_and_no_more():
    said = verdict(metrics(("linear", "aa"), "linear"))
    assert said.word == "BASELINE"
    assert said.sentences[0] == "The arm linear of tiny takes 10 ms a forward on average."
    assert said.sentences[1].startswith("A/A control (a second allocation of linear against linear): latency")
    assert said.sentences[2].startswith("Nothing else was compared")


def test_figures_that_are_missing_for_one_reason_share_it():
    record = metrics()
    record["compare"]["iterative_vs_linear"] |= {
        "l2_pp": missing("no ncu"),
        "dram": missing("no ncu"),
        "ept": ratio(-3.0, [-4.0, -2.0], "WIN"),
    }
    assert "; L2 served and DRAM bytes per token are not known (no ncu)." in text(record)


def test_energy_and_l2_are_stated_or_their_absence_is():
    assert "Energy per token is not known (no energy counter" in text(metrics())
    record = metrics()
    record["compare"]["iterative_vs_linear"]["ept"] = ratio(-30.0, [-33.0, -27.0], "WIN")
    assert "Energy per token −30.0 % (95 % interval −33.0 to −27.0 %" in text(record)


def test_badges_explain_every_tag():
    record = metrics()
    record["tags"] = ["random-weights", "unheard-of"]
    assert [tag for tag, _ in badges(record)] == record["tags"]
    assert all(about for _, about in badges(record))


def test_caveats_follow_from_facts():
    record = metrics(ITERATIVE)
    latency = record["compare"]["iterative_vs_linear"]["latency"]
    latency |= {"n_units": 3, "floor_pct": 53.6}
    latency["diagnostics"] = {"rounds": 18, "outliers": 1, "delta_pct_without_outliers": -41.1}
    record["tags"] = ["measure-quick", "unlocked"]
    found = " ".join(
        caveats(record, {"cpu": {"cores": 2}, "measured": [{"load_1min": 7.5}], "git": {"dirty": True}})
    )
    for part in (
        "n = 3 processes", "±53.6 %", "1 of 18 rounds", "−41.1 %", "on a CPU", "measure=paper", "not locked",
        "L2 was not measured: no L2", "Energy per token was not measured", "load 7.5 on 2", "not committed",
    ):  # fmt: skip
        assert part in found


def test_a_good_run_has_no_statistical_caveat():
    assert not [c for c in caveats(metrics(), {}) if "processes" in c or "floor" in c]


def test_a_run_whose_arms_were_built_in_one_order_says_that_placement_may_repeat():
    assert any("same order in every process" in c for c in caveats(metrics(), {"measured": [{}, {}]}))
    assert not any(
        "same order" in c for c in caveats(metrics(), {"measured": [{"built": []}, {"built": []}]})
    )
    assert not any("same order" in c for c in caveats(simulate(metrics()), {"measured": [{}]}))


def test_an_a_a_interval_that_leaves_zero_out_is_pointed_at():
    record = metrics()
    record["compare"]["aa"]["latency"] = ratio(0.115, [0.11, 0.12], "EQUIVALENT")
    assert any("+0.11 to +0.12 %, leaves zero out" in c for c in caveats(record, {}))


def test_a_simulated_run_is_not_called_a_cpu_measurement():
    found = " ".join(caveats(simulate(metrics()), {}))
    assert "model of the device" in found
    assert "measured on a CPU" not in found


def test_a_wide_floor_is_written_out():
    block = ratio(-28.0, [-94.0, 778.0], "AMBIGUOUS", floor_pct=50800.5)
    assert "noise floor of ±50,800 %" in verdict(with_latency(block)).sentences[0]


def test_break_even_is_a_promise_only_after_a_win():
    assert solver_sentence(metrics()) == (
        "The solver took 0.5 s. By the mean latencies that is earned back after 250 forwards of iterative "
        "instead of linear."
    )
    long = metrics()
    long["solver"]["break_even_forwards"] = 3_043_953
    assert "after 3,040,000 forwards" in solver_sentence(long)  # the latencies are not known to seven digits
    ambiguous = with_latency(ratio(-28.0, [-94.0, 778.0], "AMBIGUOUS"))
    assert "the gain itself is not established (AMBIGUOUS)" in solver_sentence(ambiguous)
    assert "By the simulated latencies" in solver_sentence(simulate(metrics()))
    record = metrics()
    record["solver"] = {
        "seconds": 0.5,
        "break_even_forwards": None,
        "reason": "iterative is not faster than linear",
    }
    assert solver_sentence(record).endswith("There is no break-even: iterative is not faster than linear.")
    assert solver_sentence({}) == ""


def test_a_run_without_a_transform_says_so_in_records_of_now_and_before():
    for name, sparsity in (("none", None), ("nothing", 0.5)):
        record = metrics()
        record["config"] |= {"transform": name, "sparsity": sparsity}
        assert "after no compression at all" in text(record)


def test_a_gpu_that_was_shared_is_told_with_how_many():
    told = [{"other_processes": None}, {"other_processes": 2}, {"other_processes": 0}]
    assert any("shared: 2 other" in said for said in caveats(metrics(), {"measured": told}))
    quiet = [{}, {"other_processes": 0}]
    assert not any("shared" in said for said in caveats(metrics(), {"measured": quiet}))


def beside(mean, gap, name="iterative_vs_linear", **more):
    more |= {"mean_delta_pct": mean, "mean_ci95": [mean - 3, mean + 3], "mean_gap_ci95": gap}
    return with_latency(ratio(-20.0, [-22.0, -18.0], "WIN", **more), name)


def test_a_mean_that_says_otherwise_in_every_process_is_said_in_the_verdict_and_the_caveats():
    record = beside(8.0, [30.0, 40.0])
    said = "−20.0 % is of medians; the mean of all iterations is +8.0 % (95 % interval +5.0 to +11.0 %)."
    for found in (text(record), " ".join(caveats(record, {}))):
        assert said in found and "slow iterations belong to one of the arms" in found


def test_a_mean_moved_by_chance_is_a_caveat_alone():
    record = beside(8.0, [-30.0, 90.0])
    assert "of medians" not in text(record)
    (found,) = [c for c in caveats(record, {}) if "of medians" in c]
    assert found.startswith("Latency of iterative vs linear: −20.0 % is of medians; the mean")
    assert "other programs take time" in found


def test_another_comparison_s_mean_is_a_caveat_where_every_process_agrees():
    for gap, count in (([30.0, 40.0], 1), ([-30.0, 90.0], 0)):
        record = beside(8.0, gap, "shuffle_vs_linear")
        assert len([c for c in caveats(record, {}) if "Latency of shuffle vs linear" in c]) == count


@pytest.mark.parametrize("mean", [-21.9, -18.1])
def test_a_mean_within_the_noise_floor_of_the_median_is_not_spoken_of(mean):
    record = beside(mean, [0.1, 0.2])
    assert "of medians" not in text(record) + " ".join(caveats(record, {}))


def test_one_or_two_rounds_of_a_process_have_no_median_and_the_caveats_say_so():
    for rounds, count in ((10, 1), (15, 0)):
        record = metrics()
        record["compare"]["iterative_vs_linear"]["latency"]["diagnostics"] = {"rounds": rounds}
        assert len([c for c in caveats(record, {}) if "whose median is their mean" in c]) == count
        assert not [c for c in caveats(earlier(record), {}) if "median" in c]
