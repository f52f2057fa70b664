from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.confirming import Confirmed, Confirming, Holding, Ignored, SetBack
from wire.messages import ConfirmedMessage, ConfirmRequest


def confirmed(seq: int, *, asked: int, epoch: str = "e", gateway: str = "g") -> ConfirmedMessage:
    return ConfirmedMessage(gateway=gateway, source="s", epoch=epoch, seq=seq, asked=asked)


def started(*, known: int = 0, ahead: int = 1000, holding: Holding) -> Confirming:
    """A source whose first request of the connection was answered with what lies before."""
    confirming = Confirming("s", epoch="e", known=known, ahead=ahead)
    confirming.connected()
    request = confirming.request(0.0, holding=holding)
    assert request is not None
    confirming.answer(confirmed(holding.first - 1, asked=request.last))
    return confirming


def send_all(confirming: Confirming, holding: Holding) -> list[int]:
    sent = []
    while (seq := confirming.next_to_send(holding)) is not None:
        confirming.sent(seq)
        sent.append(seq)
    return sent


def test_it_asks_first_and_sends_after_the_answer() -> None:
    confirming = Confirming("s", epoch="e", known=5)
    confirming.connected()
    holding = Holding(3, 5)
    assert confirming.next_to_send(holding) is None
    request = confirming.request(10.0, holding=holding)
    assert request == ConfirmRequest(sender="s", epoch="e", first=3, last=0)
    assert confirming.request(10.9, holding=holding) is None
    assert confirming.request(11.0, holding=holding) == request
    assert confirming.answer(confirmed(3, asked=0)) == Confirmed(3, "g")
    assert send_all(confirming, Holding(4, 5)) == [4, 5]


def test_each_connection_begins_with_a_request() -> None:
    holding = Holding(1, 3)
    confirming = started(holding=holding)
    assert send_all(confirming, holding) == [1, 2, 3]
    confirming.connected()
    assert confirming.next_to_send(holding) is None
    assert confirming.request(0.1, holding=holding) is not None
    confirming.answer(confirmed(1, asked=0))
    assert send_all(confirming, Holding(2, 3)) == [2, 3]


def test_nothing_is_asked_when_all_is_confirmed() -> None:
    confirming = started(holding=Holding(1, 0))
    assert confirming.request(5.0, holding=Holding(1, 0)) is None
    send_all(confirming, Holding(1, 2))
    request = confirming.request(6.0, holding=Holding(1, 2))
    assert request is not None
    assert request.last == 2
    assert confirming.answer(confirmed(2, asked=2)) == Confirmed(2, "g")
    assert confirming.request(7.0, holding=Holding(3, 2)) is None


def test_when_hurried_it_asks_as_soon_as_there_is_news() -> None:
    holding = Holding(1, 2)
    confirming = started(holding=holding)
    send_all(confirming, holding)
    assert confirming.request(0.1, holding=holding) is None
    assert confirming.request(0.1, holding=holding, hurried=True) is not None
    assert confirming.request(0.2, holding=holding, hurried=True) is None


def test_what_was_lost_is_sent_again_once() -> None:
    holding = Holding(1, 9)
    confirming = started(holding=holding)
    send_all(confirming, holding)
    for now_s in (1.0, 2.0, 3.0):
        assert confirming.request(now_s, holding=holding) is not None
    assert confirming.answer(confirmed(4, asked=9)) == Confirmed(4, "g")
    assert send_all(confirming, Holding(5, 9)) == [5, 6, 7, 8, 9]
    for _ in (2.0, 3.0):
        confirming.answer(confirmed(4, asked=9))
        assert send_all(confirming, Holding(5, 9)) == []
    confirming.request(4.0, holding=Holding(5, 9))
    confirming.answer(confirmed(6, asked=9))
    assert send_all(confirming, Holding(7, 9)) == [7, 8, 9]


def test_it_sends_only_so_far_ahead() -> None:
    holding = Holding(1, 100)
    confirming = started(holding=holding, ahead=10)
    assert send_all(confirming, holding) == list(range(1, 11))
    request = confirming.request(0.1, holding=holding)
    assert request is not None
    confirming.answer(confirmed(6, asked=request.last))
    assert send_all(confirming, Holding(7, 100)) == list(range(7, 17))


def test_what_the_disk_gave_up_is_told_before_more_is_sent() -> None:
    confirming = started(holding=Holding(1, 5))
    send_all(confirming, Holding(1, 5))
    holding = Holding(9, 12)
    assert confirming.next_to_send(holding) is None
    request = confirming.request(0.1, holding=holding)
    assert request is not None
    assert (request.first, request.last) == (9, 5)
    assert confirming.request(0.2, holding=holding) is None
    assert confirming.answer(confirmed(8, asked=5)) == Confirmed(8, "g")
    assert send_all(confirming, holding) == [9, 10, 11, 12]


