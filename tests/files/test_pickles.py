"""Pickles are read as data: the same values as `pickle` makes, nothing called, and bounded whatever they say."""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthwords.data.annotations.masks._pickles import read_plain
from earthwords.errors import SourceError
from earthwords.files.pickles import Call, Global, Persistent, read_pickle

KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.binary(), st.floats(allow_nan=False))
PLAIN = st.recursive(
    st.one_of(KEYS, st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.one_of(KEYS, st.tuples(KEYS, KEYS)), inner), st.tuples(inner, inner, inner)
    ),
)


@settings(max_examples=150, deadline=None)
@given(PLAIN, st.sampled_from([3, 4, 5]))
def test_plain_values_are_those_of_pickle(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert repr(read_pickle(data, most=10**6)) == repr(pickle.loads(data))


@settings(max_examples=80, deadline=None)
@given(st.recursive(st.one_of(st.text(), st.integers(), st.none(), st.floats(allow_nan=False)), st.lists))
def test_older_protocols(value: Any) -> None:
    for protocol in (0, 1, 2):
        assert repr(read_pickle(pickle.dumps(value, protocol), most=10**6)) == repr(value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"S'caf\\xe9'\np0\n.", "café"),  # what Python 2 writes of bytes
        (b"(lp0\nS'road'\np1\naI5\naI01\naNa.", ["road", 5, True, None]),
        (b"(dp0\nV\\u6811\np1\nL5L\ns.", {"树": 5}),
        (b"U\x04caf\xe9.", "café"),
        (b"(I1\nI2\n0t.", (1,)),  # POP
    ],
)
def test_pickles_of_python_2(data: bytes, expected: Any) -> None:
    assert read_pickle(data, most=100) == expected == pickle.loads(data, encoding="latin-1")


def test_objects_are_described_not_made() -> None:
    found = read_pickle(pickle.dumps(OrderedDict([("a", [1])])), most=100)
    assert isinstance(found, Call) and (found.name, found.args, found.items) == (
        "collections.OrderedDict",
        (),
        [("a", [1])],
    )
    assert read_pickle(pickle.dumps(Path), most=100).name.startswith("pathlib")
    built = read_pickle(b"cos\nsystem\n)\x81}X\x01\x00\x00\x00aK\x01sb.", most=100)
    assert (built.name, built.state) == ("os.system", {"a": 1})
    assert read_pickle(b"\x80\x02X\x01\x00\x00\x00kQ.", most=100) == Persistent("k")
    assert read_pickle(b"cos\nsystem\n.", most=100) == Global("os.system")


def test_parts_are_shared_as_in_the_pickle() -> None:
    part = [1]
    found = read_pickle(pickle.dumps([part, part]), most=100)
    assert found[0] is found[1]


@pytest.mark.parametrize("seed", range(300))
def test_damaged_pickles_are_damaged(seed: int) -> None:
    """Nothing but `ValueError`, whatever the damage."""
    draw = random.Random(seed)
    value = [{"a": (1, 2.5, "x", b"y", None)}, {3, 4}, frozenset({5}), 10**30, OrderedDict(b=2), np.arange(3)]
    data = bytearray(pickle.dumps(value, draw.choice((0, 1, 2, 3, 4, 5))))
    for _ in range(draw.randint(1, 6)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    try:
        read_pickle(bytes(data[: draw.randint(1, len(data))]), most=10_000)
    except ValueError as error:
        assert str(error)


def doubling(kind: str, levels: int) -> bytes:
    """`levels` lines, each of which names the one before twice; written out 2 ** levels values."""
    lines = [b"\x80\x02K\x01q\x00"]
    for i in range(levels):
        twice = b"h%ch%c" % (i, i)
        made = {"list": b"](" + twice + b"e", "tuple": twice + b"\x86", "dict": b"}(K\x01h%cK\x02h%cu" % (i, i)}[kind]
        lines.append(made + b"q%c" % (i + 1))
    return b"".join(lines) + b"."


def array(shape: tuple[int, ...], raw: bytes = b"") -> bytes:
    """A pickled array of bytes of any claimed shape."""
    data = pickle.dumps(np.zeros(1, "u1"), 2)
    sides = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape) + b"t"
    assert data.count(b"K\x01\x85") == 1
    return data.replace(b"K\x01\x85", sides, 1)


