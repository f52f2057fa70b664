"""Collects model files from retained topics: manifest first, then chunks, then the digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from gateway.errors import ModelRefusedError
from wire.messages import CHUNK_BYTES, ModelManifest, ModelTarget

__all__ = ["Transfer"]


@dataclass(slots=True)
class _Partial:
    target: ModelTarget
    chunks: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Transfer:
    """Which files are on their way. Nothing here trusts a length or a digest before checking."""

    newest: dict[str, int] = field(default_factory=dict)
    """Version in service or refused, by model name."""
    manifest_version: int = -1
    partial: dict[str, _Partial] = field(default_factory=dict)
    """Digest -> what has come so far."""

    def announce(self, manifest: ModelManifest) -> list[ModelTarget]:
        """Take in a manifest; return the targets to fetch now. An older manifest is ignored."""
        if manifest.version < self.manifest_version:
            return []
        self.manifest_version = manifest.version
        wanted = [
            target
            for target in manifest.targets
            if target.version > self.newest.get(target.id, -1) and target.sha256 not in self.partial
        ]
        named = {target.sha256 for target in manifest.targets}
        self.partial = {sha: part for sha, part in self.partial.items() if sha in named}
        for target in wanted:
            self.partial[target.sha256] = _Partial(target)
        return wanted

    def receive(self, sha256: str, chunk: int, payload: bytes) -> tuple[ModelTarget, bytes] | None:
        """Take in a chunk; return target and file when it was the last one.

        Raises ModelRefusedError when the parts do not make the announced file.
        """
        part = self.partial.get(sha256)
        if part is None or not payload:
            return None
        name = f"{part.target.id} {part.target.version}"
        if chunk >= part.target.chunks or len(payload) > CHUNK_BYTES:
            self.finish(part.target)
            detail = f"expected chunks 0..{part.target.chunks - 1} of at most {CHUNK_BYTES} bytes"
            raise ModelRefusedError(name, "chunk", f"{detail}, got {chunk} of {len(payload)}")
        part.chunks[chunk] = payload
        if len(part.chunks) < part.target.chunks:
            return None
        self.finish(part.target)
        data = b"".join(part.chunks[index] for index in range(part.target.chunks))
        _verify(part.target, data, name)
        return part.target, data

    def finish(self, target: ModelTarget) -> None:
        """Forget a transfer, and never fetch this version again."""
        self.partial.pop(target.sha256, None)
        self.newest[target.id] = max(target.version, self.newest.get(target.id, -1))


def _verify(target: ModelTarget, data: bytes, name: str) -> None:
    if len(data) != target.size_bytes:
        detail = f"expected {target.size_bytes} bytes, got {len(data)}"
        raise ModelRefusedError(name, "size", detail)
    digest = hashlib.sha256(data).hexdigest()
    if digest != target.sha256:
        detail = f"expected SHA-256 {target.sha256}, got {digest}"
        raise ModelRefusedError(name, "hash", detail)