def test_all_given_up_is_told_too() -> None:
    confirming = started(holding=Holding(1, 5))
    request = confirming.request(2.0, holding=Holding(6, 5))
    assert request is not None
    assert request.first == 6


def test_an_answer_above_what_was_sent_means_a_disk_that_was_set_back() -> None:
    confirming = Confirming("s", epoch="e", known=7)
    confirming.connected()
    confirming.request(0.0, holding=Holding(5, 9))
    assert confirming.answer(confirmed(8, asked=0)) == SetBack(7, "g")
    assert confirming.next_to_send(Holding(5, 9)) is None


def test_other_epochs_sources_and_gateways_are_ignored() -> None:
    confirming = started(holding=Holding(1, 5))
    assert confirming.answer(confirmed(5, asked=0, epoch="x")) == Ignored()
    other = ConfirmedMessage(gateway="g", source="t", epoch="e", seq=5, asked=0)
    assert confirming.answer(other) == Ignored()
    assert confirming.answer(confirmed(5, asked=0, gateway="h")) == Ignored("h")
    assert send_all(confirming, Holding(1, 5)) == [1, 2, 3, 4, 5]


@dataclass
class World:
    """A sensor with its disk, a link that loses, repeats and reorders, and a gateway."""

    last: int = 0
    first: int = 1
    stored: int = 0
    received: list[int] = field(default_factory=list)
    up: deque[int | ConfirmRequest] = field(default_factory=deque)
    down: deque[ConfirmedMessage] = field(default_factory=deque)
    now_s: float = 0.0
    gaps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A process starts; what it knew is gone, the link's messages may still come."""
        self.confirming = Confirming("s", epoch="e", known=self.last, ahead=4)
        self.connect()

    def connect(self) -> None:
        self.confirming.connected()

    def produce(self) -> None:
        self.last += 1

    def give_up(self) -> None:
        """The disk is full: the oldest row goes."""
        if self.first <= self.last:
            self.first += 1

    def step(self, *, hurried: bool = False) -> None:
        self.now_s += 0.3
        holding = Holding(self.first, self.last)
        for _ in range(2):
            seq = self.confirming.next_to_send(holding)
            if seq is not None:
                assert self.first <= seq <= self.last
                self.up.append(seq)
                self.confirming.sent(seq)
        request = self.confirming.request(self.now_s, holding=holding, hurried=hurried)
        if request is not None:
            self.up.append(request)

    def gateway_takes(self) -> None:
        if not self.up:
            return
        message = self.up.popleft()
        if isinstance(message, int):
            if message == self.stored + 1:
                self.received.append(message)
                self.stored = message
            return
        self.gaps.extend(range(self.stored + 1, message.first))
        self.stored = max(self.stored, message.first - 1)
        self.down.append(confirmed(self.stored, asked=message.last))

    def sensor_hears(self) -> None:
        if self.down:
            answer = self.confirming.answer(self.down.popleft())
            assert isinstance(answer, Confirmed)
            self.first = max(self.first, answer.seq + 1)

    def cut(self) -> None:
        """The connection breaks, and what was on its way is gone."""
        self.up.clear()
        self.down.clear()
        self.connect()

    def drain(self) -> None:
        """Work without any disturbance for as long as it may take."""
        for _ in range(40 + 3 * self.last + 2 * len(self.down)):
            self.step(hurried=True)
            while self.up:
                self.gateway_takes()
            while self.down:
                self.sensor_hears()


WORK = ["produce", "step", "gateway_takes", "sensor_hears"]
TROUBLE = ["start", "connect", "cut", "give_up"]
DISTURBANCES = [
    f"{what} {where}" for what in ("lose", "repeat", "swap") for where in ("up", "down")
]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(WORK * 4 + TROUBLE + DISTURBANCES), st.integers(0, 5)), max_size=150
)


def disturb(queue: deque[object], *, what: str, place: int) -> None:
    if not queue:
        return
    place %= len(queue)
    if what == "lose":
        del queue[place]
    elif what == "repeat":
        queue.append(queue[place])
    else:
        queue[0], queue[place] = queue[place], queue[0]


@given(actions=ACTIONS)
@settings(max_examples=400, deadline=None)
def test_the_gateway_gets_every_number_once_in_order_or_hears_of_its_loss(
    actions: list[tuple[str, int]],
) -> None:
    world = World()
    for action, place in actions:
        what, _, where = action.partition(" ")
        if where:
            disturb(getattr(world, where), what=what, place=place)
        elif what == "step":
            world.step(hurried=place == 0)
        else:
            getattr(world, what)()
    world.drain()
    assert world.first == world.last + 1
    assert sorted(world.received + world.gaps) == list(range(1, world.last + 1))
    assert world.received == sorted(world.received)
    assert not world.gaps or ("give_up" in {action for action, _ in actions})