def copies(count: int, text: int) -> bytes:
    """`count` encoded texts, all of one long one."""
    call = b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R"
    return (
        b"\x80\x02" + b"X" + struct.pack("<I", text) + b"a" * text + b"q\x000" + b"c_codecs\nencode\nq\x010"
        b"](" + call * count + b"e."
    )  # fmt: skip


BOMBS = {
    "lists": (doubling("list", 40), "more than 20,000,000 values"),
    "tuples": (doubling("tuple", 60), "more than 20,000,000 values"),
    "dicts": (doubling("dict", 50), "more than 20,000,000 values"),
    "doubling, too deep": (doubling("list", 200), "nested more than 64 levels"),
    "a memo of 8 GB": (b"\x80\x02Nr\xff\xff\xff\x3f" + b"Nr\xff\xff\xff\x7f" + b"X\x01\x00\x00\x00a.", None),
    "deep lists": (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "nested more than 64"),
    "deep tuples": (b"\x80\x02N" + b"\x85" * 10**5 + b".", "nested more than 64"),
    "a deep key": (b"\x80\x02}N" + b"\x85" * 10**5 + b"Ns.", "damaged, or no pickle"),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", "nested more than 64"),
    "marks": (b"\x80\x02" + b"(" * 10**6 + b".", "names an object outside of it"),
    "rows of nothing": (array((10**9, 0)), "an array of the shape"),
    "a negative side": (array((-1, 5)), "an array of the shape"),
    "many sides": (array((1,) * 100), "an array of the shape"),
    "encoded texts": (copies(10_000, 10**6), "more than 20,000,000 values"),
    "a repeated text": (b"\x80\x02X" + struct.pack("<I", 10**7) + b"a" * 10**7 + b"q\x000](" + b"h\x00" * 10**4 + b"e.",
                        "more than 20,000,000 values"),
    "a length beyond the end": (b"\x80\x02X\xff\xff\xff\x7fabc.", "no plain|not a pickle"),
    "8 EB": (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "not a pickle"),
    "nothing": (b"", "damaged, or no pickle"),
    "no end": (b"\x80\x02]", "damaged, or no pickle"),
    "an extension": (b"\x80\x02\x82\x01.", "holds the instruction EXT1"),
    "digits": (b"L" + b"9" * 10**6 + b"L\n.", "not a pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_would_fill_the_memory(name: str, tmp_path: Path) -> None:
    data, sentence = BOMBS[name]
    (tmp_path / "refs.p").write_bytes(data)
    began = time.process_time()
    if sentence is None:
        assert read_plain(tmp_path / "refs.p") == "a"
    else:
        with pytest.raises(SourceError, match=sentence) as error:
            read_plain(tmp_path / "refs.p")
        assert len(str(error.value)) < 500
    assert time.process_time() - began < 20  # 2 s for a million instructions on a slow machine


def test_more_instructions_than_allowed() -> None:
    with pytest.raises(ValueError, match="more than 100 values"):
        read_pickle(b"\x80\x02]" + b"Na" * 100 + b".", most=100)


def test_every_instruction_is_decided_upon() -> None:
    """None is forgotten: a later Python that has a new one refuses it."""
    from earthwords.files import pickles

    known = {each.code.encode("latin-1") for each in pickletools.opcodes}
    assert set(pickles._INSTRUCTIONS) == known
    refused = {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER"}
    names = {each.name for each in pickletools.opcodes}
    assert names - pickles._ARGUMENTS - pickles._RUN.keys() == refused
