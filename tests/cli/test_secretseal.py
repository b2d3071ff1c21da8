import json

from tests.cli.keeping import VALUE, vaulted


def test_a_file_is_sealed_once_and_never_replaced() -> None:
    with vaulted() as place:
        file = place.root / "sealed"
        ran = place.mcpguard("secret", "seal", str(file), input=VALUE)
        assert (ran.returncode, f"file://{file}?sealed" in ran.stderr) == (0, True)
        assert VALUE.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
        before = file.read_bytes()
        ran = place.mcpguard("secret", "seal", str(file), "--json", input=VALUE)
        assert (ran.returncode, json.loads(ran.stdout)["ok"]) == (5, False)
        assert file.read_bytes() == before
        assert place.mcpguard("secret", "seal", str(place.root / "no" / "x"), input=VALUE).returncode == 5
