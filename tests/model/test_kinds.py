"""Which sites a model declares: as its keys and the transform's say."""

import pytest

from icd.cli import compose_cell
from icd.config import build, conf_dir
from icd.errors import ConfigError
from icd.model.kinds import check_kinds
from tests.tiny import tiny_bert, tiny_mamba


@pytest.mark.parametrize("model", ["bert", "bert_large", "minilm"])
@pytest.mark.parametrize(
    ("words", "attention"),
    [
        ([], "heads"),
        (["transform.attention=dims"], "dims"),
        (["transform=unstructured", "transform.attention=dims"], "dims"),
        (["transform=none"], "heads"),
    ],
)
def test_sites_inside_an_attention_follow_the_transform(model, words, attention):
    cfg = compose_cell(conf_dir(), [f"model={model}", *words])
    assert build(cfg).model.attention == attention


@pytest.mark.parametrize("model", ["minilm", "mamba_tiny"])
def test_an_unknown_kind_of_site_is_refused_with_those_there_are(model):
    with pytest.raises(ConfigError, match=r"unknown kind 'heads'; there are .*residual"):
        build(compose_cell(conf_dir(), [f"model={model}", "model.sites=[heads]"]))


def test_no_kind_at_all_is_refused():
    with pytest.raises(ConfigError, match="expected one or more of a, b"):
        check_kinds([], ("a", "b"))


def test_the_kinds_asked_for_are_the_groups_declared():
    def groups(workload):
        return {site.group for site in workload.sites}

    assert groups(tiny_bert()) == {"heads", "neurons"}
    assert groups(tiny_bert(attention="dims")) == {"vo_dims", "qk_dims", "neurons"}
    assert groups(tiny_bert(kinds=("residual",))) == {"residual"}
    assert groups(tiny_mamba()) == {"d_inner"}
    assert groups(tiny_mamba(sites=["dt_rank", "d_state"])) == {"dt_rank", "d_state"}
