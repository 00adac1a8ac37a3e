"""Fetching from boards that lie: nothing is taken that was not announced, and nothing leaves its folder.

The "board" is this machine, its agent the real one where the test does not answer in its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.profiler.agent.remote_files import MOST_FILES
from edgeprof.profiler.board import fetch as fetching
from edgeprof.profiler.board.arrival import settle
from edgeprof.profiler.board.book import Board
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import BoardError, Lost, NewerAgent, Nonsense, Refused, TooLarge
from edgeprof.profiler.board.fetch import fetch, safe_path
from edgeprof.profiler.board.job import jobs, state
from edgeprof.profiler.board.sync import local_files, sync
from edgeprof.profiler.files import CannotWrite
from tests.board_stand_in import CONTENT, JOB, RUN, answer, job_state, leave_job, local_ssh, stand_in


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A connection to a "board", of which each test says what it answers."""
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROF_SSH", str(local_ssh(folder)))
        patch.setenv("EDGEPROF_BOARD_HOME", str(folder / "home"))
        patch.setattr("edgeprof.profiler.board.connection.PAUSES", (0.0, 0.0, 0.0))
        with Connection(Board("bad", "nowhere", stand_in(folder, ""))) as found:
            yield found


@pytest.fixture
def home(connection: Connection) -> Path:
    """Where the board, honest again, keeps one job that is over."""
    answer(Path(connection.board.python).parent, "")
    place = Path(connection.hello.home)
    shutil.rmtree(place / "jobs", ignore_errors=True)
    leave_job(place)
    return place


def lie(connection: Connection, body: str) -> None:
    """From now on the board answers so."""
    answer(Path(connection.board.python).parent, body)


def _told(**more: object) -> str:
    return json.dumps({"protocol": 1, "job": JOB, **job_state(**more)})


def test_all_files_come_and_are_checked(connection: Connection, home: Path, tmp_path: Path) -> None:
    found = fetch(connection, JOB, tmp_path / "runs", print)
    again = fetch(connection, JOB, tmp_path / "runs", print)
    assert {str(path.relative_to(found.folder)): path.read_bytes() for path in _files(found.folder)} == CONTENT
    assert (found.files, found.bytes, found.total) == (4, found.total, sum(map(len, CONTENT.values())))
    assert again.bytes == 0


