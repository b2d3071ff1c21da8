import grp
import os
import pwd

from mcpguard.system.accounts import groups_of


def test_groups_are_those_of_the_account_database():
    account = pwd.getpwuid(os.geteuid())
    own = grp.getgrgid(account.pw_gid).gr_name
    found = groups_of(os.geteuid())
    assert own in found
    assert list(found) == sorted(set(found))
    for group in grp.getgrall():
        assert (group.gr_name in found) == (account.pw_name in group.gr_mem or group.gr_gid == account.pw_gid)


def test_a_user_that_does_not_exist_is_in_no_group():
    assert groups_of(2_000_000_011) == ()
