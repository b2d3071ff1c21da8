"""Every configuration comes back byte for byte, or is not read: with a sentence, and soon."""

import time

import pytest

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect
from mcpguard.hosts.wrapping import is_wrapped
from tests.hosts.configs import CLAUDE, every, large, truncated
from tests.hosts.steps import of, open_entries, unwrapped, words, wrapped

CONFIGS = list(every())
TRUNCATED = list(truncated())
NO_LINE = (
    "nested too deep",
    "longer than",
    "stand for too much",
    "tag does not allow",
    "Exceeds the limit",
    "half",
)


def refused(config):
    with pytest.raises(ConfigError) as raised:
        of(config.data, config.dialect, config.paths).tree()
    return raised.value


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.ident)
def test_every_byte_comes_back_or_nothing_is_read(config):
    began = time.perf_counter()
    if config.starts is None:
        error = refused(config)
        assert error.sentence().startswith("/home/u/config:")
        assert "\n" not in error.message
        assert error.line or any(words in error.message for words in NO_LINE)
        assert error.line <= config.data.count(b"\n") + 1
    else:
        file = of(config.data, config.dialect, config.paths)
        assert len(open_entries(file)) == config.starts
        new, done = wrapped(file)
        assert len(done) == config.starts
        assert sum(is_wrapped(argv) for argv in words(new).values()) == config.starts
        assert unwrapped(new, done).data == config.data
        assert words(unwrapped(new)) == words(file)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("config", TRUNCATED, ids=lambda config: config.ident)
def test_what_is_cut_off_comes_back_or_is_not_read(config):
    file = of(config.data, config.dialect, config.paths)
    try:
        file.tree()
    except ConfigError:
        assert refused(config).sentence().startswith("/home/u/config:")
        return
    assert config.dialect in (Dialect.TOML, Dialect.YAML), "no JSON is right before its end"
    new, done = wrapped(file)
    assert unwrapped(new, done).data == config.data


@pytest.mark.parametrize("dialect", [Dialect.JSON, Dialect.JSONC])
def test_megabytes_of_state_are_read_soon(dialect):
    file = of(large(), dialect, CLAUDE)
    assert len(file.data) > 5_000_000
    began = time.process_time()
    assert len(open_entries(file)) == 651
    assert time.process_time() - began < 3


def test_megabytes_of_state_come_back():
    file = of(large(), Dialect.JSON, CLAUDE)
    new, done = wrapped(file)
    assert unwrapped(new, done).data == file.data


def test_the_corpus_is_not_small():
    assert len({config.ident for config in CONFIGS + TRUNCATED}) == len(CONFIGS) + len(TRUNCATED) > 1000