def test_what_is_there_is_not_sent_again_and_what_is_wrong_there_is(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    folder = fetching.make_partial(tmp_path / "runs", JOB)
    frames = f"capture/{RUN}/raw/procfs/samples.frames"
    (folder / frames).parent.mkdir(parents=True)
    (folder / frames).write_bytes(CONTENT[frames][:1_000_000])  # 24 kB are missing
    (folder / "stdout").write_bytes(b"HELLO\n")  # of the right size
    (folder / f"capture/{RUN}/manifest.partial.json").write_text("the board has it no more")
    found = fetch(connection, JOB, tmp_path / "runs", print)
    assert found.bytes == 24_000 + 6 + 3
    assert {str(path.relative_to(found.folder)): path.read_bytes() for path in _files(found.folder)} == CONTENT


def test_a_partial_file_that_is_not_the_beginning_is_fetched_anew(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    folder = fetching.make_partial(tmp_path / "runs", JOB)
    (folder / "stdout").write_bytes(b"HEL")
    fetch(connection, JOB, tmp_path / "runs", print)
    assert (folder / "stdout").read_bytes() == b"hello\n"


SEND = """
    if name == "send":
        for line in sys.stdin:
            request = json.loads(line)
            {answer}
        sys.exit()
"""
FILES = """
    if name == "files":
        {answer}
        sys.exit()
"""
ONE = '{{"path": {path}, "size": {size}, "sha256": {sum}}}'
SUM = "'0' * 64"


def _list(path: str, size: str = "1", digest: str = SUM) -> str:
    return FILES.format(
        answer=f'say({{"path": {path}, "size": {size}, "sha256": {digest}}}, {{"files": 1, "bytes": 1}})'
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (_list("'../../etc/passwd'"), "no path of a capture"),
        (_list("'/etc/passwd'"), "no path of a capture"),
        (_list("'capture/x/../../../y'"), "no path of a capture"),
        (_list("'capture//x/y'"), "no path of a capture"),
        (_list("'capture/x'"), "no path of a capture"),
        (_list("'state.json'"), "no path of a capture"),
        (_list("'capture/' + 'd/' * 50 + 'x'"), "no path of a capture"),
        (_list("'capture/x/' + 'n' * 300"), "no path of a capture"),
        (_list("'capture/x/a\\nb'"), "no path of a capture"),
        (_list("'stdout'", "1", "None"), "sha256 is"),
        (_list("'capture/x/\\x00'"), "path is"),
        (_list("5"), "path is"),
        (_list("'stdout'", "-1"), "size is"),
        (_list("'stdout'", "1.5"), "size is"),
        (_list("'stdout'", "True"), "size is"),
        (_list("'stdout'", "1 << 80"), "size is"),
        (_list("'stdout'", "1", "'xyz'"), "sha256 is"),
        (_list("'stdout'", "7"), "not whole"),
        (FILES.format(answer="say(b'[1]\\n')"), "no JSON object"),
        (FILES.format(answer="say(b'x' * 99 + b'\\n')"), "no JSON"),
        (FILES.format(answer="say(b'[' * 500000 + b'\\n')"), "no JSON"),
        (FILES.format(answer="pass"), "not whole"),
        (FILES.format(answer="say(b'{' * (2 << 20))"), "a line of more than"),
        (
            FILES.format(
                answer="[say({'path': 'capture/x/%d' % n, 'size': 0, 'sha256': '0' * 64}) for n in range(10 ** 9)]"
            ),
            "more than 20001 lines",
        ),
        (
            FILES.format(
                answer="[say({'path': p, 'size': 1, 'sha256': '0' * 64}) for p in ('capture/x/a', 'capture/x/a/b')];"
                " say({'files': 2, 'bytes': 2})"
            ),
            "a file and a folder",
        ),
        (
            FILES.format(
                answer="[say({'path': 'stdout', 'size': 1, 'sha256': '0' * 64}) for _ in '12'];"
                " say({'files': 2, 'bytes': 2})"
            ),
            "comes twice",
        ),
        (FILES.format(answer="say(b'x' * 99); sys.exit(1)"), "ended with 1 in the middle"),
        (FILES.format(answer="os.write(2, b'y' * (1 << 26)); say(b'!\\n')"), "no JSON"),
        (SEND.format(answer="say({**request, 'size': 1 << 50})"), "size is"),
        (SEND.format(answer="say({**request, 'size': -1})"), "size is"),
        (SEND.format(answer="say({**request, 'path': 'stderr', 'size': 6})"), "another file"),
        (SEND.format(answer="say({'path': request['path'], 'offset': 7, 'size': 6})"), "another file"),
        (SEND.format(answer="say({'files': 1})"), "path is"),
        (SEND.format(answer="os.execvp('sh', ['sh', '-c', 'exec cat /dev/zero'])"), "a line of more than"),
    ],
)
def test_a_hostile_answer_is_refused_and_nothing_is_written_elsewhere(
    connection: Connection, home: Path, tmp_path: Path, body: str, why: str
) -> None:
    lie(connection, body)
    before = _outside(tmp_path)
    with pytest.raises(Nonsense, match=why) as caught:
        fetch(connection, JOB, tmp_path / "runs", print)
    assert _outside(tmp_path) == before
    assert str(caught.value).startswith("board bad: its answer was refused")
    assert len(str(caught.value)) < 1000


def test_content_that_is_not_as_its_checksum_says_is_not_kept_as_a_run(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    sent = "say({**request, 'size': 6 - request['offset']}, b'HELLO!')"
    listed = f'say({{"path": "stdout", "size": 6, "sha256": {SUM}}}, {{"files": 1, "bytes": 6, "unreadable": 0}})'
    lie(connection, SEND.format(answer=sent) + FILES.format(answer=listed))
    with pytest.raises(Nonsense, match="not what its checksum says"):
        fetch(connection, JOB, tmp_path / "runs", print)


def test_a_link_that_is_put_in_the_way_is_not_followed(connection: Connection, home: Path, tmp_path: Path) -> None:
    folder = fetching.make_partial(tmp_path / "runs", JOB)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / "stdout").symlink_to(victim)
    with pytest.raises(CannotWrite):
        fetch(connection, JOB, tmp_path / "runs", print)
    assert victim.read_text() == "mine"


def test_a_folder_of_somebody_elses_choice_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    fetching.partial_folder(tmp_path, JOB).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotWrite, match="not a folder of yours"):
        fetching.make_partial(tmp_path, JOB)


def test_what_the_desk_has_no_room_for_is_not_begun(connection: Connection, home: Path, tmp_path: Path) -> None:
    listed = f'say({{"path": "stdout", "size": 1 << 43, "sha256": {SUM}}}, '
    listed += '{"files": 1, "bytes": 1 << 43, "unreadable": 0})'
    lie(connection, FILES.format(answer=listed))
    with pytest.raises(TooLarge, match=r"for the 8\.8 TB to fetch; free some"):
        fetch(connection, JOB, tmp_path / "runs", print)


