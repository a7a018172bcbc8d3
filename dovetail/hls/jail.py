"""Run as a script: shut a command into fresh namespaces and an almost empty file system, then wait for it.

`dovetail.hls.sandbox` starts it with ``python -I -S``; it must import nothing but the standard library, and little
of it (no pathlib). Argument: one JSON object. A line on the status descriptor says how the command ended.
"""

# ruff: noqa: PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH211

import ctypes
import json
import os
import resource
import signal
import struct
import sys

NEWNS, NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS = 0x20000, 0x10000000, 0x20000000, 0x40000000, 0x8000000, 0x4000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH, PDEATHSIG, NO_NEW_PRIVS, CAPBSET_DROP, SUBREAPER, SECCOMP = 2, 1, 38, 24, 36, 22
# Calls that no kernel and no compiler needs: memory that no process is charged for, code that no file holds, other
# processes' memory, and doors into the kernel. Numbers on x86-64 and on AArch64.
REFUSED = {
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "execveat": (322, 281), "shmget": (29, 194),
    "io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282), "ptrace": (101, 117),
    "process_vm_writev": (311, 271), "perf_event_open": (298, 241), "keyctl": (250, 219), "unshare": (272, 97),
    "setns": (308, 268), "mount": (165, 40),
}  # fmt: skip
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """`result` of a libc call, or OSError."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare() -> str:
    """Enter fresh namespaces; as root without a user namespace, so that the command can run as nobody."""
    apart = NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and libc.unshare(apart) == 0:
        return "namespaces"
    if libc.unshare(NEWUSER | apart) == 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        return "user namespace"
    return "rlimits"


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2); OSError when the kernel refuses."""

    def encode(text: str | None) -> bytes | None:
        return text.encode() if text else None

    checked(libc.mount(encode(source), target.encode(), encode(kind), flags, encode(data)), f"mount {target}")


def bind(path: str, root: str, writable: bool = False) -> None:
    """Show `path` at the same place under `root`; links stay links, and what is missing stays missing."""
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if not os.path.exists(path):
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        open(target, "w").close()
    mount(path, target, None, MS_BIND | (0 if writable else MS_REC))
    device = path.startswith("/dev/")
    locked = os.statvfs(path).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)  # a user namespace may not clear them
    flags = MS_REMOUNT | MS_BIND | locked | MS_NOSUID | (0 if device else MS_NODEV) | (0 if writable else MS_RDONLY)
    mount(None, target, None, flags)


def narrow(spec: dict) -> None:  # type: ignore[type-arg] # typing is not imported here
    """Leave the command a file system of the tool chain, the named folders and its own one."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = spec["work"] + "/.root"
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in spec["show"]:
        bind(path, root)
    for path in ("/dev/null", "/dev/zero", "/dev/urandom"):
        bind(path, root)
    bind(spec["work"], root, writable=True)
    os.makedirs(root + "/proc/self", exist_ok=True)
    mount("/proc/self", root + "/proc/self", None, MS_BIND)  # its own entry and nobody else's: sanitizers need it
    os.makedirs(root + "/old", exist_ok=True)
    os.chdir(root)
    checked(libc.syscall(155 if os.uname().machine == "x86_64" else 41, b".", b"old"), "pivot_root")
    os.chdir("/")
    checked(libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")
    mount(None, "/", None, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def limit(spec: dict) -> None:  # type: ignore[type-arg]
    """Set the rlimits, and give up root where there is one."""
    for name, value in spec["limits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    if os.getuid() == 0 and spec["nobody"]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    elif os.getuid() == 0:  # stays root to read its owner's files, yet may do nothing that only root may
        for capability in range(64):
            libc.prctl(CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    refuse()


def refuse() -> None:
    """Let the calls of `REFUSED` fail with EPERM from now on (seccomp); other machines than `MACHINES` go without."""
    known = MACHINES.get(os.uname().machine)
    if known is None:
        return
    arch, column = known
    numbers = [call[column] for call in REFUSED.values()]
    load, equal, above, answer = 0x20, 0x15, 0x35, 0x06  # classic BPF: ld abs, jeq, jge, ret
    allow, deny = 0x7FFF0000, 0x00050000 | 1
    code = [(load, 0, 0, 4), (equal, 1, 0, arch), (answer, 0, 0, deny), (load, 0, 0, 0)]
    code += [(above, len(numbers) + 1, 0, 0x40000000)]  # the x32 numbers
    code += [(equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    code += [(answer, 0, 0, allow), (answer, 0, 0, deny)]
    packed = b"".join(struct.pack("HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(packed, len(packed))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(held)))
    libc.prctl(SECCOMP, 2, program, 0, 0)


def command(spec: dict, isolation: str) -> None:  # type: ignore[type-arg]
    """Become the command; never returns."""
    try:
        if isolation != "rlimits":
            narrow(spec)
        limit(spec)
        os.chdir(spec["work"])
        os.execve(spec["command"][0], spec["command"], spec["env"])
    except BaseException as error:
        os.write(spec["status"], (json.dumps({"failed": str(error)}) + "\n").encode())
    os._exit(127)


def sweep() -> None:
    """Kill every child until there is none: what a child leaves becomes one too."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:
            children = [int(pid) for pid in listed.read().split()]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def wait_for(spec: dict, isolation: str) -> None:  # type: ignore[type-arg]
    """Start the command, reap what it leaves, and say how it ended."""
    child = os.fork()
    if child == 0:
        if isolation == "rlimits":
            libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.set_inheritable(spec["status"], False)
        command(spec, isolation)
    while True:
        pid, status = os.wait()
        if pid == child:
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            end = {"code": os.waitstatus_to_exitcode(status), "cpu_s": usage.ru_utime + usage.ru_stime,
                   "peak": usage.ru_maxrss * 1024, "isolation": isolation}  # fmt: skip
            if isolation == "rlimits":
                sweep()
            os.write(spec["status"], (json.dumps(end) + "\n").encode())
            os._exit(0)  # as process 1 of its namespace it takes everything left with it


def main() -> None:
    """Isolate, run, report."""
    spec = json.loads(sys.argv[1])
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    isolation = unshare() if spec["apart"] else "rlimits"
    libc.prctl(SUBREAPER, 1, 0, 0, 0)  # what a command leaves behind becomes a child here, wherever it hides
    inner = os.fork() if isolation != "rlimits" else 0
    if inner == 0:
        if isolation != "rlimits":
            libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        wait_for(spec, isolation)
    os.waitpid(inner, 0)


main()
