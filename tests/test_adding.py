"""docs/adding.md is true: what it shows is there, what it tells to run runs, what it quotes is said."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

from icd.config import conf_dir
from icd.contracts import Site, TensorAxis
from icd.errors import ConfigError, Exit, VerificationError
from icd.own import named_class, with_own_conf
from tests import families
from tests.conftest import ROOT, icd

TEXT = (ROOT / "docs" / "adding.md").read_text("utf-8")
EXCERPTS = re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", TEXT, re.S)
ROWS = re.findall(r"^\| (.+?) \| `(.+)` \| (\d) \|$", TEXT, re.M)
OWN = re.search(r"python -m icd (--config-dir .* transform=.*)", TEXT)[1].split()
PROOFS = "layouts or left_out or compact or estimate or longest or padded"
QUICK = ["measure=smoke", "device=cpu", "tracking=none", "hydra.run.dir=run"]


@pytest.mark.parametrize(("file", "shown"), EXCERPTS, ids=[file for file, _ in EXCERPTS])
def test_an_excerpt_is_what_the_file_says(file, shown):
    text = (ROOT / file).read_text("utf-8")
    places = [text.find(part.strip("\n")) for part in shown.split("...\n")]
    assert -1 not in places and places == sorted(places)


def test_both_files_of_the_family_are_shown_and_no_other_file_knows_it():
    assert {file for file, _ in EXCERPTS} == {"src/icd/model/distilbert.py", "conf/model/distilbert.yaml"}
    knowing = [p for p in (ROOT / "src").rglob("*.py") if "distilbert" in p.read_text("utf-8").lower()]
    assert [p.name for p in knowing] == ["distilbert.py"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with every file that the documentation shows, as it says."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in families.documented_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
def test_a_package_of_ones_own_runs_with_one_of_each_group_and_runs_again(own):
    done = icd(*OWN, *QUICK, cwd=own)
    assert done.returncode == 0, done.stderr
    record = json.loads((own / "run" / "metrics.json").read_text())
    assert record["model"]["name"] == "myfamily" and record["equivalence"]["ok"]
    arms = record["arms"]
    assert arms["iterative"]["quality"]["metric"] == "correlation"
    assert {tuple(kept) for kept in arms["iterative"]["executed"]["sites"].values()} == {(192, 384)}
    assert all(arm["engine_check"]["ok"] for arm in arms.values())
    assert icd("verify", "run", cwd=own).returncode == 0
    lock = json.loads((own / "run" / "config.lock.json").read_text())
    assert {lock["choices"][g] for g in ("model", "transform", "solver", "graph", "quality")} == {
        "myfamily", "mytransform", "mysolver", "mygraph", "myquality"
    }  # fmt: skip
    again = ["pipeline=linear", "hydra.run.dir=again", "--config-dir", "myconf"]
    done = icd("rerun", "run", *again, cwd=own)
    assert done.returncode == 0, done.stderr


def test_the_contract_is_proved_of_an_encoder_in_a_folder_of_ones_own(own):
    words = ["-p", "no:cacheprovider", "tests/test_contracts.py", "-k", f"myelectra and ({PROOFS})"]
    path = os.pathsep.join([str(own), str(ROOT / "src"), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "ICD_OWN_CONF": str(own / "myconf")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15


@pytest.mark.slow
def test_an_encoder_on_top_of_berts_yaml_runs(own):
    words = ["--config-dir", "myconf", "model=myelectra", "seq_len=16", *QUICK[:-1], "hydra.run.dir=electra"]
    done = icd(*words, cwd=own)
    assert done.returncode == 0, done.stderr
    record = json.loads((own / "electra" / "metrics.json").read_text())
    assert record["model"]["family"] == "electra" and record["equivalence"]["ok"]
    done = icd("rerun", "electra", "pipeline=dense", "hydra.run.dir=e2", "--config-dir", "myconf", cwd=own)
    assert done.returncode == 0, done.stderr


def test_hydras_own_search_path_and_another_working_directory_will_do(own, tmp_path):
    words = [f"hydra.searchpath=[file://{own / 'myconf'}]", "model=myfamily", "pipeline=dense"]
    done = icd(*words, *QUICK, cwd=tmp_path, PYTHONPATH=f"{ROOT / 'src'}:{own}")
    assert done.returncode == 0, done.stderr
    done = icd(*words, *QUICK[:-1], "hydra.run.dir=other", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG and "is its folder on PYTHONPATH?" in done.stderr


@pytest.mark.slow
def test_the_documented_custom_model_runs(own):
    words = re.search(r"python -m icd (model=custom .*)", TEXT)[1].split()
    done = icd(*words, *QUICK[:-1], "hydra.run.dir=custom", cwd=own)
    assert done.returncode == 0, done.stderr
    assert icd("verify", "custom", cwd=own).returncode == 0


# --- the sentences of common mistakes -------------------------------------------------------------


def layer():
    """A module with one layer of 8 neurons between 4 and 4, and ``count`` of them."""
    import torch

    module = torch.nn.Module()
    module.layer = torch.nn.Module()
    module.layer.up, module.layer.down = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
    module.layer.act, module.layer.count = torch.nn.GELU(), 8
    return module


def neurons(size=8, up="up", down="down", counts=(), name="neurons"):
    axes = TensorAxis(f"layer.{up}.weight", 0), TensorAxis("layer.down.weight", 1)
    return Site(f"layer.{name}", size, axes, "neurons", f"layer.{down}", tuple(counts))


def unquoted(folder):
    from icd.model.sites_file import read_sites

    (folder / "sites.yaml").write_text(
        "[{name: a, size: 8, activation: 0.10, axes: [{parameter: b, dim: 0}]}]"
    )
    read_sites(folder / "sites.yaml")


def declared(*sites):
    from icd.model.declared import check_sites

    return lambda folder: check_sites(layer(), sites)


def left_out(folder):
    from icd.pipeline.checks import equivalence

    workload = families.build("distilbert")
    heads = workload.sites[0]
    broken = dataclasses.replace(heads, axes=heads.axes[1:])
    layouts = {"linear": {heads.name: [*range(1, heads.size), 0]}}
    equivalence(dataclasses.replace(workload, sites=(broken,)), layouts)


def given(forward, *more):
    """A workload of one layer and another norm, whose neurons have ``more`` axes."""
    import torch

    from icd.contracts import ModelCard, Workload

    module = layer()
    module.other = torch.nn.LayerNorm(8)
    site = neurons()
    axes = TensorAxis("layer.up.bias", 0), *(TensorAxis(name, 0) for name in more)
    site = dataclasses.replace(site, axes=(*site.axes, *axes))
    card = ModelCard("own", "own", 1, "unknown", "here")
    return Workload(module, forward, {"x": torch.randn(3, 4)}, (site,), card)


def block(m, inputs):
    return m.layer.down(m.layer.act(m.layer.up(inputs["x"])))


def read_nowhere(folder):
    from icd.pipeline.soundness import check_read

    check_read(given(block, "other.weight"))


def proved(forward, *more):
    from icd.pipeline.checks import equivalence

    return lambda folder: equivalence(given(forward, *more), {"linear": {"layer.neurons": [*range(1, 8), 0]}})


def codes(folder):
    import torch

    class Codes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.zeros(4, 8, dtype=torch.int8))

    module = layer()
    module.layer.down = Codes()
    from icd.model.declared import check_sites

    check_sites(module, [neurons()])


def only_float32(m, inputs):
    if inputs["x"].element_size() > 4:
        raise TypeError("a kernel for float32 alone")
    return block(m, inputs)


def misspelt(folder):
    from icd.cli import check_cell

    check_cell(conf_dir(), ["model=distilbert", "+model.sede=1"])


def half_done(folder):
    (folder / "halfway.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Half:\n    name: str\n"
        "    simulated = False\n    def check(self): ...\n    def build(self): ...\n"
    )
    named_class("model", "halfway.Half")


def taken(folder):
    (folder / "model").mkdir()
    (folder / "model" / "bert.yaml").write_text("")
    with_own_conf(conf_dir(), [], str(folder))


MISTAKES = [
    left_out,
    declared(neurons(up="upp")),
    read_nowhere,
    proved(lambda m, i: block(m, i) + m.other(i["x"].repeat(1, 2))[:, :4], "other.weight"),
    codes,
    proved(only_float32),
    declared(neurons(size=9)),
    declared(neurons(down="dwn")),
    declared(neurons(down="act")),
    unquoted,
    declared(neurons(counts=[("layer.width", 1)])),
    declared(neurons(counts=[("layer.count", 2)])),
    declared(neurons(), neurons(size=2, name="first")),
    misspelt,
    half_done,
    lambda folder: named_class("model", "nowhere.Family"),
    taken,
]


def test_every_documented_mistake_is_made_here():
    assert len(ROWS) == len(MISTAKES) == 17


@pytest.mark.parametrize(
    ("row", "mistake"), list(zip(ROWS, MISTAKES, strict=True)), ids=[row[0] for row in ROWS]
)
def test_a_mistake_gets_the_sentence_that_the_documentation_quotes(row, mistake, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises((ConfigError, VerificationError)) as caught:
        mistake(tmp_path)
    pattern = ".*".join(re.escape(part.strip()) for part in row[1].split("…"))
    assert re.fullmatch(pattern, str(caught.value)), str(caught.value)
    assert int(caught.value.code) == int(row[2])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = nope\n", "NameError: name 'nope' is not defined"),
        ("def f(:\n", "SyntaxError: "),
        ("raise RuntimeError('no luck')\n", "RuntimeError: no luck"),
        (
            "from dataclasses import dataclass\n\n@dataclass\nclass A:\n    a: int = 0\n    b: int\n",
            "TypeError: non-default argument 'b' follows",
        ),
    ],
    ids=["name", "syntax", "raises", "order"],
)
def test_a_module_of_ones_own_that_raises_costs_a_sentence(text, told, tmp_path, monkeypatch, request):
    module = f"raising_{request.node.callspec.id}"
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        named_class("solver", f"{module}.A")
    assert f"importing {module} failed ({told}" in str(caught.value)


def test_a_folder_that_is_not_there_and_two_ways_at_once_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'nothing' is not there"):
        with_own_conf(conf_dir(), [], str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="use one of them"):
        with_own_conf(conf_dir(), ["hydra.searchpath=[file:///tmp]"], str(tmp_path))
    assert with_own_conf(conf_dir(), ["seed=1"], None) == ["seed=1"]
