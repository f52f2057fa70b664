"""The model registry: files by digest, versions by name, one champion a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, select, update

from cloud.database import upsert, writing
from cloud.errors import RegistryError
from cloud.tables import blobs, champions, manifest, models
from wire.contract import ModelFile, read_model
from wire.errors import ContractError
from wire.topics import MANIFEST_ROLE

__all__ = ["Registered", "Registry"]


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a model; `rows` (count) is what was at hand when it was trained."""

    model: str
    version: int
    sha256: str
    size_bytes: int
    assets: int
    rows: int
    created_us: int
    champion: bool


class Registry:
    """The database's model tables. Its methods block: call them from one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def register(self, model: ModelFile, *, rows: int, created_us: int) -> None:
        """Keep a file; again the same is no change.

        Raises RegistryError when the version is there with other bytes.
        """
        card = model.card
        with writing(self._engine) as connection:
            blob = upsert(connection, blobs).values(sha256=model.sha256, data=model.data)
            connection.execute(blob.on_conflict_do_nothing())
            entry = upsert(connection, models).values(
                model=card.id,
                version=card.version,
                sha256=model.sha256,
                size_bytes=len(model.data),
                assets=len(card.assets),
                rows=rows,
                created_us=created_us,
                withdrawn=False,
            )
            connection.execute(entry.on_conflict_do_nothing())
            _check_digest(connection, model)

    def promote(self, model: str, *, version: int) -> int:
        """Make a version the champion of its name; return the new version of the manifest.

        Promoting the champion again changes nothing. Raises RegistryError for an unknown version.
        """
        with writing(self._engine) as connection:
            known = select(models.c.version).where(
                models.c.model == model, models.c.version == version
            )
            if connection.scalar(known) is None:
                raise RegistryError(
                    f"expected a registered version of {model!r}, got {version}; register it first"
                )
            current = select(champions.c.version).where(champions.c.model == model)
            if connection.scalar(current) == version:
                return _manifest_version(connection)
            statement = upsert(connection, champions).values(model=model, version=version)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[champions.c.model], set_={"version": version}
                )
            )
            return _raise_manifest_version(connection)

    def versions(self) -> list[Registered]:
        """Return every registered version, by name and version."""
        with self._engine.connect() as connection:
            found = connection.execute(_versions().order_by(models.c.model, models.c.version))
            return [_registered(row) for row in found.mappings()]

    def champions(self) -> list[Registered]:
        """Return the champions, by name."""
        return [version for version in self.versions() if version.champion]

    def next_version(self, model: str) -> int:
        """Return the version that the next training of this name gets."""
        return (
            max((entry.version for entry in self.versions() if entry.model == model), default=0) + 1
        )

    def manifest_version(self) -> int:
        """Return the version of the newest list of champions; 0 = there is none yet."""
        with self._engine.connect() as connection:
            return _manifest_version(connection)

    def load(self, sha256: str) -> ModelFile:
        """Return a kept file, checked again; raise RegistryError when it is unknown or damaged."""
        with self._engine.connect() as connection:
            data = connection.scalar(select(blobs.c.data).where(blobs.c.sha256 == sha256))
        if data is None:
            raise RegistryError(f"expected a kept file with digest {sha256!r}, got none")
        try:
            model = read_model(data)
        except ContractError as error:
            raise RegistryError(f"{sha256}: {error}; train it again") from error
        if model.sha256 != sha256:
            raise RegistryError(f"expected a file with digest {sha256}, got {model.sha256}")
        return model

    def superseded(self) -> list[Registered]:
        """Return versions below the champion whose chunks may still lie on the broker."""
        query = _versions().where(
            models.c.withdrawn.is_(False), models.c.version < champions.c.version
        )
        with self._engine.connect() as connection:
            found = [_registered(row) for row in connection.execute(query).mappings()]
        in_force = {champion.sha256 for champion in self.champions()}
        return [version for version in found if version.sha256 not in in_force]

    def mark_withdrawn(self, versions: Sequence[Registered]) -> None:
        """Note that the chunks of these versions were cleared from the broker."""
        with writing(self._engine) as connection:
            for version in versions:
                which = (models.c.model == version.model) & (models.c.version == version.version)
                connection.execute(update(models).where(which).values(withdrawn=True))


def _versions() -> Select[Any]:
    is_champion = (champions.c.model == models.c.model).label("same_name")
    joined = models.outerjoin(champions, is_champion)
    return select(
        models.c.model,
        models.c.version,
        models.c.sha256,
        models.c.size_bytes,
        models.c.assets,
        models.c.rows,
        models.c.created_us,
        champions.c.version.label("champion"),
    ).select_from(joined)


def _registered(row: RowMapping) -> Registered:
    return Registered(**{**row, "champion": row["champion"] == row["version"]})


def _check_digest(connection: Connection, model: ModelFile) -> None:
    card = model.card
    query = select(models.c.sha256).where(
        models.c.model == card.id, models.c.version == card.version
    )
    if (kept := connection.scalar(query)) != model.sha256:
        raise RegistryError(
            f"expected {card.id} version {card.version} as kept ({kept}), got {model.sha256}; "
            "give it a higher version"
        )


def _manifest_version(connection: Connection) -> int:
    return (
        connection.scalar(select(manifest.c.version).where(manifest.c.role == MANIFEST_ROLE)) or 0
    )


def _raise_manifest_version(connection: Connection) -> int:
    version = _manifest_version(connection) + 1
    statement = upsert(connection, manifest).values(role=MANIFEST_ROLE, version=version)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[manifest.c.role], set_={"version": version})
    )
    return version
