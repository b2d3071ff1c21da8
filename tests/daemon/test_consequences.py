import msgspec
import pytest

from mcpguard.audit.findings import Finding
from mcpguard.daemon.consequences import Consequences
from mcpguard.model import Action, Mode
from mcpguard.policy.rules import RuleSet
from tests.daemon.keptout import Connection, Stage, Told
from tests.daemon.loops import run
from tests.daemon.test_recorder import lines

DRIFT = Finding("definition-drift", "s", "it is another", conn="a", server="files", host={"exe": "/x"})
BURST = Finding("denied-burst", "s", "too many", conn="a", server="files", host={"exe": "/x"})
KNOWN = msgspec.structs.replace(BURST, host={"host": "acme"})
CLOCK = Finding("clock-jump", "s", "it jumped")
GONE = msgspec.structs.replace(BURST, conn="zzz", server="")


def ruleset(mode: Mode = Mode.ENFORCE, **findings: Action) -> RuleSet:
    named = {kind.replace("_", "-"): action for kind, action in findings.items()}
    return RuleSet(file="p", digest="d", mode=mode, neutralise=False, findings=named)


Q, E, A, N, R = Action.QUARANTINE, Action.END, Action.ASK, Action.NOTIFY, Action.RECORD
CASES = [
    (DRIFT, {}, "record", [], 0),
    (DRIFT, {"definition_drift": N}, "notify", [], 0),
    (DRIFT, {"definition_drift": A}, "ask", ["ask server:files"], 0),
    (DRIFT, {"definition_drift": E}, "end", [], 1),
    (DRIFT, {"definition_drift": Q}, "quarantine", ["refuse server:files"], 1),
    (DRIFT, {"denied_burst": Q}, "record", [], 0),
    (BURST, {"denied_burst": Q}, "end", [], 1),
    (KNOWN, {"denied_burst": Q}, "quarantine", ["refuse host:acme"], 1),
    (CLOCK, {"clock_jump": Q}, "notify", [], 0),
    (GONE, {"denied_burst": E}, "notify", [], 0),
    (GONE, {"denied_burst": A}, "notify", [], 0),
]


@pytest.mark.parametrize(("finding", "wanted", "action", "held", "cut"), CASES)
@pytest.mark.parametrize("mode", Mode)
def test_what_policy_says_is_done_as_far_as_it_can_be(
    tmp_path, finding, wanted, action, held, cut, mode
) -> None:
    async def story() -> None:
        one, told = Connection("files", "acme"), Told()
        stage = Stage(tmp_path, a=one)
        rules = ruleset(mode, **wanted)
        consequences = Consequences(stage.recorder, lambda: rules, stage.sessions, stage.quarantine, told)
        consequences.take(finding)
        binding = mode is Mode.ENFORCE
        entries = stage.quarantine.described()["entries"]
        assert [f"{each['how']} {each['subject']}" for each in entries] == (held if binding else [])
        assert len(one.reasons) == (cut if binding else 0)
        assert bool(told.said) == (action != "record")
        assert consequences.counts[finding.weight.word] == 1
        await stage.recorder.close()
        (body,) = [msgspec.json.decode(line) for line in lines(tmp_path / "audit") if '"detected"' in line]
        assert body["action"] == action
        assert body.get("binding", True) == (binding or action in ("record", "notify"))

    run(story)


@pytest.mark.parametrize(
    ("ours", "folder", "expected"),
    [(R, E, "end"), (E, N, "end"), (Q, R, "quarantine"), (N, N, "notify"), (R, R, "record")],
)
def test_a_folder_can_only_make_it_stricter(tmp_path, ours, folder, expected) -> None:
    async def story() -> None:
        one = Connection("files", projects=(ruleset(definition_drift=folder),))
        stage = Stage(tmp_path, a=one)
        rules = ruleset(definition_drift=ours)
        Consequences(stage.recorder, lambda: rules, stage.sessions, stage.quarantine, Told()).take(DRIFT)
        await stage.recorder.close()
        assert f'"action":"{expected}"' in next(
            line for line in lines(tmp_path / "audit") if '"detected"' in line
        )

    run(story)
