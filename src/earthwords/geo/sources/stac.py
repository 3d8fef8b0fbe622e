"""STAC Items as sources: which file of an Item is the raster, and when it was taken.

An Item, a Collection or an ItemCollection (https://github.com/radiantearth/stac-spec) is read as plain JSON, from a
file, from a server, or from an object of pystac. What it names is then opened as any other path or address.
"""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from earthwords.errors import SourceError, UsageError, brief, some_of
from earthwords.files.reading import MOST_SETTINGS, parse_json, read_bytes
from earthwords.geo.sources.find import RASTERS, Sources
from earthwords.geo.sources.network import Network, is_remote, public
from earthwords.geo.sources.plain_files import SETTING

VISUAL = "visual"
"""The asset that is taken of several, if there is one of that name."""
MOST_ITEMS = 10_000
_SECONDS = 60
_SUFFIXES = (".json", ".geojson")
_ADDRESS = re.compile(r"/(?:items(?:/[^/]+)?|search|collections/[^/]+)/?$")
"""Where servers of the STAC API have Items."""
_SHOWN = {"thumbnail", "overview", "metadata"}
"""Roles of assets that are no data."""
_FILE_SYSTEM, _ARCHIVES = re.compile(r"/(vsi\w+)"), {"vsizip", "vsitar", "vsigzip"}
_ELSEWHERE = ("s3://", "gs://", "az://", "http://", "https://")


class StacSource(str):
    """The raster of an Item, by path or address; of several Items, the file that lists them."""

    file: str
    """What was read to know it, a path or an address."""
    listed: Sources | None
    """The rasters of several Items."""
    days: dict[str, str]
    """Raster to the day that it was taken, `YYYY-MM-DD`."""

    @classmethod
    def of(cls, text: str, *, file: str, days: Mapping[str, str], listed: Sources | None = None) -> StacSource:
        found = cls(text)
        found.file, found.days, found.listed = file, dict(days), listed
        return found


def located(source: Any, *, asset: str | None = None, item: str | None = None, network: Network) -> Any:
    """The raster of a STAC Item, or the list of several; anything else as it is.

    Args:
        asset: name of the asset; default: the one raster with data, else `visual`.
        item: id of the Item, where there are several.

    Raises:
        UsageError: there is no such asset or Item, nothing says which, or `source` is no STAC and one is asked for.
        SourceError: it cannot be read, or names what may not be.
    """
    if isinstance(source, StacSource):
        return source
    found = _document(source, network)
    if found is None:
        if asset is not None or item is not None:
            option = "--asset" if asset is not None else "--item"
            raise UsageError(f"{option} chooses from a STAC Item or Collection, and {_named(source)} is none.")
        return source
    document, base = found
    name = base or _named(source)
    items = _chosen(list(_items(document, base, network)), name, item)
    rasters = [_raster(each, asset, place, network) for each, place in items]
    days = {raster: day for raster, (each, _) in zip(rasters, items, strict=True) if (day := _day(each)) is not None}
    if len(rasters) == 1:
        return StacSource.of(rasters[0], file=name, days=days)
    order = sorted(range(len(items)), key=lambda i: (_time(items[i][0]), str(items[i][0]["id"])))
    listed = Sources(dict.fromkeys(rasters[i] for i in order))
    for i in order:
        listed.names.setdefault(rasters[i], str(items[i][0]["id"]))
    return StacSource.of(name, file=name, days=days, listed=listed)


def located_all(
    sources: Iterable[Any], *, asset: str | None = None, item: str | None = None, network: Network
) -> list[Any]:
    """Each source, and of STAC the rasters of all Items, by time; see `located`.

    Raises:
        UsageError, SourceError: as `located`.
    """
    found: list[Any] = []
    known = False
    for source in sources:
        is_stac = isinstance(source, StacSource) or _document(source, network) is not None
        known = known or is_stac
        one = located(source, asset=asset, item=item, network=network) if is_stac else source
        several = one.listed if isinstance(one, StacSource) else None
        found += [one] if several is None else [StacSource.of(each, file=one.file, days=one.days) for each in several]
    if not known and (asset is not None or item is not None):
        located(found[0] if found else "", asset=asset, item=item, network=network)
    days = {raster: day for one in found if isinstance(one, StacSource) for raster, day in one.days.items()}
    for one in found:
        if isinstance(one, StacSource):
            one.days = days
    return found


