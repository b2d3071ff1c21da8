"""The commands of docs/certificates.md do what the page says, in its order."""

import re
import shlex
from pathlib import Path

from tests.cli.certhouse import words_file
from tests.lifecycle.stage import house

PAGE = Path(__file__).parents[1] / "docs" / "certificates.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


def test_the_first_block_runs_as_it_stands() -> None:
    with house() as place:
        words_file(place)
        for words in commands(BLOCKS[0]):
            assert words[0] == "mcpguard"
            done = place.mcpguard(*words[1:], cwd=place.root)
            assert done.returncode == 0, (words, done)
        assert (place.root / "alice" / "alice.key").exists()
        assert (place.root / "crl.pem").read_text().startswith("-----BEGIN X509 CRL-----")


def test_the_other_blocks_are_understood() -> None:
    """Their files are not here: each command gets as far as saying so."""
    with house() as place:
        for block in BLOCKS[1:]:
            for words in commands(block):
                done = place.mcpguard(*words[1:], cwd=place.root)
                assert done.returncode == 5, (words, done)
                assert "Traceback" not in done.stderr
