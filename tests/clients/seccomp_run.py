"""Becomes a program under a seccomp profile of containers, without a container.

Usage: seccomp_run.py PROFILE.json [--without PREFIX] PROGRAM [ARGUMENT…]. The profile is in the
format of the OCI runtime specification; --without leaves out the system calls whose names begin so.
It is loaded as container runtimes do it, with no_new_privs.
"""

import json
import os
import sys

import pyseccomp

# A name that is newer than the library; runtimes leave it out, too.
UNKNOWN = -1
COMPARISONS = {
    "SCMP_CMP_EQ": pyseccomp.EQ,
    "SCMP_CMP_LE": pyseccomp.LE,
    "SCMP_CMP_MASKED_EQ": pyseccomp.MASKED_EQ,
}
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": pyseccomp.Arch.X86_64,
    "SCMP_ARCH_AARCH64": pyseccomp.Arch.AARCH64,
}


def main(path, *command):
    left_out = None
    if command[0] == "--without":
        left_out, command = command[1], command[2:]
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    load(profile, left_out)
    os.execv(command[0], command)


def load(profile, left_out):
    default = action(profile["defaultAction"], profile["defaultErrnoRet"])
    syscall_filter = pyseccomp.SyscallFilter(default)
    native = pyseccomp.system_arch()
    for name in profile["architectures"]:
        if ARCHITECTURES[name] != native:
            syscall_filter.add_arch(ARCHITECTURES[name])
    for entry in profile["syscalls"]:
        allowed = action(entry["action"], entry.get("errnoRet"))
        arguments = [argument(each) for each in entry.get("args", [])]
        for name in entry["names"]:
            known = pyseccomp.resolve_syscall(native, name) != UNKNOWN
            if known and (left_out is None or not name.startswith(left_out)):
                syscall_filter.add_rule(allowed, name, *arguments)
    syscall_filter.load()


def action(name, errno):
    if name == "SCMP_ACT_ALLOW":
        return pyseccomp.ALLOW
    if name == "SCMP_ACT_ERRNO":
        return pyseccomp.ERRNO(errno)
    raise SystemExit(f"seccomp_run.py: {name} is not known here")


def argument(entry):
    comparison = COMPARISONS[entry["op"]]
    if comparison == pyseccomp.MASKED_EQ:
        return pyseccomp.Arg(entry["index"], comparison, entry["value"], entry["valueTwo"])
    return pyseccomp.Arg(entry["index"], comparison, entry["value"])


if __name__ == "__main__":
    main(*sys.argv[1:])