def test_a_cut_resumes_where_it_was(connection: Connection, home: Path, tmp_path: Path) -> None:
    """The first two times, the connection ends after 300,000 bytes."""
    body = """
        if name == "send":
            with open(MARK, "a") as file:
                print(time.monotonic(), file=file)
            if len(open(MARK).readlines()) <= 2:
                agent = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE)
                left = 300_000
                while left > 0:
                    block = os.read(agent.stdout.fileno(), min(left, 65536))
                    say(block)
                    left -= len(block)
                agent.kill()
                os.kill(os.getpid(), signal.SIGKILL)
    """
    said: list[str] = []
    lie(connection, body)
    found = fetch(connection, JOB, tmp_path / "runs", said.append)
    assert found.bytes == found.total, "no byte came twice"
    assert len(said) == 2
    assert "connecting again" in said[0]
    assert {str(path.relative_to(found.folder)): path.read_bytes() for path in _files(found.folder)} == CONTENT


def test_a_cut_that_brings_nothing_is_not_tried_for_ever(connection: Connection, home: Path, tmp_path: Path) -> None:
    body = 'if name == "send": os.kill(os.getpid(), signal.SIGKILL)'
    lie(connection, body)
    said: list[str] = []
    with pytest.raises(Lost, match="ended during fetching"):
        fetch(connection, JOB, tmp_path / "runs", said.append)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("told", "error", "why"),
    [
        (_told(state="flying"), Nonsense, "state is 'flying'"),
        (_told(capture="../../x"), Nonsense, "capture is"),
        (_told(capture=".."), Nonsense, "capture is"),
        (_told(exit_code="0"), Nonsense, "exit_code is"),
        (_told(exit_code=10**30), Nonsense, "exit_code is"),
        (_told(owner=[1]), Nonsense, "owner is"),
        (json.dumps({"protocol": 2, "job": JOB, "news": True}), NewerAgent, "upgrade edgeprof at the desk"),
        (json.dumps({"error": "no such job\x1b[2J", "exit_code": 120}), Refused, r"no such job\\x1b"),
        ("", Nonsense, "no JSON"),
    ],
)
def test_a_jobs_state_is_checked(
    connection: Connection, home: Path, tmp_path: Path, told: str, error: type[BoardError], why: str
) -> None:
    body = f'if name == "state": say({told.encode()!r} + b"\\n"); sys.exit()'
    lie(connection, body)
    with pytest.raises(error, match=why):
        state(connection, JOB)


def test_a_run_of_a_newer_edgeprof_does_not_hide_the_others(connection: Connection, home: Path) -> None:
    newer = json.dumps({"protocol": 2, "job": "b", "news": True})
    lie(connection, f'if name == "jobs": say({newer.encode()!r} + b"\\n", {_told().encode()!r} + b"\\n"); sys.exit()')
    said: list[str] = []
    assert [state.job for state in jobs(connection, said.append)] == [JOB]
    assert "run b is of protocol 2, newer than this edgeprof's" in said[0]


def test_endless_jobs_are_refused(connection: Connection, home: Path, tmp_path: Path) -> None:
    body = f'if name == "jobs":\n    while True: say({_told().encode()!r} + b"\\n")'
    lie(connection, body)
    with pytest.raises(Nonsense, match="more than 10000 lines"):
        jobs(connection)


@pytest.mark.parametrize(
    "body",
    [
        'if name == "hello": say({"protocol": 1}); sys.exit()',
        'if name == "hello": say({"protocol": "1"}); sys.exit()',
        'if name == "hello": sys.exit()',
        'if name == "hello": sys.exit(1)',
        'if name == "hello": say(b"\\xff\\xfe\\n"); sys.exit()',
        'if name == "hello": os.execvp("yes", ["yes", "{}"])',
    ],
)
def test_a_greeting_that_is_none_is_refused(connection: Connection, home: Path, tmp_path: Path, body: str) -> None:
    lie(connection, body)
    with pytest.raises(Nonsense), Connection(connection.board):
        pass


def test_an_agent_of_another_protocol_is_not_talked_to(connection: Connection, home: Path, tmp_path: Path) -> None:
    body = 'if name == "hello": say({"protocol": 7}); sys.exit()'
    lie(connection, body)
    with pytest.raises(BoardError, match="protocol 7, and this edgeprof 1"), Connection(connection.board):
        pass


def test_a_clock_that_is_none_is_refused(connection: Connection, home: Path, tmp_path: Path) -> None:
    body = 'if name == "clock": say(b"1 2\\n"); sys.exit()'
    lie(connection, body)
    with pytest.raises(Nonsense, match="no clocks"):
        connection.read_clock()


