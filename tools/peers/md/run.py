#!/usr/bin/env python3
"""Runs a shell script under a real Linux kernel with md: User Mode Linux, which needs neither KVM nor privileges.

    run.py [--memory MB] [--modules NAME,NAME] [--seconds N] [--tap NAME:ADDRESS/BITS] [--work DIR] SCRIPT [IMAGE...]

The images, 16 at most, are /dev/ubda, /dev/ubdb, .. in the guest, with their partitions. Its root is the host's, read-only;
DIR is writable there and the script's working directory. What the script prints is printed, its exit status is returned; where
the kernel dies, the end of its log goes to stderr and the status is 125. After N seconds (300) all of it is killed: status 124.
With --tap the guest has a network card, with that address, at the other end of that tap.

Debian packages: user-mode-linux, busybox-static, mdadm, python3.
"""
import argparse
import ctypes
import glob
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

KERNEL = "/usr/bin/linux.uml"
MODULES = "/usr/lib/uml/modules/*"
# glibc in the guest may not use registers that this kernel does not save; see without_xsave.
CPU = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-XSAVE,-XSAVEC"
SIGNALLED, TIMED_OUT, NO_RESULT = 126, 124, 125


def without_xsave():
    """Lets ptrace's GETREGSET and SETREGSET fail with EINVAL in this process and its children.

    User Mode Linux up to 6.12 has a fixed buffer for the XSAVE area, too small for processors with AMX: its init would die.
    Where GETREGSET fails, it falls back to the FXSAVE area, which always fits. A seccomp filter, instruction by instruction:
    """
    load, equal, leave = 0x20, 0x15, 0x06
    allow, invalid = 0x7FFF0000, 0x00050000 | 22
    steps = [
        (load, 0, 0, 4),  # architecture
        (equal, 0, 5, 0xC000003E),  # is it x86-64?
        (load, 0, 0, 0),  # number of the system call
        (equal, 0, 3, 101),  # is it ptrace?
        (load, 0, 0, 16),  # its request
        (equal, 2, 0, 0x4204),  # PTRACE_GETREGSET
        (equal, 1, 0, 0x4205),  # PTRACE_SETREGSET
        (leave, 0, 0, allow),
        (leave, 0, 0, invalid),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, filter_mode, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, default=160)
    parser.add_argument("--modules", default="loop,md-mod,linear,raid0,raid1,raid10,raid456")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--tap")
    parser.add_argument("--work")
    parser.add_argument("script")
    parser.add_argument("images", nargs="*")
    wishes = parser.parse_args()
    if len(wishes.images) > 16:
        parser.error("16 images at most")
    modules = sorted(glob.glob(MODULES))
    if not os.path.exists(KERNEL) or not modules:
        parser.error(f"{KERNEL} or its modules are missing; install user-mode-linux")
    with tempfile.TemporaryDirectory() as own:
        work = os.path.realpath(wishes.work or own)
        shutil.copy(wishes.script, os.path.join(work, ".script"))
        for name in (".out", ".status"):
            if os.path.exists(os.path.join(work, name)):
                os.unlink(os.path.join(work, name))
        status = boot(wishes, work, modules[-1])
        with open(os.path.join(work, ".out"), "rb") if os.path.exists(os.path.join(work, ".out")) else open(os.devnull, "rb") as out:
            shutil.copyfileobj(out, sys.stdout.buffer)
    sys.exit(status)


def boot(wishes, work, modules):
    init = os.path.join(os.path.dirname(os.path.realpath(__file__)), "init.sh")
    command = [KERNEL, f"mem={wishes.memory}M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    command += ["con=null", "con0=null,fd:1", "loglevel=7", "panic=-1", CPU]
    command += [f"WORK={work}", f"MODULE_DIRECTORY={modules}", f"MODULES={wishes.modules}"]
    if wishes.tap:
        tap, address = wishes.tap.split(":")
        command += [f"eth0=tuntap,{tap},,", f"ADDRESS={address}"]
    command += [f"ubd{number}={os.path.realpath(image)}" for number, image in enumerate(wishes.images)]
    environment = dict(os.environ, TMPDIR=own_memory())
    with open(os.path.join(work, ".kernel"), "wb") as log:
        kernel = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=work,
            start_new_session=True, preexec_fn=without_xsave,
        )
        def end(*_):
            os.killpg(kernel.pid, signal.SIGKILL)
            sys.exit(SIGNALLED)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        try:
            kernel.wait(wishes.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(kernel.pid, signal.SIGKILL)
            kernel.wait()
            print(f"run.py: killed after {wishes.seconds} s; the end of the kernel's log:", file=sys.stderr)
            print_log(work)
            return TIMED_OUT
    try:
        with open(os.path.join(work, ".status")) as status:
            return int(status.read())
    except (OSError, ValueError):
        print("run.py: no result; the end of the kernel's log:", file=sys.stderr)
        print_log(work)
        return NO_RESULT


def own_memory():
    """Where the guest's memory is kept: it has to be a file system that allows to map code."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()


def print_log(work):
    with open(os.path.join(work, ".kernel"), errors="replace") as log:
        sys.stderr.writelines(log.readlines()[-30:])


if __name__ == "__main__":
    main()