def single(source: Any, *, asset: str | None = None, network: Network) -> Any:
    """As `located`, of what must be one raster.

    Raises:
        UsageError: there are several Items.
    """
    one = located(source, asset=asset, network=network)
    if isinstance(one, StacSource) and one.listed is not None:
        ids = some_of([repr(name) for name in one.listed.names.values()])
        raise UsageError(f"{one} holds {len(one.listed):,} STAC Items, and one is needed: choose of {ids}.")
    return one


def _document(source: Any, network: Network) -> tuple[dict[str, Any], str] | None:
    """STAC as plain values, and where it lies (empty: nobody tells); None: it is something else."""
    if hasattr(source, "get_self_href") or type(source).__name__ == "ItemCollection":
        told = source.to_dict(transform_hrefs=False)  # else pystac reads what its links name
        place = str(getattr(source, "get_self_href", lambda: None)() or "")
        return (dict(told), _local(place)) if _is_stac(told) else None
    if not isinstance(source, (str, os.PathLike)) or os.environ.get(SETTING, "") == "1":
        return None
    name = os.fspath(source)
    address = urlsplit(name) if name.startswith(("http://", "https://")) else None
    if address is not None:
        ends = address.path.lower().endswith(_SUFFIXES) or _ADDRESS.search(address.path)
        return _fetched(name, network) if ends else None
    if not name.lower().endswith(_SUFFIXES) or not os.path.isfile(name):
        return None
    try:
        document = parse_json(read_bytes(Path(name), most=MOST_SETTINGS))
    except (OSError, ValueError):
        return None  # whoever opens it says what is wrong
    return (document, name) if _is_stac(document) else None


def _is_stac(document: Any) -> bool:
    """Whether it is an Item, a Collection, a Catalog or an ItemCollection."""
    if not isinstance(document, dict):
        return False
    if document.get("type") != "FeatureCollection":
        return isinstance(document.get("stac_version"), str) and "type" in document
    features = document.get("features")
    if not isinstance(features, list) or not features:
        return False
    return all(isinstance(each, dict) and "stac_version" in each and "assets" in each for each in features)


def _fetched(address: str, network: Network) -> tuple[dict[str, Any], str] | None:
    """What a server says.

    Raises:
        UsageError: nothing may be read over a network.
        SourceError: it does not answer, or with something else than JSON.
    """
    network.reaches(address)
    try:
        with urllib.request.urlopen(urllib.request.Request(address), timeout=_SECONDS) as answer:
            text, place = answer.read(MOST_SETTINGS + 1), str(answer.url)
        if len(text) > MOST_SETTINGS:
            raise ValueError(f"it has more than {MOST_SETTINGS >> 20} MiB")
        document = parse_json(text)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise SourceError(f"Cannot read STAC from {public(address)} ({brief(error)}).") from error
    return (document, place) if _is_stac(document) else None


def _items(document: dict[str, Any], base: str, network: Network) -> Iterable[tuple[dict[str, Any], str]]:
    """All Items, each with the place that its addresses are relative to.

    Raises:
        UsageError: it has none, more than it shows, or is a Catalog.
        SourceError: one cannot be read.
    """
    kind, links = document.get("type"), _links(document)
    if kind == "Feature":
        return [(document, base)]
    if kind == "FeatureCollection":
        if "next" in links:
            raise UsageError(f"{public(base)} goes on, on further pages; ask for all Items at once, or save them.")
        if len(document["features"]) > MOST_ITEMS:
            raise UsageError(f"{public(base)} has more than {MOST_ITEMS:,} STAC Items; split it.")
        return [(each, base or _links(each).get("self", [""])[0]) for each in document["features"]]
    if kind != "Collection":
        raise UsageError(f"{public(base)} is a STAC {kind}; name an Item, a Collection or an ItemCollection.")
    found: list[tuple[dict[str, Any], str]] = []
    named = links.get("item", links.get("items", []))
    if not named or len(named) > MOST_ITEMS:
        how = "names no Items" if not named else f"names more than {MOST_ITEMS:,} Items"
        raise UsageError(f"The STAC Collection {public(base)} {how}; name an Item or an ItemCollection.")
    for href in named:
        place = _joined(base, href, network)
        inner = _document(place, network)
        if inner is None or inner[0].get("type") not in ("Feature", "FeatureCollection"):
            raise SourceError(f"{public(base)} names {public(place)}, which is no STAC Item.")
        found += _items(*inner, network)
    return found


