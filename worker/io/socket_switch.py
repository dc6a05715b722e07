"""Exchanges an open socket for another one in this whole process, under whatever descriptors it is open.

A server that has started holds duplicates of the socket it was given, and event loops watch them. The kernel's calls
act on an open socket, not on a descriptor, so nothing can be closed to a server but by exchanging what its descriptors
refer to. That is `dup2`, for each descriptor of this process that refers to the socket (/proc/self/fd has them all).
An epoll instance watches the open socket and not the number, so each registration is removed before the exchange and
made again after it, with the same events and data (/proc/self/fdinfo has them). select and poll get the numbers anew
with each call.

The check whether a descriptor still refers to the socket, and its exchange, are two calls. Both keep the interpreter's
lock, so that no other thread of Python code can close the descriptor in between.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import socket
import struct
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar

__all__ = ["drop_all", "exchange"]

_FD = "/proc/self/fd"
_EPOLL = "anon_inode:[eventpoll]"
_WATCHED = re.compile(rb"^tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)", re.MULTILINE)
_CTL_ADD, _CTL_DEL = 1, 2
_SO_COOKIE = 57
_SO_ATTACH_FILTER = 26


class _EpollEvent(ctypes.Structure):
    # The kernel packs it on x86-64 only, so that it is the same for programs of 32 bits.
    if platform.machine() == "x86_64":
        _pack_ = 1
    _fields_: ClassVar[Any] = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]


@cache
def _libc() -> Any:
    # PyDLL: its calls keep the interpreter's lock.
    return ctypes.PyDLL(None, use_errno=True)


def exchange(here: socket.socket, there: socket.socket, kept: frozenset[int]) -> None:
    """Make each descriptor of this process that refers to `here` refer to `there`, except for those `kept`."""
    libc, cookie = _libc(), _cookie(here.fileno())
    inode = f"socket:[{os.fstat(here.fileno()).st_ino}]"
    found, epolls = _open_as(inode)
    found -= kept
    if not found:
        return
    watched = [(epoll, *entry) for epoll in epolls for entry in _entries(epoll) if entry[0] in found]
    for epoll, descriptor, _, _ in watched:
        libc.epoll_ctl(epoll, _CTL_DEL, descriptor, None)
    for descriptor in found:
        inheritable = os.get_inheritable(descriptor)
        if _cookie(descriptor) == cookie:
            libc.dup3(there.fileno(), descriptor, 0 if inheritable else os.O_CLOEXEC)
    for epoll, descriptor, events, data in watched:
        libc.epoll_ctl(epoll, _CTL_ADD, descriptor, ctypes.byref(_EpollEvent(events, data)))


def drop_all(listening: socket.socket) -> None:
    """Have the kernel drop every packet for this socket: no client can connect to it."""
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(instruction))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _cookie(descriptor: int) -> int:
    """The kernel's number of the socket, unique until the next boot; 0 when the descriptor is not a socket's."""
    value, size = ctypes.c_uint64(), ctypes.c_uint32(8)
    called = _libc().getsockopt(
        descriptor, socket.SOL_SOCKET, _SO_COOKIE, ctypes.byref(value), ctypes.byref(size)
    )
    return value.value if called == 0 else 0


def _open_as(inode: str) -> tuple[set[int], list[int]]:
    """This process's descriptors of the socket, and those of epoll instances."""
    found: set[int] = set()
    epolls: list[int] = []
    for name in os.listdir(_FD):
        try:
            target = os.readlink(f"{_FD}/{name}")
        except OSError:
            continue
        if target == inode:
            found.add(int(name))
        elif target == _EPOLL:
            epolls.append(int(name))
    return found, epolls


def _entries(epoll: int) -> list[tuple[int, int, int]]:
    """What an epoll instance watches: descriptor, events and data."""
    try:
        with open(f"/proc/self/fdinfo/{epoll}", "rb") as file:
            lines = file.read()
    except OSError:
        return []
    return [(int(fd), int(events, 16), int(data, 16)) for fd, events, data in _WATCHED.findall(lines)]
