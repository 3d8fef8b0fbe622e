"""Counts the words that the embedded model `tiny` learned: `words.json` of its folder.

    python recipes/tiny_words.py LISTING/train.jsonl MODEL

LISTING is what `recipes/tiny_self.py` wrote for the last training. `train clip` writes the file by itself, but adds up
the counts of trainings that follow one another, which here saw the same pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from earthwords.data.manifests.captions import read_manifest
from earthwords.text.known_words import FILE


def main() -> None:
    """Write the file and say how many words there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listing", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    words = read_manifest(given.listing).words()
    text = json.dumps(words.plain(), ensure_ascii=False, indent=0, separators=(",", ":"))
    (given.model / FILE).write_text(text + "\n", encoding="utf-8")
    every = {word for word in (*words.pictures, *words.rendered) if " " not in word}
    print(f"{len(every):,} words, {len(words):,} of them in enough pictures to be known")


if __name__ == "__main__":
    main()
