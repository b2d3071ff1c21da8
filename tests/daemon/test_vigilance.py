"""Everything that keeps watch, wired to a real daemon."""

import json

from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import house, until


def test_status_counts_findings_and_shows_what_is_kept_out() -> None:
    with house() as place:
        status = place.status()
        assert status["quarantine"] == {"entries": [], "failure": ""}
        arrive(place, FORMS["pipes"], name="files").greet()
        assert until(
            lambda: sum(place.status()["findings"].values()) == 1
        )  # a host that was never here before
        place.mcpguard("quarantine", "host:nobody", "--reason", "just in case")
        (entry,) = place.status()["quarantine"]["entries"]
        assert (entry["subject"], entry["reason"]) == ("host:nobody", "just in case")
        assert place.daemon
        place.daemon.terminate()
        place.daemon.wait(20)
        learned = json.loads((place.state / "baseline" / "baseline.json").read_text())
        assert list(learned["learned"]["servers"]) == ["files"]
        place.serve()
        arrive(place, FORMS["pipes"], name="files").greet()
        assert [one["kind"] for one in place.records() if "severity" in one] == ["new-host"]
