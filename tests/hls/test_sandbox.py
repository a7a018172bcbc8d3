"""Code nobody vouches for does no harm: it is stopped, sees nothing and writes nowhere else."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dovetail.core.errors import DovetailError
from dovetail.hls.check.checker import check
from dovetail.hls.compile import FAST, compile_to, compiler, link
from dovetail.hls.design import Contract, Design, Port
from dovetail.hls.sandbox import Limits, Ran, isolation, run, workplace

BOMB = "#include <unistd.h>\nint main() { for (;;) if (fork() < 0) usleep(1000); }"
HOARD = "#include <cstdlib>\n#include <cstring>\nint main() { for (;;) memset(malloc(1 << 24), 1, 1 << 24); }"
CHATTER = '#include <cstdio>\nint main() { for (int i = 0; i < 50000000; i++) puts("twenty bytes of text"); }'
apart = pytest.mark.skipif(isolation() == "rlimits", reason="this kernel allows no namespaces")


LIMITS = Limits(wall_s=3.0, memory=200 << 20, output=1 << 20, processes=24)


def ran(work: Path, source: str, limits: Limits = LIMITS, apart: bool = True) -> Ran:
    (work / "one.cpp").write_text(source)
    made = compile_to(work / "one.cpp", work / "one.o", FAST, prelude=False)
    assert made.output, made.errors
    assert link([made.output], work / "one", FAST).output
    return run([work / "one"], work, limits, apart=apart)


@contextmanager
def left_behind(name: str) -> Iterator[None]:
    """Nothing of that name goes on running."""
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        alive = [p for p in Path("/proc").glob("[0-9]*/cmdline") if name.encode() in _read(p)]
        if not alive:
            return
        time.sleep(0.05)
    pytest.fail(f"still running: {alive}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_fork_bomb_is_stopped_and_nothing_of_it_stays(work: Path) -> None:
    with left_behind(str(work / "one")):
        assert ran(work, BOMB).stopped == "time"


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_process_that_moves_to_a_session_of_its_own_goes_too(work: Path, namespaces: bool) -> None:
    source = """#include <unistd.h>
int main() {
    if (fork() == 0) { setsid(); if (fork() == 0) for (;;) pause(); _exit(0); }
    usleep(200000);
}"""
    with left_behind(str(work / "one")):
        assert ran(work, source, apart=namespaces).ok
    with left_behind(str(work / "one")):
        assert ran(work, source.replace("usleep(200000)", "for (;;) pause()"), apart=namespaces).stopped == "time"


@pytest.mark.parametrize("namespaces", [True, False])
def test_memory_nobody_is_charged_for_and_code_without_a_file_are_refused(work: Path, namespaces: bool) -> None:
    source = """#include <cerrno>
#include <cstdio>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
int main() {
    errno = 0; int made = memfd_create("x", 0); printf("%d %d ", made, errno == EPERM);
    errno = 0; made = shmget(IPC_PRIVATE, 4096, 0600); printf("%d %d ", made, errno == EPERM);
    errno = 0; long traced = ptrace(PTRACE_TRACEME, 0, 0, 0); printf("%ld %d", traced, errno == EPERM);
}"""
    assert ran(work, source, apart=namespaces).out == "-1 1 -1 1 -1 1"


def test_memory_and_output_have_a_cap(work: Path) -> None:
    assert ran(work, HOARD).stopped == "memory"
    told = ran(work, CHATTER)
    assert told.stopped == "output"
    assert len(told.stdout) == 1 << 20


@apart
def test_a_secret_file_is_not_there_for_the_program_nor_for_the_compiler(work: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret word")
    secret.chmod(0o644)
    reader = f'#include <cstdio>\nint main() {{ FILE *f = fopen("{secret}", "r"); puts(f ? "read" : "none"); }}'
    assert ran(work, reader).out == "none\n"
    (work / "two.cpp").write_text(f'#include "{secret}"\nint main() {{}}')
    told = compile_to(work / "two.cpp", work / "two.o", FAST, prelude=False)
    assert told.output is None
    assert "secret word" not in str(told)


@apart
def test_home_and_everything_but_its_own_folder_stay_as_they_are(work: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    places = [Path.home() / "dovetail-was-here", tmp_path / "dovetail-was-here", Path("/usr/dovetail-was-here")]
    listed = ", ".join(f'"{place}"' for place in places)
    writer = f"""#include <cstdio>
