"""Puts a trained `refseg-tiny` onto other weights of `tiny`, as where the next training begins.

    python recipes/refer_onto.py REFSEG TINY OUT [--half]

What REFSEG (a folder of `train refer`) learned is taken as it is, its frozen towers are TINY's (a folder).
`earthwords train refer LIST DST --model OUT` goes on from there. `--half` writes float16, as the package has it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from earthwords.models.refseg.load import WEIGHTS_FILE, assemble, kept, store_refseg
from earthwords.presets import REFSEG_TINY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refseg", type=Path)
    parser.add_argument("tiny")
    parser.add_argument("out", type=Path)
    parser.add_argument("--half", action="store_true")
    args = parser.parse_args()
    preset = replace(REFSEG_TINY, words=args.tiny)
    model = assemble(preset)
    learned = {name: value.float() for name, value in load_file(args.refseg / WEIGHTS_FILE).items()}
    names = kept(model, preset)
    if missing := names - learned.keys():
        raise SystemExit(f"{args.refseg} has no {', '.join(sorted(missing))}.")
    model.load_state_dict({name: learned[name] for name in names}, strict=False)
    store_refseg(model, preset, args.out, dtype=torch.float16 if args.half else torch.float32)
    print(f"{len(names)} tensors of {args.refseg} on {args.tiny}, in {args.out}")


if __name__ == "__main__":
    main()
