from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.credentials.presented import Presented
from mcpguard.daemon.throttle import Throttle, network_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(key: str = "bad", network: str = "192.0.2.1") -> Presented:
    return Presented(network=network, authorization=key)


def locked() -> tuple[Throttle, Clock]:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(limits.FAILURES + 1):
        assert throttle.wait(shown()) == 0
        throttle.failed(shown())
    return throttle, clock


def test_a_network_is_kept_away_after_so_many_failures_and_comes_back() -> None:
    throttle, clock = locked()
    assert throttle.wait(shown()) == limits.LOCKOUT_SECONDS
    assert throttle.wait(shown(network="192.0.2.2")) == 0
    clock.now += limits.LOCKOUT_SECONDS - 0.5
    assert throttle.wait(shown()) == 1
    clock.now += 0.5
    assert throttle.wait(shown()) == 0


def test_each_further_failure_keeps_it_away_longer_up_to_a_bound() -> None:
    throttle, clock = locked()
    waits = []
    for _ in range(8):
        clock.now += throttle.wait(shown())
        throttle.failed(shown())
        waits.append(throttle.wait(shown()))
    assert waits == [60, 120, 240, 480, 900, 900, 900, 900]


def test_failures_of_long_ago_do_not_count() -> None:
    throttle, clock = locked()
    clock.now += 2 * limits.LOCKOUT_MOST_SECONDS
    for _ in range(limits.FAILURES):
        throttle.failed(shown())
    assert throttle.wait(shown()) == 0
    throttle.failed(shown())
    assert throttle.wait(shown()) == limits.LOCKOUT_SECONDS


def test_a_credential_that_was_right_there_is_looked_at_all_the_same_until_it_is_wrong() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    throttle.proved(shown("good"))
    for _ in range(limits.FAILURES + 1):
        throttle.failed(shown())
    assert throttle.wait(shown("good")) == 0
    assert throttle.wait(shown("other")) > 0
    elsewhere = shown("good", "192.0.2.9")
    for _ in range(limits.FAILURES + 1):
        throttle.failed(shown("bad", "192.0.2.9"))
    assert throttle.wait(elsewhere) > 0  # it was right from another network
    throttle.failed(shown("good"))
    assert throttle.wait(shown("good")) > 0


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(Clock())
    for number in range(limits.NETWORKS + 10):
        throttle.failed(shown(network=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
        throttle.proved(shown(str(number)))
    assert len(throttle._networks) == limits.NETWORKS
    assert len(throttle._proven) == limits.PROVEN
    throttle.proved(shown("one more"))
    assert len(throttle._proven) == limits.PROVEN


def test_networks() -> None:
    assert network_of(shown(network="2001:db8:1:2:3::4")) == network_of(shown(network="2001:db8:1:2:ffff::1"))
    assert network_of(shown(network="2001:db8:1:3::4")) != network_of(shown(network="2001:db8:1:2::4"))
    assert network_of(shown(network="::ffff:192.0.2.1")) == "192.0.2.1"
    assert network_of(shown(network="fe80::1%eth0")) == "fe80::/64"
    assert network_of(Presented(uid=1000)) == "uid 1000"


@given(st.text(max_size=60))
def test_whatever_a_network_is_called_it_is_counted(text: str) -> None:
    assert network_of(Presented(uid=7, network=text))


def test_parts_that_flow_together_are_not_one_credential() -> None:
    throttle, _ = locked()
    throttle.proved(Presented(network="192.0.2.1", authorization="ab", certificate=b"c"))
    assert throttle.wait(Presented(network="192.0.2.1", authorization="a", certificate=b"bc")) > 0