def test_as_many_files_as_an_agent_lists_are_taken(connection: Connection, home: Path, tmp_path: Path) -> None:
    listed = f"""
        sys.stdout.write("".join(
            json.dumps({{"path": "capture/x/%d" % n, "size": 0, "sha256": {SUM}}}) + "\\n" for n in range({MOST_FILES})
        ))
        sys.stdout.flush()
        say({{"files": {MOST_FILES}, "bytes": 0, "unreadable": 7}})
    """
    lie(connection, FILES.format(answer=listed))
    found, unreadable = fetching.listing(connection, JOB)
    assert (len(found), unreadable) == (MOST_FILES, 7)


def test_a_path_of_a_capture_is_safe() -> None:
    assert str(safe_path("pi", "capture/x/raw/procfs/samples.frames")) == "capture/x/raw/procfs/samples.frames"
    assert str(safe_path("pi", "stderr")) == "stderr"


def test_a_run_whose_name_is_taken_stays_where_it_is(connection: Connection, home: Path, tmp_path: Path) -> None:
    found = fetch(connection, JOB, tmp_path / "runs", print)
    (tmp_path / "runs" / RUN).mkdir()
    with pytest.raises(CannotWrite, match="it is there already"):
        settle("bad", found.folder, tmp_path / "runs", {})
    (tmp_path / "runs" / RUN).rmdir()
    arrived = settle("bad", found.folder, tmp_path / "runs", {"board": "bad"})
    assert json.loads((arrived.path / "manifest.json").read_text()) == {"remote": {"board": "bad"}}
    assert (arrived.path / "workload.stdout").read_bytes() == b"hello\n"
    assert not found.folder.exists()


def test_a_manifest_that_cannot_be_read_does_not_cost_the_run(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    (home / "jobs" / JOB / "capture" / RUN / "manifest.json").write_bytes(b"[" * 100_000)
    found = fetch(connection, JOB, tmp_path / "runs", print)
    arrived = settle("bad", found.folder, tmp_path / "runs", {"board": "bad"})
    assert arrived.manifest == {}
    assert (arrived.path / "raw" / "procfs" / "samples.frames").is_file()


# -- the other way -----------------------------------------------------------------------------------------------------


def test_a_folder_is_sent_once_and_then_what_changed(connection: Connection, home: Path, tmp_path: Path) -> None:
    project = tmp_path / "my project"
    (project / "sub").mkdir(parents=True)
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("x")
    (project / "train.py").write_text("print(1)")
    (project / "sub" / "ü $(x)\n'").write_bytes(bytes(100_000))
    (project / "inside").symlink_to("train.py")
    (project / "outside").symlink_to("/etc/passwd")
    said: list[str] = []
    first = sync(connection, project, said.append)
    second = sync(connection, project, said.append)
    (project / "train.py").write_text("print(2)")
    (project / "inside").unlink()
    third = sync(connection, project, said.append)
    assert ((first.files, first.sent), (second.files, second.sent), (third.files, third.sent)) == (
        (3, 3),
        (3, 0),
        (2, 1),
    )
    there = home / "sync" / first.name
    assert (there / "train.py").read_text() == "print(2)"
    assert (there / "sub" / "ü $(x)\n'").stat().st_size == 100_000
    assert sorted(item.name for item in there.iterdir()) == ["sub", "train.py"]
    assert "leaves out 1 symbolic link(s)" in said[0]


def test_a_board_that_asks_for_other_files_gets_none(connection: Connection, home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "a").write_text("x")
    lie(
        connection,
        """
        if name == "receive":
            sys.stdin.readline()
            say({"missing": ["../../etc/shadow"]})
            sys.stdin.read()
            sys.exit()
        """,
    )
    with pytest.raises(Nonsense, match="not offered"):
        sync(connection, project, print)


def test_two_folders_of_one_name_stay_apart(tmp_path: Path) -> None:
    from edgeprof.profiler.board.sync import remote_name

    assert remote_name(tmp_path / "a" / "x y") != remote_name(tmp_path / "b" / "x y")
    assert remote_name(tmp_path / "a" / "x y").startswith("x-y-")


def test_sums_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (item,) = local_files(tmp_path, print)
    assert (item.path, item.size, item.sha256) == ("a", 3, hashlib.sha256(b"abc").hexdigest())


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _outside(folder: Path) -> dict[str, bytes]:
    """All files but those that are being fetched."""
    return {str(path): path.read_bytes() for path in _files(folder) if ".fetching-" not in str(path)}