int main() {{
    int made = 0;
    const char *places[] = {{{listed}}};
    for (const char *at : places) if (FILE *f = fopen(at, "w")) {{ fclose(f); made++; }}
    FILE *own = fopen("own.txt", "w");
    printf("%d %d", made, own != nullptr);
}}"""
    assert ran(work, writer).out == "0 1"
    assert not any(place.exists() for place in places)


@apart
def test_no_network_and_no_other_process(work: Path) -> None:
    source = """#include <arpa/inet.h>
#include <cstdio>
#include <signal.h>
#include <sys/socket.h>
int main() {
    sockaddr_in to = {}; to.sin_family = AF_INET; to.sin_port = htons(9); to.sin_addr.s_addr = htonl(0x7f000001);
    printf("%d %d", connect(socket(AF_INET, SOCK_STREAM, 0), (sockaddr *)&to, sizeof to), kill(%d, 0));
}""".replace("%d, 0", f"{os.getpid()}, 0")
    assert ran(work, source).out == "-1 -1"


def test_links_that_a_program_leaves_lead_nobody_out(work: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("as it was")
    (work / "deep").mkdir()
    (work / "deep").chmod(0o777)
    names = (".stdin", "oracle.json", "deep/one.cpp")
    made = "".join(f'symlink("{kept}", "{name}"); ' for name in names)
    source = f'#include <sys/stat.h>\n#include <unistd.h>\nint main() {{ {made} mkfifo("pipe", 0666); }}'
    assert ran(work, source).code == 0
    assert run(["/bin/cat"], work, stdin=b"given").out == "given"
    assert not any((work / name).is_symlink() for name in names)
    assert not (work / "pipe").exists()
    assert kept.read_text() == "as it was"


def test_files_in_folders_count(work: Path) -> None:
    filler = """#include <cstdio>
#include <string>
#include <sys/stat.h>
int main() {
    static char block[1 << 20];
    mkdir("deep", 0700);
    for (int i = 0; ; i++) {
        FILE *f = fopen(("deep/" + std::to_string(i % 100)).c_str(), "a");
        if (f) { fwrite(block, sizeof block, 1, f); fclose(f); }
    }
}"""
    assert ran(work, filler, Limits(wall_s=5.0, disk=40 << 20)).stopped == "disk"


def test_children_of_threads_count(work: Path) -> None:
    hoard = HOARD.replace("int main() {", "int grow() {").replace("#include <cstdlib>", "#include <cstdlib>\n"
        "#include <thread>\n#include <sys/wait.h>\n#include <unistd.h>")  # fmt: skip
    hoard += "\nint main() { std::thread([] { if (!fork()) grow(); wait(nullptr); }).join(); }"
    assert ran(work, hoard).stopped == "memory"


def test_signals_and_statuses_come_back(work: Path) -> None:
    assert run(["/bin/sh", "-c", "exit 7"], work).code == 7
    assert run(["/bin/sh", "-c", "kill -SEGV $$"], work).code == -11
    assert run(["/bin/cat"], work, stdin=b"given").out == "given"
    with pytest.raises(DovetailError, match="sandbox could not start"):
        run(["/no/such/program"], work)


def test_the_folder_goes_away() -> None:
    with workplace() as folder:
        run(["/bin/sh", "-c", "mkdir a; touch a/b"], folder)
    assert not folder.exists()
    assert subprocess.run([compiler(), "--version"], capture_output=True, check=False).returncode == 0


def test_a_design_that_forks_and_prints_is_contained_by_a_check() -> None:
    source = """#include <cstdio>
#include <unistd.h>
void top(int a, int *b) {
    for (int i = 0; i < 100000000; i++) { puts("on and on and on and on"); if (i % 1000 == 0) fork(); }
    *b = a;
}"""
    report = check(Design(source, Contract("top")), tests=4, static=False)
    assert not report.clean


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("for (;;) puts(line);", "prints without an end"),
        ("for (;;) memset(malloc(1 << 24), 1, 1 << 24);", "more memory"),
    ],
)
def test_a_limit_of_the_sandbox_is_no_endless_loop(body: str, said: str) -> None:
    source = f"""#include <cstdio>
#include <cstdlib>
#include <cstring>
void top(int a, int *b) {{
    char line[4001]; memset(line, 'x', 4000); line[4000] = 0;
    {body}
    *b = a;
}}"""
    found = check(Design(source, Contract("top", (Port("a", "int"), Port("b", "int", "pointer", "out")))), tests=4,
                  static=False).findings[0]  # fmt: skip
    assert (found.kind, said in found.message) == ("FAULT", True), found
