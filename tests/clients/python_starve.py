"""Runs a program for which the kernel has no memory: a send of SIZE bytes fails with ENOBUFS.

Usage: python_starve.py SIZE PROGRAM ARGUMENT... The program takes the place of this one. Only
sendto(2) fails, and so does each attempt: what is sent again must be sent with sendmsg(2).
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# AUDIT_ARCH of the machine (linux/audit.h) and its number of sendto.
ARCHITECTURE, SENDTO = {"x86_64": (0xC000003E, 44), "aarch64": (0xC00000B7, 206)}[platform.machine()]

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# Offsets in struct seccomp_data, of the third argument the low half.
NUMBER, ARCH, LENGTH = 0, 4, 16 + 2 * 8
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | errno.ENOBUFS

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def instruction(code, operand, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, operand)


def starve(size):
    instructions = [
        instruction(LOAD, ARCH),
        instruction(JUMP_IF_EQUAL, ARCHITECTURE, 0, 5),
        instruction(LOAD, NUMBER),
        instruction(JUMP_IF_EQUAL, SENDTO, 0, 3),
        instruction(LOAD, LENGTH),
        instruction(JUMP_IF_EQUAL, size, 0, 1),
        instruction(RETURN, FAIL),
        instruction(RETURN, ALLOW),
    ]
    code = b"".join(instructions)
    program = Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    starve(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
