"""Which groups is a user in, by name?"""

from __future__ import annotations

import grp
import os
import pwd


def groups_of(uid: int) -> tuple[str, ...]:
    """Names of the groups of a user, sorted; a group without a name is its number. Empty if there is no such user.

    As the account database says, not as some process has them: a process can give groups up.
    """
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return ()
    return tuple(sorted({_name(gid) for gid in os.getgrouplist(account.pw_name, account.pw_gid)}))


def _name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
