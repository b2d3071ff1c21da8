import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.audit.knownvalues import LEAST, KnownValues, forms, of_environment
from tests.audit.planted import written


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=LEAST, max_size=40),
    st.data(),
)
def test_a_value_is_found_in_every_form_at_every_place(secret, data):
    known = KnownValues()
    known.learn([secret.encode()])
    text = data.draw(st.sampled_from(sorted(written(secret).values())))
    before = data.draw(st.text(max_size=10))
    raw = f"{before} {text}".encode("utf-8", "surrogatepass")
    hits = known.find(raw)
    assert any(hit.value == secret.encode() for hit in hits)
    assert all(0 <= hit.start < hit.end <= len(raw) for hit in hits)


def test_lines_of_a_long_value_are_known_too():
    known = KnownValues()
    known.learn([b"-----BEGIN X-----\n" + b"a1" * 16 + b"\nshort\n-----END X-----"])
    assert known.find(b"x " + b"a1" * 16)
    assert not known.find(b"short")


def test_no_more_values_are_known_than_the_bound_and_the_oldest_go_first():
    known = KnownValues()
    values = [f"secret-value-{number}".encode() for number in range(limits.KNOWN_SECRETS + 5)]
    known.learn(values[:-5])
    known.learn([values[0]])
    known.learn(values[-5:])
    assert known.find(values[0])
    assert not known.find(b"(" + values[1] + b")")
    assert known.find(values[-1])
    assert known.longest > len(values[0])


def test_too_short_and_too_long_values_are_not_known():
    known = KnownValues()
    known.learn([b"a" * (LEAST - 1), b"b" * (limits.KNOWN_SECRET_BYTES + 1), b""])
    assert known.longest == 0
    assert known.find(b"a" * 100 + b"b" * 5000) == []


def test_forms_are_different_from_each_other():
    made = forms(b"a secret/value+1")
    assert len({form for form, _ in made}) == len(made)


KNOWN_OF = [
    (b"API_TOKEN=abcdefgh", False),
    (b"API_TOKEN=abcdefg1", True),
    (b"DB_PASSWORD=correct horse", True),
    (b"DB_PASSWORD=true", False),
    (b"DB_PASSWORD=12345678", False),
    (b"SECRET_FILE=/run/secrets/token", False),
    (b"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", True),
    (b"PATH=/usr/bin:/bin", False),
    (b"HOME=/home/user1234", False),
    (b"LANG=en_GB.UTF-8", False),
    (b"TERM_PROGRAM_VERSION=1.95.3", False),
    (b"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus", False),
    (b"SERVICE_URL=https://example.com/a1b2c3d4", False),
    (b"DATABASE_URL=postgres://u:hunter22aB@h/db", False),
    (b"SOMETHING=aB3dE5fG7hI9jK1lM2nO4", True),
    (b"NOTHING", False),
    (b"X=", False),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "known"), KNOWN_OF)
def test_which_variables_are_secrets(entry, known):
    assert bool(of_environment([entry])) is known


def test_of_a_variable_that_was_passed_on_purpose_less_is_asked():
    assert of_environment([b"X=short-1a2b"]) == []
    assert of_environment([b"X=short-1a2b"], frozenset({b"X"})) == [b"short-1a2b"]
    assert of_environment([b"X=production", b"X=/srv/data"], frozenset({b"X"})) == []
