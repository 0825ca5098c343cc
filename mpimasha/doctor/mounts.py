"""Mounted file systems: which one a path lies on, and whether other hosts share it."""

import os
from typing import NamedTuple

# FUSE file systems are named fuse.<what>; sshfs and the like are as remote as NFS.
_NETWORK = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "smbfs", "afs", "9p", "glusterfs",
            "pvfs2", "panfs", "wekafs", "orangefs", "ocfs2", "gfs2", "fhgfs"}
_LOCAL_FUSE = {"fuse.overlayfs", "fuse.fuse-overlayfs", "fuse.squashfuse", "fuse.squashfuse_ll", "fuse.lxcfs"}


class Mount(NamedTuple):
    point: str
    kind: str
    options: str

    @property
    def network(self):
        return self.kind in _NETWORK or (self.kind.startswith("fuse.") and self.kind not in _LOCAL_FUSE)


def parse(text):
    """The mounts of /proc/mounts, in their order."""
    rows = [line.split() for line in text.splitlines()]
    return [Mount(_plain(row[1]), row[2], row[3]) for row in rows if len(row) >= 4]


def holding(path, mounts):
    """The mount that the absolute `path` lies on, or None; a later mount hides an earlier one."""
    above = [mount for mount in mounts if os.path.commonpath([path, mount.point]) == mount.point]
    return max(reversed(above), key=lambda mount: len(mount.point), default=None)


def _plain(point):
    """A mount point without the octal escapes of /proc/mounts."""
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        point = point.replace(escape, character)
    return point
