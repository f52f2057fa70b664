"""Which assets and streams there are: names to dense indices, in order of first appearance."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from wire.errors import MessageError

__all__ = ["MOST_CHANNELS", "Directory"]

MOST_CHANNELS = 1024
"""Channels that one asset may have."""
LONGEST_NAME = 256
NO_UNITS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Directory:
    """Assets and their streams (one stream is one channel of one asset)."""

    assets: list[str] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)
    units: list[list[str]] = field(default_factory=list)
    streams_of: list[list[int]] = field(default_factory=list)
    stream_count: int = 0
    width: NDArray[np.int32] = field(default_factory=lambda: np.zeros(16, np.int32))
    """[assets]: streams of each asset."""
    phase: NDArray[np.float64] = field(default_factory=lambda: np.zeros(16))
    """[assets]: 0..1, spreads periodic work of many assets evenly over time."""
    news: list[tuple[int, str, str]] = field(default_factory=list)
    """(asset, channel, unit) of streams that the journal does not have yet, in order."""
    _asset_index: dict[str, int] = field(default_factory=dict)
    _stream_index: list[dict[str, int]] = field(default_factory=list)

    @property
    def asset_count(self) -> int:
        """Number of assets."""
        return len(self.assets)

    def asset(self, name: str) -> int:
        """Return the index of an asset, adding it when new."""
        found = self._asset_index.get(name)
        return self._add_asset(name) if found is None else found

    def stream(self, asset: int, channel: str, *, unit: str = "") -> int:
        """Return the index of an asset's stream, adding it when new; see `introduce` for limits."""
        found = self._stream_index[asset].get(channel)
        if found is not None:
            return found
        self.introduce(asset, [channel], units={channel: unit})
        return self._stream_index[asset][channel]

    def introduce(
        self, asset: int, channels: Collection[str], *, units: Mapping[str, str] = NO_UNITS
    ) -> None:
        """Add those of these channels that are new to the asset, with their units.

        Raises MessageError, and adds none, when a name is too long or they are too many.
        """
        known = self._stream_index[asset]
        fresh = [name for name in channels if name not in known]
        longest = max(map(len, fresh), default=0)
        if longest > LONGEST_NAME:
            detail = f"expected channel names of at most {LONGEST_NAME} characters, got {longest}"
            raise MessageError("bad_channel", detail)
        if len(known) + len(fresh) > MOST_CHANNELS:
            detail = f"expected at most {MOST_CHANNELS} channels an asset, got {fresh[0]!r} too"
            raise MessageError("too_many_channels", detail[:300])
        for name in fresh:
            self._add_stream(asset, name, units.get(name, ""))

    def asset_of_streams(self) -> NDArray[np.int32]:
        """Return [streams] the asset of each stream."""
        owner = np.zeros(self.stream_count, np.int32)
        for asset, streams in enumerate(self.streams_of):
            owner[streams] = asset
        return owner

    def streams(self, asset: int) -> dict[str, int]:
        """Return channel -> stream index of one asset; a live view, for reading only."""
        return self._stream_index[asset]

    def _add_asset(self, name: str) -> int:
        index = len(self.assets)
        self._asset_index[name] = index
        self.assets.append(name)
        self.channels.append([])
        self.units.append([])
        self.streams_of.append([])
        self._stream_index.append({})
        self.width = grown(self.width, index + 1)
        self.phase = grown(self.phase, index + 1)
        self.phase[index] = zlib.crc32(name.encode()) / 2**32
        return index

    def _add_stream(self, asset: int, channel: str, unit: str) -> None:
        index = self.stream_count
        self.stream_count += 1
        self._stream_index[asset][channel] = index
        self.channels[asset].append(channel)
        self.units[asset].append(unit)
        self.streams_of[asset].append(index)
        self.width[asset] += 1
        self.news.append((asset, channel, unit))
