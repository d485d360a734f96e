import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastml.compiler.support.names import (
    LENGTH,
    RESERVED,
    Namer,
    is_legal,
    is_systemverilog,
    legalise,
)


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("dense_1", "dense_1"),
        ("/conv1/Relu_output_0", "conv1_Relu_output_0"),
        ('"; $system("x"); //', "system_x"),
        ("module", "n_module"),
        ("Signal", "n_Signal"),  # VHDL ignores the case of letters
        ("exp", "n_exp"),
        ("lappend", "n_lappend"),
        ("3d", "n_3d"),
        ("", "unnamed"),
        ("___", "unnamed"),
        ("a__b_", "a_b"),
        ("gewöhnlich", "gewohnlich"),
        ("层", "unnamed"),
    ],
)
def test_legalise(name: str, legal: str):
    assert legalise(name) == legal
    assert is_legal(legal)


def test_long_names_are_cut_and_told_apart():
    long = "layer_" * 50
    first, second = legalise(long + "a"), legalise(long + "b")
    assert first != second
    assert first.startswith("layer_layer_")
    assert len(first) <= LENGTH


@given(st.lists(st.text(), max_size=20))
def test_unique_names_are_legal_and_distinct_in_any_case(names: list[str]):
    namer = Namer()
    given_out = [namer.unique(name) for name in names]
    assert all(is_legal(name) for name in given_out)
    assert len({name.lower() for name in given_out}) == len(names)


@given(st.text())
def test_a_legal_name_is_kept(name: str):
    once = legalise(name)
    assert legalise(once) == once
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", once)
    assert Namer().unique(once) == once


def test_names_that_become_equal():
    namer = Namer(["clk"])
    names = [namer.unique(n) for n in ("a.b", "a/b", "A_b", "a_b_2", "CLK")]
    assert names == ["a_b", "a_b_2", "A_b_3", "a_b_2_2", "CLK_2"]
    assert namer.unique("x" * 200) != namer.unique("x" * 200)


def test_reserved_words_of_every_language():
    for word in ("template", "always_ff", "architecture", "proc", "isnan", "key_t", "int64_max"):
        assert word in RESERVED
        assert not is_legal(word)
        assert not is_legal(word.upper())


@pytest.mark.parametrize("name", ["_a", "a_", "a__b", "1a", "a b", "", "é", "a" * (LENGTH + 1)])
def test_illegal(name: str):
    assert not is_legal(name)


def test_names_that_only_one_language_takes():
    assert is_systemverilog("y0")  # in C a Bessel function
    assert is_systemverilog("_a__b")
    assert not any(map(is_systemverilog, ("module", "1a", "a-b", "a" * (LENGTH + 1), "")))


def test_claimed_names_are_not_given_out():
    namer = Namer()
    assert namer.claim("y0")
    assert not namer.claim("Y0")
    assert namer.unique("y0!") == "n_y0"
    assert namer.unique("n_y0") == "n_y0_2"
