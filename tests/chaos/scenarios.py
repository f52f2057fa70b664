"""Directed scenarios: each kills between the two steps at which a certain kind of bug shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tests.chaos.ear import Ear, listening
from tests.chaos.plants import DEADLY
from tests.chaos.stage import Plan, Stage

__all__ = ["SCENARIOS", "Scenario", "Tampering"]

Tampering: TypeAlias = Mapping[str, tuple[str, ...]]
"""Program -> options of `tests.chaos.child` for each of its runs."""
DEATH_S = 20.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and how much is produced meanwhile."""

    plan: Plan
    run: Callable[[Stage, Tampering], None]


def broker_forgets(stage: Stage, tampering: Tampering) -> None:
    """The broker acknowledges what the gateway sends up, dies, and knows nothing of it."""
    stage.start_broker()
    with listening(stage.port) as ear:
        _start_cloud(stage, ear, tampering)
        stage.cloud.kill()
        stage.gateway.start(tampering=tampering.get("gateway", ()))
        stage.producer.start(tampering=tampering.get("producer", ()))
        stage.until(lambda: not stage.producer.is_running, "the producer was not confirmed")
        ear.until("alerts", count=4)
    stage.broker.kill()
    stage.start_broker()
    stage.cloud.start(tampering=tampering.get("cloud", ()))


def site_broker_forgets(stage: Stage, tampering: Tampering) -> None:
    """The broker acknowledges what the sensors send while the gateway is away, and dies."""
    _start(stage, tampering)
    with listening(stage.port) as ear:
        ear.until("confirmed")
        stage.gateway.kill()
        ear.forget()
        ear.until("readings", count=20)
    stage.broker.kill()
    stage.start_broker()
    stage.gateway.start(tampering=tampering.get("gateway", ()))


def gateway_dies_before_commit(stage: Stage, tampering: Tampering) -> None:
    """A device's messages are in the gateway's memory and nowhere on its disk."""
    _crash(stage, tampering, "gateway", "gateway-readings:before:4")


def gateway_dies_after_commit(stage: Stage, tampering: Tampering) -> None:
    """Everything is on the gateway's disk and nobody was told."""
    _crash(stage, tampering, "gateway", "gateway-effects:after:2")


def gateway_dies_while_it_confirms(stage: Stage, tampering: Tampering) -> None:
    """What sources ask about is on no disk yet, and the broker forgets that it has it."""
    _await_crash(stage, tampering, "gateway", "gateway-commit:before:50")
    stage.broker.kill()
    stage.start_broker()
    stage.gateway.start(tampering=tampering.get("gateway", ()))


def gateway_dies_at_a_checkpoint(stage: Stage, tampering: Tampering) -> None:
    """A checkpoint is on its way to the disk."""
    options = ("--plant", "frequent checkpoints", *tampering.get("gateway", ()))
    _crash(stage, {**tampering, "gateway": options}, "gateway", "gateway-checkpoint:before:6")


def cloud_dies_before_commit(stage: Stage, tampering: Tampering) -> None:
    """Messages are in the cloud's memory and nowhere on its disk."""
    _crash(stage, tampering, "cloud", "cloud-sql-commit:before:14")


def cloud_dies_after_commit(stage: Stage, tampering: Tampering) -> None:
    """Everything is on the cloud's disk and nobody was told."""
    _crash(stage, tampering, "cloud", "cloud-blocks:after:2")


def gateway_is_away(stage: Stage, tampering: Tampering) -> None:
    """A device publishes while the gateway is down; the broker keeps its session."""
    _start(stage, tampering)
    with listening(stage.port) as ear:
        ear.until("readings", count=20)
        stage.gateway.kill()
        ear.until("readings", count=120)
    stage.gateway.start(tampering=tampering.get("gateway", ()))


def gateway_is_restarted(stage: Stage, tampering: Tampering) -> None:
    """The gateway leaves in order, everything is stored, and it comes back."""
    _start(stage, tampering)
    stage.until(lambda: stage.stored() > 0, "nothing was ever stored")
    stage.gateway.stop()
    stage.gateway.start(tampering=tampering.get("gateway", ()))


def device_hurries(stage: Stage, tampering: Tampering) -> None:
    """A device sends as fast as it can; nothing goes wrong."""
    _start(stage, tampering)


def _crash(stage: Stage, tampering: Tampering, victim: str, crash: str) -> None:
    """Start everything, let the victim die there, and start it again."""
    _await_crash(stage, tampering, victim, crash)
    stage.programs[victim].start(tampering=tampering.get(victim, ()))


def _await_crash(stage: Stage, tampering: Tampering, victim: str, crash: str) -> None:
    program = stage.programs[victim]
    options = tampering.get(victim, ())
    if DEADLY.isdisjoint(options):
        options = (*options, "--crash", crash)
    _start(stage, {**tampering, victim: options})
    stage.until(lambda: not program.is_running, f"{crash} was never reached", timeout_s=DEATH_S)
    program.kill()


def _start(stage: Stage, tampering: Tampering) -> None:
    """Start everything, the producer when the gateway has said that it is there."""
    stage.start_broker()
    with listening(stage.port) as ear:
        _start_cloud(stage, ear, tampering)
        stage.gateway.start(tampering=tampering.get("gateway", ()))
        ear.until("status", lambda said: said["presence"] == "online")
    stage.producer.start(tampering=tampering.get("producer", ()))


def _start_cloud(stage: Stage, ear: Ear, tampering: Tampering) -> None:
    """Start the cloud and wait until it has subscribed: then it publishes its list of models."""
    stage.cloud.start(tampering=tampering.get("cloud", ()))
    ear.until("meta/targets")


KEPT = Plan(sources=2, channels=3, rows=300)
STEADY = Plan(sources=2, channels=3, rows=400, rate=400.0)
LONGER = Plan(sources=2, channels=3, rows=800, rate=400.0)
FOREIGN = Plan(sources=2, channels=3, rows=300, rate=400.0, is_foreign=True)
HURRIED = Plan(sources=2, channels=3, rows=300, is_foreign=True)

SCENARIOS = {
    "broker forgets": Scenario(KEPT, broker_forgets),
    "site broker forgets": Scenario(STEADY, site_broker_forgets),
    "gateway dies before commit": Scenario(FOREIGN, gateway_dies_before_commit),
    "gateway dies after commit": Scenario(FOREIGN, gateway_dies_after_commit),
    "cloud dies before commit": Scenario(LONGER, cloud_dies_before_commit),
    "cloud dies after commit": Scenario(STEADY, cloud_dies_after_commit),
    "gateway is away": Scenario(FOREIGN, gateway_is_away),
    "gateway is restarted": Scenario(LONGER, gateway_is_restarted),
    "gateway dies while it confirms": Scenario(LONGER, gateway_dies_while_it_confirms),
    "gateway dies at a checkpoint": Scenario(STEADY, gateway_dies_at_a_checkpoint),
    "a device hurries": Scenario(HURRIED, device_hurries),
}
