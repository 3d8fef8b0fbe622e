"""SigLIP's and SigLIP 2's tokenizers: the ids of transformers' slow tokenizer, from either file, whatever is in it."""

from __future__ import annotations

import base64
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from earthwords.errors import WeightsError
from earthwords.text.siglip import SiglipTokenizer, read_pieces
from tests import published

SYLLABLES = (
    *("ro", "ad", "wa", "ter", "bui", "ld", "ing", "tre", "e", "nea", "r", "la", "ke", "air", "po", "rt"),
    *("pla", "ne", "sh", "ip", "gre", "en", "fie", "d", "sma", "ll", "ge", "st", "ri", "pes"),
)
WORDS = (
    *("road", "roof", "water", "lake", "building", "tree", "field", "harbor", "bridge", "café", "plane", "tennis"),
    *("court", "parking", "lot", "red", "blue"),
)
ODD = [
    "",
    "   ",
    "!!!",
    "The RED Roof, left of the lake!",
    "  two   spaces\tand\na line ",
    "a plane's wing (white); 3 of 12 -- e.g. No. 5",
    "café CAFÉ cafe\u0301",
    "ﬁeld ﬂat ½ ² ① ＡＢＣ １２",
    "湖边的红色屋顶",
    "roof 屋顶 roof",
    "İstanbul ſtraße ΣΑΣ ŒUVRE",
    "…“quoted”—dash’s",
    "▁the▁roof",
    "tree\u00a0no-break\u200bzero\u3000wide",
    "🌳 tree 🛩️",
    "under_score snake_case a/b\\c @home #5 $10 50% a&b a*b 1+1=2 <b> [c] {d} ~ ^ ` |",
    "zxqv blorp",
    "x" * 300,
]


def sentences(count: int = 200) -> list[str]:
    """Such as people write, with capitals, punctuation and numbers, and the odd ones."""
    draw = random.Random(3)
    made = []
    while len(made) < count - len(ODD):
        words = draw.choices([*WORDS, "".join(draw.choices(SYLLABLES, k=3))], k=draw.randint(1, 9))
        cased = [draw.choice([str.lower, str.title, str.upper])(word) for word in words]
        text = draw.choice([" ", " ", ", ", "  "]).join(cased)
        made.append(text + draw.choice(["", ".", "!", "?", " 3", "'s"]))
    return made + ODD


@pytest.fixture(scope="module", params=["nmt_nfkc", "identity"])
def model(request: pytest.FixtureRequest) -> bytes:
    """A small SentencePiece model; the normalization of SigLIP's is the first."""
    spm = pytest.importorskip("sentencepiece")
    draw = random.Random(1)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(400)]
    words += WORDS
    lines = [" ".join(draw.choices(words, k=draw.randint(2, 9))) for _ in range(3000)]
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=300, model_type="unigram", pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, character_coverage=1.0, minloglevel=2, num_threads=1,
        normalization_rule_name=request.param,
    )  # fmt: skip
    return out.getvalue()


def write(folder: Path, model: bytes | None, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    if model is not None:
        (folder / "spiece.model").write_bytes(model)
    marks = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "SiglipTokenizer", **marks, **settings})
    )
    return folder


@pytest.mark.parametrize("lower", [True, False])
def test_ids_are_those_of_the_slow_tokenizer(lower: bool, model: bytes, tmp_path: Path) -> None:
    from transformers import SiglipTokenizer as Slow

    folder = write(tmp_path / "x", model, do_lower_case=lower)
    slow, found = Slow.from_pretrained(folder), SiglipTokenizer.from_folder(folder)
    texts = sentences()
    assert len(texts) == 200
    expected = [slow(text)["input_ids"] for text in texts]
    assert found(texts) == expected
    assert len({tuple(row) for row in expected}) > 150 and (found.end, found.pad) == (1, 1)


def as_json(model: bytes, *, charsmap: bool = True) -> str:
    """The same pieces in the other file, with normalizers as converters write them."""
    pieces = read_pieces(model)
    own = Tokenizer(Unigram(pieces.vocabulary, unk_id=pieces.unknown))
    steps: list[Any] = [normalizers.Lowercase(), normalizers.Replace(Regex("[!-/:-@]"), "")]
    own.normalizer = normalizers.Sequence(steps)
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    table = json.loads(own.to_str())
    packed = base64.b64encode(pieces.charsmap).decode()
    if charsmap:
        table["normalizer"]["normalizers"].append({"type": "Precompiled", "precompiled_charsmap": packed})
    return json.dumps(table)


