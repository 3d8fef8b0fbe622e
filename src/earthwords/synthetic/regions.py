"""The palettes of the regions of the world.

Colours are sRGB as seen from above in diffuse light, written as hexadecimal `rrggbb`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Region:
    """The colours of a part of the world."""

    name: str
    grounds: dict[str, tuple[str, str]]
    """Material -> its two colours; "grass dry" and "crown dry" are the other end of the year."""
    crowns: tuple[str, ...]
    """Tree crowns in leaf."""
    crowns_dry: tuple[str, ...]
    """Tree crowns in autumn, winter or the dry season."""
    crops: tuple[str, ...]
    """Pairs `"rrggbb rrggbb"` of a field's two colours."""
    roofs: tuple[str, ...]
    """`"rrggbb name"` of house roofs; repeat a row to make it common."""
    waters: tuple[str, ...]
    """Pairs `"shallow deep"`."""
    pitched: float
    """Fraction of houses with a pitched roof."""
    lush: float
    """How green an average day is, 0..1."""


_COMMON: dict[str, tuple[str, str]] = {
    "asphalt": ("4c4c4f", "8b8884"),
    "lot": ("565658", "9a968f"),
    "concrete": ("a39d92", "c9c3b8"),
    "paving": ("968f88", "bdb5aa"),
    "runway": ("5a5a5c", "86847f"),
    "ballast": ("6b6058", "8e8379"),
    "rock": ("77706a", "a39a8e"),
    "snow": ("dfe4ec", "f8f9fb"),
}
_FIELDS = ("5f7a3a 7a9048", "6d7f45 8a9a5a", "b09a62 c7b27c", "8f7a5c a89170", "7d9a4a 95ad5e", "a3a067 bdb680")

