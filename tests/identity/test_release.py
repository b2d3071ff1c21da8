import pytest

from mcpguard.identity.release import release_of


@pytest.mark.parametrize(
    ("paths", "version"),
    [
        (["/home/u/.local/share/claude/versions/2.0.14"], "2.0.14"),
        (["/home/u/.local/share/claude/versions/2.0.14/claude"], "2.0.14"),
        (["/opt/Cursor-0.48.7.AppImage"], ""),
        (["/opt/cursor-0.48.7-x86_64/cursor"], "0.48.7"),
        (["/nix/store/abc-codex-1.2/bin/codex"], "1.2"),
        (["/opt/app@3.1.0/bin"], "3.1.0"),
        (["/opt/v1.99.3/code"], "1.99.3"),
        (["/usr/bin/node"], ""),
        (["/usr/lib/python3.11/x"], ""),
        (["/a/1.0/b/2.0/c"], "2.0"),
        (["/usr/bin/node", "/opt/tool-4.5/run"], "4.5"),
        ([], ""),
        (["/x/1.2.3.4.5/y"], ""),
        (["/x/1./y", "/x/.1/y", "/x/1/y"], ""),
    ],
)
def test_the_version_is_the_last_one_that_a_path_names(paths, version):
    assert release_of(paths) == version
