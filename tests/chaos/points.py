"""The steps between which a process may die: a name, whose it is, and where it is found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["POINTS", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A function or method of the product, or the SQL statements that match a pattern."""

    program: str
    path: str = ""
    statement: str = ""
    result: str = ""
    """Only calls count whose result, written as text, matches this pattern."""
    often: bool = True
    """Whether a running program gets there again and again."""


POINTS = {
    "gateway-acknowledge": Step("gateway", "wire.mqtt.Session.acknowledge"),
    "gateway-publish": Step("gateway", "wire.mqtt.Session.publish"),
    "gateway-take": Step("gateway", "gateway.edge.Edge.take"),
    "gateway-commit": Step("gateway", "gateway.durable.database.Database.commit"),
    "gateway-checkpoint": Step(
        "gateway", "gateway.durable.database.Database._insert_snapshot", often=False
    ),
    "gateway-sql-begin": Step("gateway", statement="BEGIN"),
    "gateway-sql-insert": Step("gateway", statement="INSERT|REPLACE"),
    "gateway-sql-delete": Step("gateway", statement="DELETE"),
    "gateway-sql-commit": Step("gateway", statement="COMMIT"),
    "cloud-acknowledge": Step("cloud", "wire.mqtt.Session.acknowledge"),
    "cloud-publish": Step("cloud", "wire.mqtt.Session.publish"),
    "cloud-write": Step("cloud", "cloud.store.Store.write"),
    "cloud-blocks": Step("cloud", "cloud.store.Store.write", result="summaries|excerpts"),
    "cloud-sql-insert": Step("cloud", statement="INSERT"),
    "cloud-sql-commit": Step("cloud", statement="COMMIT"),
    "producer-append": Step("producer", "sensors.kept.KeptReadings.append"),
    "producer-confirm": Step("producer", "sensors.kept.KeptReadings.confirm"),
    "producer-sql-commit": Step("producer", statement="COMMIT"),
}
