"""Runs a command that cannot open certain files and directories. Called by path, with the standard library alone:

    python -I -S hide_files.py PATH ... -- COMMAND [ARGUMENT ...]

The command gets a user namespace and a mount namespace of its own. An empty, read-only directory lies over each hidden
directory, and a device that cannot be opened over each hidden file. All that the command starts sees the same, and
none of it can take a cover away. The user namespace also closes /proc: a process in it may not look into one outside,
so the supervisor's environment, memory, open files and view of the file system stay out of reach.

Covers lie on names and not on contents. A file that another process replaces by a rename while the command runs is
visible again, and so is one that appears later. Covering the whole home instead would cut uv's hard links from its
cache, because the kernel makes none between two mounts.

Without a command this only tries, prints why the kernel refuses, and ends with 1 then. A command runs in any case.
"""

from __future__ import annotations

import ctypes
import glob
import os
import signal
import stat
import sys

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24
_CAP_SYS_ADMIN = 21
_CANNOT_RUN = 126
_SSH = "/etc/ssh/ssh_config.d"
_SSH_INCLUDED = "/etc/crypto-policies/back-ends/openssh.config"

_libc = ctypes.CDLL(None, use_errno=True)


def hide(paths: list[str]) -> None:
    """Hide the files and directories at `paths` from this process. Raises `OSError` where the kernel refuses."""
    _enter_namespaces()
    # A try without paths has to find out whether it may mount at all.
    for path in paths or ["/"]:
        if os.path.isdir(path):
            flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            _checked(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, b"mode=0500,size=4k"))
        elif os.path.exists(path):
            _cover(path)
    if os.geteuid() == 0:
        # Root could unmount what it has mounted, in this namespace.
        _checked(_libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0))
    else:
        _own_ssh_configuration()


def main(arguments: list[str]) -> int:
    """Hide what is named and become the command."""
    at = arguments.index("--")
    paths, command = arguments[:at], arguments[at + 1 :]
    try:
        hide(paths)
    except OSError as problem:
        if not command:
            print(problem.strerror)
            return 1
        print(f"files of the home are not hidden from this: {problem.strerror}", file=sys.stderr, flush=True)
    if not command:
        return 0
    # A change of namespaces may have taken it away.
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    try:
        os.execvp(command[0], command)
    except OSError as problem:
        print(f"{command[0]} can't be run: {problem.strerror}", file=sys.stderr, flush=True)
    return _CANNOT_RUN


def _enter_namespaces() -> None:
    """Enter new namespaces in which all users and groups that we may be or may use keep their numbers."""
    ours, go = os.pipe()
    helper = os.fork()
    if helper == 0:
        # Only a process that is still outside may give root all numbers.
        status = 1
        try:
            os.close(go)
            if os.read(ours, 1):
                _map_ids(os.getppid())
                status = 0
        finally:
            os._exit(status)
    os.close(ours)
    try:
        _checked(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        os.write(go, b"\n")
    finally:
        os.close(go)
        status = os.waitpid(helper, 0)[1]
    if status:
        raise OSError(0, "the user namespace gets no users")


def _map_ids(pid: int) -> None:
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        lines = f"{own} {own} 1\n"
        if os.geteuid() == 0:
            with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
                lines = "".join(f"{first} {first} {count}\n" for first, _, count in map(str.split, file))
        elif kind == "gid":
            # Without it, the kernel lets only root map a group.
            _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/{kind}_map", lines)


def _cover(path: str) -> None:
    """Put a device over the file that no process can open, not even root's."""
    place, device = os.fsencode(path), os.fsencode(os.devnull)
    _checked(_libc.mount(device, place, None, _MS_BIND, None))
    kept = os.statvfs(os.devnull).f_flag & (_MS_RDONLY | _MS_NOSUID | _MS_NOEXEC)
    _checked(_libc.mount(None, place, None, _MS_REMOUNT | _MS_BIND | _MS_NODEV | kept, None))


def _own_ssh_configuration() -> None:
    """Give the command copies of ssh's configuration that belong to this user.

    ssh refuses an included file that is neither root's nor the user's, and root has no number in here: a dependency by
    git over ssh could not be fetched.
    """
    found = [path for path in glob.glob(f"{_SSH}/*") if stat.S_ISREG(os.stat(path).st_mode)]
    if not found:
        return
    contents = {path: _read(path) for path in (*found, _SSH_INCLUDED) if os.access(path, os.R_OK)}
    _checked(_libc.mount(b"tmpfs", _SSH.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0755,size=1m"))
    for path, content in contents.items():
        copy = os.path.join(_SSH, os.path.basename(path))
        with open(copy, "wb") as file:
            file.write(content)
        os.chmod(copy, 0o444)
        if path == _SSH_INCLUDED:
            _checked(_libc.mount(copy.encode(), path.encode(), None, _MS_BIND, None))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _checked(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
