"""The gateway without its network: messages in, things to publish out. No asyncio, no clock."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from gateway.config import Config
from gateway.decode.decoder import Decoder, Message
from gateway.decode.deliveries import Deliveries, Delivery
from gateway.decode.sources import Lost
from gateway.durable.edgestate import (
    EdgeState,
    JournalDraft,
    advance_marks,
    mark_state,
    missed,
)
from gateway.durable.events import Event, Flush, Reserve, Taken, Tick
from gateway.durable.gaps import Gap, gap_of_source
from gateway.durable.journal import JournalRow, MarkState, joined, unpack_events
from gateway.durable.relabel import relabel
from gateway.durable.snapshot import pipeline_state, restore_pipeline
from gateway.errors import ModelFailedError, StorageError
from gateway.ledger import Ledger
from gateway.models.shelf import Shelf
from gateway.outbox import LANE_OF, LANES, Entry, LaneName
from gateway.pipeline import Effects, Pipeline, PipelineSettings
from gateway.score.scorer import Scorer
from gateway.summary.excerpts import ExcerptPlan
from wire.blocks import ExcerptBlock, SummaryBlock, encode_excerpt, encode_summaries
from wire.codec import encode_json
from wire.messages import AlertEvent, ConfirmedMessage, ConfirmRequest, ModelStatus

__all__ = ["Edge", "lane_epoch", "settings_of"]

REPLAY_FRAMES = 4096
"""Frames that are run again at a time: a batch costs about the same whatever its size."""


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


def lane_epoch(epoch: str, lane: LaneName) -> str:
    """Epoch of the numbers of one lane."""
    return f"{epoch}-{lane}"


class Edge:
    """One gateway's whole state; (epoch, seq) of a lane identify what it sends for keeps."""

    def __init__(self, config: Config, shelf: Shelf, *, epoch: str) -> None:
        self.topics = config.topics
        self.gateway = config.gateway.id
        self.epoch = epoch
        self.lanes: dict[LaneName, int] = dict.fromkeys(LANES, 0)
        """Newest sequence number of each lane."""
        self.shelf = shelf
        self.ledger = Ledger()
        self.pipeline = Pipeline(self.gateway, shelf.bundled, settings_of(config))
        root = self.topics.root
        control = (f"{root}/models/", f"{root}/gw/", f"{root}/confirm/")
        self.decoder = Decoder(
            config.sources, self.pipeline.directory, self.ledger, control=control
        )
        self.deliveries = Deliveries()
        self._anonymous = any(rule.format != "vedette" for rule in config.sources)
        self.events: list[Event] = []
        """What moved the pipeline since it was last collected for the journal."""
        self.states: dict[str, Entry] = {}
        """Newest retained state of every asset that ever had an alert, by topic."""
        self.failed: list[ModelFailedError] = []
        """Models that went out of service, for the shell to tell."""
        self.scored: Counter[str] = Counter()
        """Readings scored, by model digest."""
        self.is_faithful = True
        """Whether a replay gives what the first run gave: the same models serve as then."""
        self.snapshot_due = False
        """Whether the next commit must hold a snapshot: other models serve since the last."""
        self._assets_told = 0
        for scorer in (shelf.bundled, *shelf.line_up()):
            scorer.forget()
        self.install()

    def take_delivered(self, messages: Iterable[Delivery], *, arrival_ms: float) -> list[Entry]:
        """Take messages of the site's broker, which may repeat what it was not told we have."""
        fresh = self.deliveries.sift(messages) if self._anonymous else messages
        return self.take(fresh, arrival_ms=arrival_ms)

    def take(self, messages: Iterable[Message], *, arrival_ms: float) -> list[Entry]:
        """Decode and process messages in order; return what they make us publish."""
        batch = self.decoder.decode(messages, arrival_ms=arrival_ms)
        if not batch.asset.size:
            return []
        self.events.append(Taken(batch))
        return self._entries(self.pipeline.step(batch))

    def tick(self) -> list[Entry]:
        """Let finished summaries go up."""
        if not self.pipeline.block.count:
            return []
        self.events.append(Tick())
        return self._entries(self.pipeline.tick())

    def flush(self) -> Iterator[list[Entry]]:
        """Let open summaries go up too, a few at a time: there may be very many."""
        more = True
        while more:
            effects = Effects()
            self.events.append(Flush())
            more = self.pipeline.flush_some(effects)
            yield self._entries(effects)

    def confirm(self, request: ConfirmRequest) -> tuple[Entry, list[Entry]]:
        """Answer a source, to be told after the commit; report what it has lost."""
        asset = self.pipeline.directory.asset(request.sender)
        seq, lost = self.decoder.sources.confirm(
            asset, request.epoch, first=request.first, name=request.sender
        )
        answer = ConfirmedMessage(
            gateway=self.gateway,
            source=request.sender,
            epoch=request.epoch,
            seq=seq,
            asked=request.last,
        )
        topic = self.topics.gateway(self.gateway, "confirmed", request.sender)
        gaps = [] if lost is None else [self.report_gap(gap_of_source(lost))]
        return Entry("confirmed", topic, encode_json(answer)), gaps

    def adopt(self, settings: PipelineSettings) -> list[Entry]:
        """Go on by these settings after a restart; open summaries go up where they change."""
        entries: list[Entry] = []
        if settings != self.pipeline.settings:
            entries = [entry for some in self.flush() for entry in some]
            self.pipeline.put_in_force(settings)
            self.snapshot_due = True
        return entries

    def report_gap(self, gap: Gap) -> Entry:
        """Number a gap record; it is committed with what caused it."""
        self.events.append(Reserve(1))
        epoch, seq = self._number("urgent")
        self.ledger.lost[gap.reason] += gap.last - gap.first + 1
        self.ledger.dropped += gap.total
        message = gap.message(self.gateway, epoch=epoch, seq=seq)
        topic = self.topics.gateway(self.gateway, "gaps")
        return Entry("gaps", topic, encode_json(message), epoch=epoch, seq=seq)

    def rename(self, entry: Entry) -> Entry:
        """Give an entry of a former epoch the next number of its lane."""
        lane = LANE_OF[entry.kind]
        if lane == "urgent":
            self.events.append(Reserve(1))
        epoch, seq = self._number(lane)
        return relabel(entry, epoch=epoch, seq=seq)

    def collect(self, *, time_ms: int) -> JournalDraft:
        """Return what happened since the last call, for the journal."""
        directory, sources = self.pipeline.directory, self.decoder.sources
        events, self.events = self.events, []
        streams, directory.news = directory.news, []
        at = (self._assets_told, directory.stream_count - len(streams))
        assets = tuple(directory.assets[self._assets_told :])
        self._assets_told = directory.asset_count
        return JournalDraft(
            at=at,
            assets=assets,
            streams=tuple(streams),
            events=events,
            marks=tuple(mark_state(asset, sources.marks[asset]) for asset in sources.take_moved()),
            packets=self.deliveries.take_news(),
            counters=self.ledger.counters(),
            lanes={str(lane): seq for lane, seq in self.lanes.items()},
            scored=dict(self.scored),
            time_ms=time_ms,
        )

    def state(self) -> EdgeState:
        """Copy the whole state, between two steps, for a snapshot."""
        self.snapshot_due = False
        return EdgeState(
            pipeline=pipeline_state(self.pipeline),
            models=tuple(scorer.file.sha256 for scorer in self.pipeline.fleet.scorers),
            marks=tuple(
                mark_state(asset, mark) for asset, mark in self.decoder.sources.marks.items()
            ),
            packets=tuple(self.deliveries.known.items()),
            counters=self.ledger.counters(),
            lanes={str(lane): seq for lane, seq in self.lanes.items()},
            scored=dict(self.scored),
            states=tuple((entry.topic, entry.payload) for entry in self.states.values()),
        )

    def restore(self, state: EdgeState) -> None:
        """Bring a new edge into a state; raise StorageError when it does not fit."""
        line_up = self.shelf.line_up()
        restore_pipeline(self.pipeline, state.pipeline, line_up)
        self.is_faithful = state.models == tuple(scorer.file.sha256 for scorer in line_up)
        self.snapshot_due = not self.is_faithful
        self._assets_told = self.pipeline.directory.asset_count
        self.pipeline.directory.news.clear()
        self.states = {
            topic: Entry("state", topic, payload, retain=True) for topic, payload in state.states
        }
        self._restore_marks(state.marks)
        for packet in state.packets:
            self.deliveries.remember(*packet)
        self._restore_counters(state)

    def replay(self, rows: Iterable[JournalRow]) -> list[Entry]:
        """Run rows of the journal again; return what they made us publish, numbered as before.

        Raises StorageError for a row that cannot be run; those before it have taken effect.
        """
        entries: list[Entry] = []
        last: list[JournalRow] = []
        try:
            for event in joined(self._events_of(rows, last), most=REPLAY_FRAMES):
                entries += self._replay_event(event)
        finally:
            if last:
                self._restore_counters(last[-1])
        return entries

    def bridge(self, rows: Iterable[JournalRow]) -> list[Lost]:
        """Return the readings that fell into a hole of the journal before `rows`, as far as known.

        The first number of each source behind the hole tells. Raises StorageError when names were
        lost with it: then nothing behind it can be run.
        """
        directory = self.pipeline.directory
        names, asset_of = list(directory.assets), directory.asset_of_streams()
        lost: dict[str, list[Lost]] = {}
        for at, row in enumerate(rows):
            if not at:
                self._expect_names(row)
            names += row.assets
            asset_of = np.append(asset_of, [asset for asset, *_ in row.streams]).astype(np.int32)
            for event in unpack_events(row.events, asset_of):
                if isinstance(event, Taken):
                    found = missed(self.decoder.sources, event.batch, names)
                    for name, gaps in found.items():
                        lost.setdefault(name, gaps)
        return [gap for gaps in lost.values() for gap in gaps]

    def install(self) -> None:
        """Put what is on the shelf into service, between two batches."""
        self.pipeline.install(self.shelf.line_up())
        self.snapshot_due = True

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

    def _events_of(self, rows: Iterable[JournalRow], last: list[JournalRow]) -> Iterator[Event]:
        directory = self.pipeline.directory
        asset_of = directory.asset_of_streams()
        for row in rows:
            self._expect_names(row)
            for name in row.assets:
                directory.asset(name)
            for asset, channel, unit in row.streams:
                directory.stream(asset, channel, unit=unit)
            if row.streams:
                asset_of = directory.asset_of_streams()
            for event in unpack_events(row.events, asset_of):
                if isinstance(event, Taken):
                    advance_marks(self.decoder.sources, event.batch)
                yield event
            self._restore_marks(row.marks)
            for packet in row.packets:
                self.deliveries.remember(*packet)
            self._assets_told = directory.asset_count
            directory.news.clear()
            last[:] = [row]

    def _expect_names(self, row: JournalRow) -> None:
        known = (self.pipeline.directory.asset_count, self.pipeline.directory.stream_count)
        if known != row.at:
            raise StorageError(f"expected a row behind {known} assets and streams, got {row.at}")

    def _replay_event(self, event: Event) -> list[Entry]:
        effects = Effects()
        match event:
            case Taken(batch):
                effects = self.pipeline.step(batch)
            case Tick():
                effects = self.pipeline.tick()
            case Flush():
                self.pipeline.flush_some(effects)
            case Reserve(count):
                self.lanes["urgent"] += count
        return self._entries(effects)

    def _restore_marks(self, marks: Iterable[MarkState]) -> None:
        for mark in marks:
            self.decoder.sources.put(mark.asset, mark.epoch, mark.seq, mark.older)

    def _restore_counters(self, stored: EdgeState | JournalRow) -> None:
        self.ledger.restore(stored.counters)
        self.scored = Counter(stored.scored)
        for lane in LANES:
            self.lanes[lane] = stored.lanes.get(lane, 0)

    def _entries(self, effects: Effects) -> list[Entry]:
        self._count(effects)
        for error in effects.failed:
            self.shelf.withdraw(error)
            self.failed.append(error)
            self.snapshot_due = True
        entries = [self._alert(event) for event in effects.alerts]
        for state in effects.states:
            topic = self.topics.gateway(self.gateway, "state", state.asset)
            entry = Entry("state", topic, encode_json(state), retain=True)
            self.states[topic] = entry
            entries.append(entry)
        entries += [self._summaries(block) for block in effects.summaries]
        entries += [self._excerpt(block) for block in effects.excerpts]
        return entries

    def _alert(self, event: AlertEvent) -> Entry:
        epoch, seq = self._number("urgent")
        numbered = msgspec.structs.replace(event, epoch=epoch, seq=seq)
        topic = self.topics.gateway(self.gateway, "alerts", event.subject)
        return Entry("alerts", topic, encode_json(numbered), epoch=epoch, seq=seq)

    def _summaries(self, block: SummaryBlock) -> Entry:
        epoch, seq = self._number("bulk")
        readings = int(block.rows.count.sum())
        self.ledger.summarised += readings
        topic = self.topics.gateway(self.gateway, "summaries")
        payload = encode_summaries(dataclasses.replace(block, epoch=epoch, seq=seq))
        return Entry("summaries", topic, payload, epoch=epoch, seq=seq, readings=readings)

    def _excerpt(self, block: ExcerptBlock) -> Entry:
        epoch, seq = self._number("bulk")
        topic = self.topics.gateway(self.gateway, "excerpts")
        payload = encode_excerpt(dataclasses.replace(block, epoch=epoch, seq=seq))
        return Entry("excerpts", topic, payload, epoch=epoch, seq=seq)

    def _number(self, lane: LaneName) -> tuple[str, int]:
        self.lanes[lane] += 1
        return lane_epoch(self.epoch, lane), self.lanes[lane]

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
