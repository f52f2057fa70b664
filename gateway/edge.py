"""The gateway without its network: messages in, things to publish out. No asyncio, no clock."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from gateway.config import Config
from gateway.decode.decoder import Decoder, Message
from gateway.errors import ModelFailedError
from gateway.ledger import Ledger
from gateway.models.shelf import Shelf
from gateway.outbox import Entry
from gateway.pipeline import Effects, Pipeline, PipelineSettings
from gateway.score.scorer import Scorer
from gateway.summary.excerpts import ExcerptPlan
from wire.blocks import ExcerptBlock, SummaryBlock, encode_excerpt, encode_summaries
from wire.codec import encode_json
from wire.messages import ModelStatus

__all__ = ["Edge", "settings_of"]

Block = TypeVar("Block", SummaryBlock, ExcerptBlock)


def settings_of(config: Config) -> PipelineSettings:
    """Pipeline settings of a configuration."""
    return PipelineSettings(
        period_s=config.summaries.period_s,
        least_rows=config.summaries.least_rows,
        most_rows=config.summaries.most_rows,
        excerpts=ExcerptPlan(
            config.excerpts.history_rows,
            config.excerpts.sample_every,
            config.excerpts.sample_rows,
            config.excerpts.assets_at_once,
        ),
    )


class Edge:
    """One gateway's whole state; `epoch` and a counter identify the blocks it sends."""

    def __init__(self, config: Config, shelf: Shelf, *, epoch: str) -> None:
        self.topics = config.topics
        self.gateway = config.gateway.id
        self.epoch = epoch
        self.seq = 0
        self.shelf = shelf
        self.ledger = Ledger()
        self.pipeline = Pipeline(self.gateway, shelf.bundled, settings_of(config))
        control = (f"{self.topics.root}/models/", f"{self.topics.root}/gw/")
        self.decoder = Decoder(
            config.sources, self.pipeline.directory, self.ledger, control=control
        )
        self.failed: list[ModelFailedError] = []
        """Models that went out of service, for the shell to tell."""
        self.scored: Counter[str] = Counter()
        """Readings scored, by model digest."""
        self.install()

    def take(self, messages: Iterable[Message], *, arrival_ms: float) -> list[Entry]:
        """Decode and process messages in order; return what they make us publish."""
        batch = self.decoder.decode(messages, arrival_ms=arrival_ms)
        return self._entries(self.pipeline.step(batch)) if batch.asset.size else []

    def tick(self) -> list[Entry]:
        """Let finished summaries go up."""
        return self._entries(self.pipeline.tick())

    def flush(self) -> Iterator[list[Entry]]:
        """Let open summaries go up too, a few at a time: there may be very many."""
        more = True
        while more:
            effects = Effects()
            more = self.pipeline.flush_some(effects)
            yield self._entries(effects)

    def install(self) -> None:
        """Put what is on the shelf into service, between two batches."""
        self.pipeline.install(self.shelf.line_up())

    def model_status(self) -> tuple[ModelStatus, ...]:
        """The models that serve, in slot order."""
        fleet = self.pipeline.fleet
        slots = fleet.asset_slot[: self.pipeline.directory.asset_count]
        assets = np.bincount(slots, minlength=len(fleet.scorers))
        return tuple(
            self._status_of(scorer, int(count))
            for scorer, count in zip(fleet.scorers, assets, strict=True)
        )

    def _status_of(self, scorer: Scorer, assets: int) -> ModelStatus:
        return ModelStatus(
            id=scorer.card.id,
            version=scorer.card.version,
            sha256=scorer.file.sha256,
            role="bundled" if scorer is self.shelf.bundled else "champion",
            assets=assets,
            scored=self.scored[scorer.file.sha256],
        )

    def _entries(self, effects: Effects) -> list[Entry]:
        self._count(effects)
        for error in effects.failed:
            self.shelf.withdraw(error)
            self.failed.append(error)
        topics, gateway = self.topics, self.gateway
        entries = [
            Entry("alerts", topics.gateway(gateway, "alerts", event.subject), encode_json(event))
            for event in effects.alerts
        ]
        entries += [
            Entry(
                "state",
                topics.gateway(gateway, "state", state.asset),
                encode_json(state),
                retain=True,
            )
            for state in effects.states
        ]
        entries += self._blocks(effects)
        return entries

    def _blocks(self, effects: Effects) -> Sequence[Entry]:
        summaries = self.topics.gateway(self.gateway, "summaries")
        excerpts = self.topics.gateway(self.gateway, "excerpts")
        return [
            *(
                Entry("summaries", summaries, encode_summaries(self._named(block)))
                for block in effects.summaries
            ),
            *(
                Entry("excerpts", excerpts, encode_excerpt(self._named(block)))
                for block in effects.excerpts
            ),
        ]

    def _named(self, block: Block) -> Block:
        self.seq += 1
        return dataclasses.replace(block, epoch=self.epoch, seq=self.seq)

    def _count(self, effects: Effects) -> None:
        ledger = self.ledger
        for scored in effects.scored:
            scorers = scored.scorers
            made = np.bincount(scored.scores.model + 1, minlength=len(scorers) + 1)[1:]
            ledger.scored += int(made.sum())
            for scorer, count in zip(scorers, made.tolist(), strict=True):
                self.scored[scorer.file.sha256] += count
        ledger.missing += effects.missing
        ledger.out_of_range += effects.out_of_range
        if effects.out_of_range:
            ledger.rejected["out_of_range"] += effects.out_of_range
        ledger.backward += effects.backward
        for remark in effects.remarks:
            ledger.note(remark.where, remark.reason, remark.detail)