def _links(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Relation to addresses."""
    found: dict[str, list[str]] = {}
    told = document.get("links")
    for link in told if isinstance(told, list) else ():
        if isinstance(link, dict) and isinstance(link.get("href"), str):
            found.setdefault(str(link.get("rel")), []).append(link["href"])
    return found


def _chosen(
    items: Sequence[tuple[dict[str, Any], str]], name: str, item: str | None
) -> Sequence[tuple[dict[str, Any], str]]:
    """All Items, or the one that is asked for.

    Raises:
        SourceError: one is damaged.
        UsageError: there is no such Item.
    """
    for each, _ in items:
        if not isinstance(each.get("id"), str) or not isinstance(each.get("assets"), dict):
            raise SourceError(f"{public(name)} holds a STAC Item without an id or assets; make it anew.")
    if item is None:
        return items
    found = [each for each in items if each[0]["id"] == item]
    if not found:
        ids = some_of([repr(each["id"]) for each, _ in items])
        raise UsageError(f"{public(name)} has no STAC Item {item!r}; there are: {ids}.")
    if len(found) > 1:
        raise UsageError(
            f"{public(name)} has {len(found):,} STAC Items of the id {item!r}; save the one that is meant."
        )
    return found


def _raster(item: Mapping[str, Any], asset: str | None, base: str, network: Network) -> str:
    """Path or address of the raster of an Item.

    Raises:
        UsageError: nothing says which asset it is, or there is none of that name.
        SourceError: it may not be read.
    """
    assets = {str(name): each for name, each in item["assets"].items() if isinstance(each, dict) and "href" in each}
    if asset is None:
        data = [name for name, each in assets.items() if _is_data(each)]
        asset = data[0] if len(data) == 1 else VISUAL
        if asset not in assets:
            raise UsageError(f"Say by --asset which asset of the STAC Item {item['id']!r} is meant: {_some(assets)}.")
    if asset not in assets:
        raise UsageError(f"The STAC Item {item['id']!r} has no asset {asset!r}; there are: {_some(assets)}.")
    return _joined(base, str(assets[asset]["href"]), network)


def _some(assets: Mapping[str, Any]) -> str:
    return some_of(list(assets)) if assets else "it has none"


def _is_data(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a raster that is not only for looking at."""
    roles, media = asset.get("roles"), asset.get("type")
    if isinstance(roles, list) and _SHOWN.intersection(map(str, roles)):
        return False
    if isinstance(media, str):
        return media.startswith("image/")
    return PurePosixPath(urlsplit(str(asset["href"])).path).suffix.lower() in RASTERS


def _joined(base: str, href: str, network: Network) -> str:
    """Where an address of STAC leads.

    Raises:
        SourceError: STAC on a server leads to a local file, or a local one to a server, and that is not allowed.
    """
    try:
        urlsplit(href)
    except ValueError as error:
        raise SourceError(f"{public(base) or 'A STAC Item'} names {brief(href)!r}, which is no address.") from error
    if base.startswith(("http://", "https://")):
        place = urljoin(base, href)
        if not place.startswith(_ELSEWHERE):
            raise SourceError(f"{public(base)} is STAC on a server that names the local {public(href)}.")
        return place
    place = _local(href)
    if is_remote(place):
        if network is Network.NONE or (network is Network.NAMED and base):
            raise network.refusal(base or "The STAC Item", place)
        return place
    if place.startswith("/vsi"):
        if set(_FILE_SYSTEM.findall(place)) - _ARCHIVES:
            raise SourceError(
                f"{public(base) or 'A STAC Item'} names {public(place)}, which is neither a file nor in one."
            )
        return place
    if not base and not os.path.isabs(place):
        raise SourceError(f"A STAC Item that lies nowhere names {place}; set its self href, or save it.")
    return os.path.abspath(os.path.join(os.path.dirname(base), place))


def _local(href: str) -> str:
    """A path for an address `file://`."""
    return url2pathname(urlsplit(href).path) if href.startswith("file://") else href


def _time(item: Mapping[str, Any]) -> str:
    """When it was taken, as the Item says it; empty: it does not."""
    properties = item.get("properties")
    told = properties if isinstance(properties, dict) else {}
    return str(told.get("datetime") or told.get("start_datetime") or "")


def _day(item: Mapping[str, Any]) -> str | None:
    day = _time(item)[:10]
    return day if re.fullmatch(r"\d{4}-\d\d-\d\d", day) else None


def _named(source: Any) -> str:
    """For messages."""
    return public(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else f"a {type(source).__name__}"