REGIONS: tuple[Region, ...] = (
    Region(
        name="temperate",
        grounds=_COMMON
        | {
            "grass": ("4d6134", "6e7f48"),
            "grass dry": ("8f8662", "aa9d78"),
            "soil": ("8a7259", "ad9678"),
            "sand": ("b9a888", "d2c4a6"),
            "floor": ("2a3420", "3d4429"),
            "dirt": ("9c8a70", "bca98c"),
        },
        crowns=("35492a", "3f5730", "4a6236", "55683a", "2f4027"),
        crowns_dry=("7a6a4c", "8f6a3c", "6b6152", "7c5f4a", "5d5a3c"),
        crops=_FIELDS,
        roofs=("9a5a45 red", "8d6a56 brown", "6d6a6a grey", "5a5a5e grey", "7d756c brown", "b9b4ac white"),
        waters=("4f5f4a 2b3a33", "5c6650 39463e", "4a5a5c 243640"),
        pitched=0.92,
        lush=0.8,
    ),
    Region(
        name="northeast",
        grounds=_COMMON
        | {
            "grass": ("5c6a48", "7f8460"),
            "grass dry": ("9a8d6f", "b3a385"),
            "soil": ("907a63", "b09a80"),
            "sand": ("bfae90", "d6c8ac"),
            "floor": ("4a4136", "5d5244"),
            "dirt": ("a08e76", "bcab92"),
        },
        crowns=("2c4428", "37502e", "41582f", "334a2b"),
        crowns_dry=("7d6a58", "8a7463", "756558", "6a5c50", "93796a"),
        crops=_FIELDS,
        roofs=("5f6064 grey", "77777a grey", "8c8884 grey", "48484c black", "7a675a brown", "c4c2be white"),
        waters=("26342b 101b17", "2f3a30 18211d", "3a4038 20282a"),
        pitched=0.85,
        lush=0.35,
    ),
    Region(
        name="mediterranean",
        grounds=_COMMON
        | {
            "grass": ("6b7446", "8f8d5e"),
            "grass dry": ("a8956a", "c2ad80"),
            "soil": ("a8835f", "c4a27c"),
            "sand": ("ccb994", "e0d1b0"),
            "floor": ("3f4129", "575437"),
            "dirt": ("b89b78", "d0b592"),
        },
        crowns=("3e4c2c", "4c5833", "5b6440", "45522f"),
        crowns_dry=("5f6040", "6d6846", "55583a"),
        crops=(*_FIELDS, "a8815a c09a70", "8a8a50 a09d64", "c0a878 d4c090"),
        roofs=("b06a4a red", "bd7b58 red", "a65c42 red", "c08a68 brown", "d9d3c8 white", "9a938a grey"),
        waters=("5f8a86 1f4a5c", "4a7a70 1c4048", "6a8a7c 3a5c5a"),
        pitched=0.7,
        lush=0.55,
    ),
    Region(
        name="arid",
        grounds=_COMMON
        | {
            "grass": ("5c6a42", "7c8458"),
            "grass dry": ("978a6c", "b0a284"),
            "soil": ("b5a48b", "d2c4ac"),
            "sand": ("bfb6a8", "ddd6c9"),
            "floor": ("4a4c36", "66644a"),
            "dirt": ("c0b298", "d8ccb4"),
            "paving": ("a89e96", "cbc0b4"),
        },
        crowns=("414a30", "4d5638", "38422c"),
        crowns_dry=("6b6a4e", "767256"),
        crops=("5f7440 788a52", "8d8460 a89e78", "b8a884 cfc09c"),
        roofs=("d8d4cc white", "e6e3dd white", "c9c0b2 white", "b5aca0 grey", "b8684a red", "9d978f grey"),
        waters=("3f5a50 16261f", "2e3c34 0c1512", "5a9a98 1e5a6c"),
        pitched=0.12,
        lush=0.6,
    ),
    Region(
        name="red desert",
        grounds=_COMMON
        | {
            "grass": ("6f6d45", "8c8458"),
            "grass dry": ("a07f58", "b8946a"),
            "soil": ("a8734e", "c18d65"),
            "sand": ("b98560", "d3a37c"),
            "floor": ("5c4c34", "735e42"),
            "dirt": ("bd8f6a", "d2a885"),
            "rock": ("8a5f48", "b0805f"),
        },
        crowns=("4b4c30", "56573a", "3f4229"),
        crowns_dry=("6e6444", "7c6e4c"),
        crops=("667642 808c54", "a07c54 b8946a", "8c8050 a69866"),
        roofs=("cfc4b4 white", "b59a80 brown", "c7ad92 brown", "a89a8c grey", "a85c44 red", "ddd8cf white"),
        waters=("6b6a52 3c4438", "4c5a4c 26342e", "7a6a50 4f4838"),
        pitched=0.35,
        lush=0.4,
    ),
    Region(
        name="tropical",
        grounds=_COMMON
        | {
            "grass": ("4a6a34", "668448"),
            "grass dry": ("7c7a48", "948a58"),
            "soil": ("96603f", "b47e58"),
            "sand": ("d0c3a4", "e6dcc2"),
            "floor": ("22361c", "334825"),
            "dirt": ("a8714c", "c08c66"),
        },
        crowns=("2a4a22", "34562a", "3f6430", "4c6e36", "23401f"),
        crowns_dry=("4c5a30", "5c6638", "6a6840"),
        crops=("4f7a38 689148", "6f8f44 88a458", "8c6a48 a58460", "5c6f48 748560", "7c9450 95a866"),
        roofs=("a0543c red", "8f8f90 grey", "7d94a8 blue", "b56a4c red", "8a6e5c brown", "cfcac2 white"),
        waters=("6a7458 475440", "5a9c92 1a5664", "7d7656 5c5840"),
        pitched=0.8,
        lush=0.92,
    ),
    Region(
        name="dry plain",
        grounds=_COMMON
        | {
            "grass": ("6c7450", "8a8a66"),
            "grass dry": ("9a8f78", "b4a890"),
            "soil": ("98866f", "b8a68c"),
            "sand": ("b5a68c", "cdc0a6"),
            "floor": ("4a4a38", "62604a"),
            "dirt": ("a89880", "c4b49a"),
        },
        crowns=("4a5a3c", "56664a", "425038"),
        crowns_dry=("726a58", "7d7462", "686052"),
        crops=("6a7c4c 84945f", "a8997c bfb094", "93826a aa9a80", "7d8a5c 96a072", "b5a584 cabc9c"),
        roofs=("8f5a4a red", "a06654 red", "7d93b8 blue", "8f8b88 grey", "7a7876 grey", "c9c8c8 white"),
        waters=("5f6a58 38463c", "6a7068 48524c", "4c5c58 2c3c3c"),
        pitched=0.65,
        lush=0.5,
    ),
)

_CITY = _COMMON | {
    "asphalt": ("4e4e51", "827f7c"),
    "lot": ("4e4e50", "85827d"),
    "concrete": ("8f8b84", "b3aea6"),
    "paving": ("7d7974", "a39e97"),
}