def test_tokenizer_json_gives_the_same_ids(model: bytes, tmp_path: Path) -> None:
    pieces = SiglipTokenizer.from_folder(write(tmp_path / "pieces", model))
    folder = write(tmp_path / "json", None)
    (folder / "tokenizer.json").write_text(as_json(model))
    assert SiglipTokenizer.from_folder(folder)(sentences()) == pieces(sentences())
    (tmp_path / "pieces" / "tokenizer.json").write_text("{")  # is not looked at where there are pieces
    assert SiglipTokenizer.from_folder(tmp_path / "pieces")(ODD) == pieces(ODD)


def test_pieces_written_by_hand(tmp_path: Path) -> None:
    """Without the library that trains them."""
    (tmp_path / "spiece.model").write_bytes(published.spiece())
    found = SiglipTokenizer.from_folder(tmp_path)
    table = {piece: i for i, piece in enumerate(published.PIECES)}
    assert found(["The red ROOF, left!", "", "the zz", "ro of"]) == [
        [table[f"▁{word}"] for word in ("the", "red", "roof", "left")] + [1],
        [1],
        [table["▁the"], table["▁"], table["z"], table["z"], 1],
        [table["▁ro"], table["▁of"], 1],
    ]
    assert found.vocab_size == len(table) and found.highest == len(table) - 1


class TestSecond:
    """SigLIP 2: Gemma's pieces of small letters; punctuation stays."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        published.gemma().save(str(tmp_path / "tokenizer.json"))
        return tmp_path

    def test_ids_are_those_of_transformers(self, folder: Path) -> None:
        from transformers import Siglip2Tokenizer

        table = json.loads((folder / "tokenizer.json").read_text())["model"]
        own = Siglip2Tokenizer(vocab=table["vocab"], merges=[tuple(pair) for pair in table["merges"]])
        found = SiglipTokenizer.from_folder(folder)
        texts = [text for text in sentences() if "<" not in text]  # names of special tokens begin so
        assert found(texts) == [own(text, add_special_tokens=False)["input_ids"] + [1] for text in texts]
        assert (found.end, found.pad) == (1, 0)

    def test_capitals_count_for_nothing_and_punctuation_does(self, folder: Path) -> None:
        found = SiglipTokenizer.from_folder(folder)
        assert found(["The Roof."]) == found(["the roof."]) != found(["the roof"])

    def test_a_regular_expression_is_refused(self, folder: Path) -> None:
        table = json.loads((folder / "tokenizer.json").read_text())
        table["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
        (folder / "tokenizer.json").write_text(json.dumps(table))
        with pytest.raises(WeightsError, match="has a regular expression"):
            SiglipTokenizer.from_folder(folder)

    def test_padding_and_truncation_of_the_file_are_ours(self, folder: Path) -> None:
        own = Tokenizer.from_file(str(folder / "tokenizer.json"))
        own.enable_truncation(2)
        own.enable_padding(length=64)
        own.save(str(folder / "tokenizer.json"))
        assert len(SiglipTokenizer.from_folder(folder)(["abcd"])[0]) == 5


def test_a_regular_expression_of_a_unigram_file_is_not_run(model: bytes, tmp_path: Path) -> None:
    table = json.loads(as_json(model))
    table["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": ""}
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    began = time.perf_counter()
    assert SiglipTokenizer.from_folder(tmp_path)(["x" * 2000])
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"eos_token": "<nowhere>"}, "it has no eos_token '<nowhere>'"),
        ({"pad_token": {"content": "<nowhere>"}}, "it has no pad_token"),
    ],
)
def test_tokens_that_the_pieces_have_not(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    write(tmp_path, published.spiece(), **settings)
    with pytest.raises(WeightsError, match=sentence):
        SiglipTokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("seed", range(150))
def test_damaged_pieces(seed: int, tmp_path: Path) -> None:
    """One sentence or a tokenizer, whatever the damage."""
    draw = random.Random(seed)
    data = bytearray(published.spiece())
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    (tmp_path / "spiece.model").write_bytes(bytes(data[: draw.randint(1, len(data))]))
    try:
        SiglipTokenizer.from_folder(tmp_path)(["the red roof"])
    except WeightsError as error:
        assert "\n" not in str(error) and len(str(error)) < 500


@pytest.mark.parametrize(
    "content", [b"", b"[" * 10**6, b"{}", b'{"model": 1}', b'{"model": {"type": "Unigram"}}', b"\xff"]
)
def test_damaged_json(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        SiglipTokenizer.from_folder(tmp_path)


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected spiece\.model or tokenizer\.json"):
        SiglipTokenizer.from_folder(tmp_path)