LATER_REGIONS: tuple[Region, ...] = (
    Region(
        name="old europe",
        grounds=_CITY
        | {
            "grass": ("4d5f38", "6c7a4c"),
            "grass dry": ("858062", "a09878"),
            "soil": ("86745f", "a8957c"),
            "sand": ("b5a78c", "ccbfa6"),
            "floor": ("2c3524", "3f462e"),
            "dirt": ("99897a", "b8a998"),
        },
        crowns=("35452c", "3f5332", "4a6038", "56663c", "2f3f29"),
        crowns_dry=("7a6a4c", "8f6a3c", "6b6152", "7c5f4a", "5d5a3c"),
        crops=_FIELDS,
        roofs=(
            "9a5a45 red",
            "a86a50 red",
            "8a4e40 red",
            "7d5547 brown",
            "6a5a52 brown",
            "77767a grey",
            "8f8d8c grey",
            "5f6064 grey",
            "a5a29d grey",
            "b5b2ad white",
        ),
        waters=("45524a 2a3632", "3c4a44 222c2a"),
        pitched=0.6,
        lush=0.75,
    ),
    Region(
        name="us city",
        grounds=_CITY
        | {
            "grass": ("4c5a3c", "68724e"),
            "grass dry": ("8a8266", "a39a7e"),
            "soil": ("85766a", "a4968a"),
            "sand": ("b8aa92", "d0c4ae"),
            "floor": ("262f22", "38402c"),
            "dirt": ("988a7a", "b5a898"),
        },
        crowns=("2c3c26", "36482d", "40532f", "334128"),
        crowns_dry=("7d6a58", "8a7463", "756558", "6a5c50"),
        crops=_FIELDS,
        roofs=(
            "c9c8c4 white",
            "dedcd8 white",
            "a8a6a2 grey",
            "8c8a88 grey",
            "6c6b6b grey",
            "4c4b4c black",
            "96826f brown",
            "7f5c4e brown",
            "b3ada2 grey",
        ),
        waters=("2c4040 233636", "303b35 262f2b", "2a363b 20292d"),
        pitched=0.05,
        lush=0.6,
    ),
    Region(
        name="east africa",
        grounds=_COMMON
        | {
            "grass": ("6a7446", "8c9060"),
            "grass dry": ("a3935f", "bfae7a"),
            "soil": ("a38460", "c4a680"),
            "sand": ("c9b898", "e0d2b6"),
            "floor": ("33421f", "4a582d"),
            "dirt": ("b0926c", "cdb38c"),
            "paving": ("9c948c", "bdb5aa"),
        },
        crowns=("3c5a26", "48682c", "557536", "3a5228", "62803c"),
        crowns_dry=("6f7244", "7c7a4c", "62683c"),
        crops=("6f8440 8a9a56", "a8915c c0a878", "8c8a4c a5a066", "b09a70 c9b48a"),
        roofs=("b9bcbc grey", "cfd2d2 white", "8f9190 grey", "8a5a42 brown", "a06a4c brown"),
        waters=("7a7458 5c5a45", "5a8c84 2a5c60"),
        pitched=0.9,
        lush=0.55,
    ),
    Region(
        name="pacific islands",
        grounds=_COMMON
        | {
            "grass": ("547438", "76924e"),
            "grass dry": ("8a8450", "a69c68"),
            "soil": ("94806a", "b5a28a"),
            "sand": ("c4b8a2", "dcd2be"),
            "floor": ("263c1c", "3a5228"),
            "dirt": ("a39684", "c4b8a6"),
            "paving": ("a09a92", "c0b9b0"),
        },
        crowns=("355a26", "42702e", "4f8036", "2c4c20", "5c8a40"),
        crowns_dry=("5c6a38", "6c7240", "74703c"),
        crops=("55803c 70984e", "70903f 8aa85a", "8c7c58 a89874"),
        roofs=("b9bcbc grey", "5fb0dc blue", "cfd2d2 white", "a04a44 red", "8a5a48 brown"),
        waters=("6a7458 475440", "5a9c92 1a5664"),
        pitched=0.9,
        lush=0.85,
    ),
)
"""Regions of later themes: the first ones are drawn from by position, so that none may join them."""

REGION: dict[str, Region] = {region.name: region for region in (*REGIONS, *LATER_REGIONS)}
