"""The commands that look into Redis: what they print, what they leave behind, how they end."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from support.documents import ROOT

from forkworker.cli import output
from forkworker.cli.main import main
from forkworker.store import walks
from store.scene import ALICE, BOB, job, jobs, listed, put, world

if TYPE_CHECKING:
    import redis as redispy
    from support.servers import RedisServer

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.store

NASTY = "\x1b[31m\u202e<script>\u05d0\u05d1\x00\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: Patch, redis_server: RedisServer, redis: redispy.Redis, tmp_path: Any) -> None:  # noqa: ARG001
    for name in list(os.environ):
        if name.startswith(("FORKWORKER_", "REDIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FORKWORKER_REDIS_URL", redis_server.url)
    monkeypatch.chdir(tmp_path)


def failed(number: int, **fields: Any) -> bytes:
    now = time.time()
    usual = {"class": "shop.resize", "queue": "mail", "retry_count": 0, "failed_at": now - 90, "created_at": now - 200}
    return job(number, **usual | {"error_class": "ValueError", "error_message": f"no {number}"} | fields)


def said(capsys: Capture) -> str:
    return capsys.readouterr().out


def shown(capsys: Capture) -> Any:
    return json.loads(said(capsys))


# Looking


def test_queues_are_listed_with_what_is_paused(redis: redispy.Redis, capsys: Capture) -> None:
    redis.sadd("queues", "mail", "a" * 60)
    put(redis, "queue:mail", [job(1, enqueued_at=time.time() - 90), *jobs(*range(1234))])

    assert main(["pause", "mail"]) == 0
    assert main(["pause", "mail"]) == 0
    assert said(capsys) == "forkworker: mail is paused\nforkworker: mail is paused already\n"
    assert main(["queues"]) == 0
    lines = said(capsys).splitlines()
    assert max(map(len, lines)) <= 80
    assert re.search(r"^mail +1,235 +2 min  paused$", lines[2])
    assert main(["queues", "--json"]) == 0
    assert [queue["paused"] for queue in shown(capsys)["queues"]] == [False, True]
    assert main(["unpause", "mail", "--json"]) == 0
    assert shown(capsys) == {"queue": "mail", "paused": False, "changed": True}
    assert not redis.exists("paused")


def test_a_page_says_how_to_see_the_next(redis: redispy.Redis, capsys: Capture) -> None:
    redis.zadd("retry", {failed(n): n for n in range(60)})

    assert main(["jobs", "list", "retries", "--start", "20"]) == 0
    lines = said(capsys).splitlines()
    assert lines[0] == "retry: 25 of 60 jobs"
    assert lines[-1] == "there are more: --start 45"
    assert re.fullmatch(r"jid-20 +2 min +shop\.resize +ValueError: no 20", lines[2])
    assert max(map(len, lines)) <= 80
    assert main(["jobs", "list", "retry", "--start", "45", "--count", "25", "--json"]) == 0
    page = shown(capsys)
    assert (page["size"], page["start"], page["more"], len(page["jobs"])) == (60, 45, False, 15)
    assert main(["jobs", "list", "scheduled"]) == 0
    assert said(capsys) == "schedule: none of 0 jobs\n"


@pytest.mark.parametrize("words", [["queue", "mail"], ["queue:mail"]])
def test_the_jobs_of_a_queue_are_listed_with_their_arguments(
    redis: redispy.Redis, capsys: Capture, words: list[str]
) -> None:
    put(redis, "queue:mail", [job(n, args=[n, "ü"], kwargs={"fast": True}, enqueued_at=time.time()) for n in (1, 2)])

    assert main(["jobs", "list", *words]) == 0

    assert re.search(r"^jid-1 +0\.\d s +Job +1, \"ü\", fast=true$", said(capsys), re.MULTILINE)


def test_filters_say_which_jobs(redis: redispy.Redis, capsys: Capture) -> None:
    kinds = ["shop.resize", "shop.mail"]
    redis.zadd("dead", {failed(n, **{"class": kinds[n % 2]}): time.time() - 3600 * n for n in range(10)})

    assert main(["jobs", "list", "dead", "--name", "shop.ma*", "--since", "6h", "--error", "no", "--json"]) == 0
    assert [each["jid"] for each in shown(capsys)["jobs"]] == ["jid-1", "jid-3", "jid-5"]
    assert main(["jobs", "list", "dead", "--before", "5.5h", "--count", "2", "--json"]) == 0
    page = shown(capsys)
    assert ([each["jid"] for each in page["jobs"]], page["more"]) == (["jid-6", "jid-7"], True)


def test_all_of_a_job_is_shown_with_its_traceback(redis: redispy.Redis, capsys: Capture) -> None:
    trace = base64.b64encode(zlib.compress(b'["shop.py:1:in &lt;module&gt;"]')).decode()
    redis.zadd("retry", {failed(7, args=["a.jpg"], error_backtrace=trace, tags=["x"]): time.time() + 600})

    assert main(["jobs", "show", "jid-7"]) == 0
    text = said(capsys)
    for part in (
        r"job +shop\.resize", r"place +retry, due 2.*\(in 10 min\)", r"queue +mail", r'arguments  "a\.jpg"', r"tags +x",
        r"created +2.*ago\)", r"failures +1", r"error +ValueError: no 7", r"traceback.*:\n  shop\.py:1:in <module>\n",
    ):  # fmt: skip
        assert re.search(part, text), (part, text)
    assert main(["jobs", "show", "jid-7", "retries", "--json"]) == 0
    assert shown(capsys)["backtrace"] == ["shop.py:1:in <module>"]


def test_a_job_that_runs_is_found_too(redis: redispy.Redis, capsys: Capture) -> None:
    redis.sadd("processes", ALICE)
    redis.hset(ALICE, "info", "{}")
    redis.hset(f"{ALICE}:work", "t1", json.dumps({"queue": "mail", "payload": job(9).decode(), "run_at": 6}))

    assert main(["jobs", "show", "jid-9"]) == 0
    assert re.search(rf"^place +running in {ALICE}, t1, since 1970-", said(capsys), re.MULTILINE)
    assert main(["jobs", "show", "jid-8"]) == 1
    assert "no job jid-8 anywhere" in capsys.readouterr().err


def test_a_job_in_somebodys_hands_is_shown_whole_whether_it_runs_or_not(redis: redispy.Redis, capsys: Capture) -> None:
    """What is published of a job that runs may be shortened; what a dead process had taken is shown by nobody."""
    redis.sadd("processes", ALICE)
    redis.hset(ALICE, "info", "{}")
    short = {"class": "Job", "jid": "jid-1", "args": ["(9 bytes)"]}
    redis.hset(f"{ALICE}:work", "t1", json.dumps({"queue": "mail", "payload": json.dumps(short), "run_at": 6}))
    redis.sadd("working", listed("mail"), listed("mail", BOB))
    put(redis, listed("mail"), jobs(0, 1))
    put(redis, listed("mail", BOB), jobs(2))

    assert main(["jobs", "show", "jid-1", "--json"]) == 0
    told = shown(capsys)
    assert (told["payload"].encode(), told["place"], told["queue"]) == (job(1), listed("mail"), "mail")
    assert told["running"] == {"identity": ALICE, "thread": "t1", "since": 6}
    assert main(["jobs", "show", "jid-2"]) == 0
    assert re.search(rf"^place +taken by {BOB}, which has not started it", said(capsys), re.MULTILINE)


def test_what_runs_is_listed_the_longest_first(redis: redispy.Redis, capsys: Capture) -> None:
    now = int(time.time())
    for identity, numbers in ((ALICE, (1, 2)), (BOB, (3,))):
        redis.sadd("processes", identity)
        redis.hset(identity, "info", "{}")
        for n in numbers:
            work = {"queue": "mail", "payload": job(n, **{"class": "shop.resize"}).decode(), "run_at": now - 60 * n}
            redis.hset(f"{identity}:work", f"t{n}", json.dumps(work))

    assert main(["jobs", "list", "running"]) == 0
    lines = said(capsys).splitlines()
    assert lines[0] == "running: 3 of 3 jobs"
    assert [line.split()[0] for line in lines[2:]] == ["jid-3", "jid-2", "jid-1"]
    assert re.search(r"^jid-3 +3 min +shop\.resize +host:", lines[2])
    assert main(["jobs", "list", "running", "--name", "shop.*", "--start", "1", "--count", "1", "--json"]) == 0
    page = shown(capsys)
    assert (page["size"], page["more"], [each["running"]["thread"] for each in page["jobs"]]) == (3, True, ["t2"])
    assert max(map(len, lines)) <= 80


def test_what_a_silent_process_seems_to_run_is_doubted(redis: redispy.Redis, capsys: Capture) -> None:
    """A tree that was killed at once: it stands in Redis until its lease is over."""
    for identity, age, number in ((ALICE, 30, 1), (BOB, 0, 2)):
        redis.sadd("processes", identity)
        redis.hset(identity, mapping={"info": "{}", "beat": time.time() - age})
        work = {"queue": "mail", "payload": job(number).decode(), "run_at": int(time.time()) - 60}
        redis.hset(f"{identity}:work", "t1", json.dumps(work))
    doubt = f"forkworker: {ALICE} may not run these any more: no beat for 12 s, see forkworker doctor\n"

    for words, told in (("list running", doubt), ("show jid-1", doubt), ("show jid-2", "")):
        assert main(["jobs", *words.split()]) == 0
        assert capsys.readouterr().err == told


def test_that_nothing_matches_is_told_from_an_empty_set(redis: redispy.Redis, capsys: Capture) -> None:
    assert main(["jobs", "retry", "retries", "--name", "shop.recipt"]) == 0
    assert said(capsys) == "forkworker: 0 jobs retried\n"
    redis.zadd("retry", {failed(n): n for n in range(3)})
    assert main(["jobs", "retry", "retries", "--name", "shop.recipt"]) == 0
    assert said(capsys) == "forkworker: 0 jobs retried: none of 3 in retry matches\n"
    assert redis.zcard("retry") == 3


def test_jobs_are_counted_by_kind_the_most_frequent_first(redis: redispy.Redis, capsys: Capture) -> None:
    now = time.time()
    errors = {"error_class": "shop.mail.SmtpDown", "error_message": "no answer"}
    redis.zadd("retry", {failed(n, retried_at=now - 60 * n, **errors): n for n in range(1, 8)})
    redis.zadd("retry", {failed(n, **{"class": "shop.mail"}): n for n in range(8, 11)})

    assert main(["jobs", "kinds", "retries"]) == 0
    lines = said(capsys).splitlines()
    assert lines[0] == "retry: 10 of 10 jobs, of 2 kinds"
    assert re.fullmatch(r" +7 1 min +shop\.resize +SmtpDown: no answer", lines[2])
    assert re.fullmatch(r" +3 2 min +shop\.mail +ValueError: no \d+", lines[3])
    assert main(["jobs", "kinds", "retries", "--error", "Smtp", "--json"]) == 0
    (kind,) = shown(capsys)["kinds"]
    assert (kind["count"], kind["error_class"], kind["jid"]) == (7, "shop.mail.SmtpDown", "jid-1")
    assert kind["newest"] - kind["oldest"] == pytest.approx(360, abs=1)
    put(redis, "queue:mail", jobs(*range(5)))
    assert main(["jobs", "kinds", "queue", "mail"]) == 0
    assert re.search(r"\n +5 - +Job$", said(capsys).rstrip())


def test_a_queue_that_was_never_used_is_told_from_an_empty_one(redis: redispy.Redis, capsys: Capture) -> None:
    redis.sadd("queues", "mail")

    assert main(["jobs", "list", "queue", "mail"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["jobs", "list", "queue", "mial"]) == 0
    assert "there is no queue mial" in capsys.readouterr().err
    assert main(["pause", "mial"]) == 0
    assert said(capsys) == "forkworker: mial is paused; nothing was pushed into a queue of that name yet\n"
    assert main(["queues", "--clear", "mial"]) == 0
    assert said(capsys) == "forkworker: there is no queue mial\n"


def test_processes_are_listed_and_one_is_quieted(redis: redispy.Redis, capsys: Capture) -> None:
    for identity in (ALICE, BOB):
        redis.sadd("processes", identity)
        fields = {"info": "{}", "busy": 1, "concurrency": 25, "quiet": "true", "rss": 204800, "beat": time.time()}
        redis.hset(identity, mapping=fields)
    redis.hset(BOB, "beat", time.time() - 30)

    assert main(["processes"]) == 0
    lines = said(capsys).splitlines()
    assert re.match(rf"{ALICE} +1/25 .* 200 MB quiet", lines[1])
    assert re.match(rf"{BOB} +1/25 .* 200 MB silent", lines[2])
    assert max(map(len, lines)) <= 80
    assert main(["processes", "quiet", "aaaa"]) == 0
    assert main(["processes", "stop", BOB, "--json"]) == 0
    assert redis.lrange(f"{ALICE}-signals", 0, -1) == [b"TSTP"]
    assert redis.lrange(f"{BOB}-signals", 0, -1) == [b"TERM"]
    for words, complaint in ((["host"], "2 processes have"), (["carol"], "no process has"), ([], "say which process")):
        assert main(["processes", "stop", *words]) == 1
        assert complaint in capsys.readouterr().err


def test_status_names_orphans_and_paused_queues(redis: redispy.Redis, capsys: Capture) -> None:
    redis.sadd("queues", "mail")
    redis.sadd("paused", "mail")
    for number in range(7):
        owner = f"host:{number + 1}:aaaaaaaaaaaa"
        redis.sadd("working", listed("mail", owner))
        put(redis, listed("mail", owner), jobs(number))

    assert main(["status"]) == 0
    text = said(capsys)
    assert re.search(r"mail +0 +0\.0 s  paused\n", text)
    assert re.search(r"orphans +7\n    1 of mail, left by host:1:aaaaaaaaaaaa\n", text)
    assert "and others: 2 working lists" in text
    assert main(["status", "--json"]) == 0
    assert len(shown(capsys)["redis"]["orphans"]) == 7


# Moving


def test_jobs_are_retried_buried_and_deleted_as_told(redis: redispy.Redis, capsys: Capture) -> None:
    redis.zadd("retry", {failed(n): n for n in range(9)})

    assert main(["jobs", "retry", "retries", "--jid", "jid-0"]) == 0
    assert main(["jobs", "bury", "retry", "--jid", "jid-1", "--yes"]) == 0
    assert main(["jobs", "delete", "retry", "--error", "no 2", "--yes", "--json"]) == 0
    text = said(capsys)
    assert text.startswith("forkworker: 1 job retried\nforkworker: 1 job buried\n{")
    assert json.loads(text[text.index("{") :]) == {
        "place": "retry", "action": "delete", "done": 1, "gone": 0, "refused": 0,
    }  # fmt: skip
    assert (redis.llen("queue:mail"), redis.zcard("dead"), redis.zcard("retry")) == (1, 1, 6)
    assert main(["jobs", "retry", "retry", "--jid", "jid-0"]) == 1
    assert main(["jobs", "delete", "retry", "--all", "--yes"]) == 0
    assert said(capsys) == "forkworker: 0 jobs retried: none of 6 in retry matches\nforkworker: 6 jobs deleted\n"
    assert sorted(world(redis)) == ["dead", "queue:mail", "queues"]


@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "delete", "retry", "--all"],
        ["jobs", "bury", "retry", "--name", "shop.resize"],
        ["queues", "--clear", "mail"],
    ],
)
def test_nothing_is_destroyed_where_there_is_nobody_to_ask(
    redis: redispy.Redis, capsys: Capture, words: list[str]
) -> None:
    redis.zadd("retry", {failed(n): n for n in range(3)})
    put(redis, "queue:mail", jobs(1))
    before = world(redis)

    assert main(words) == 1

    assert re.search(
        r"nothing was done, as there is nobody to ask \(.* (3|1) jobs? ?.*\?\): say --yes", capsys.readouterr().err
    )
    assert world(redis) == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["delete", "retry", "--yes"], "say which jobs"),
        (["retry", "retries"], "say which jobs"),
        (["list", "nowhere"], "is no place for jobs: use retries, dead, scheduled, or queue NAME"),
        (["list", "queue"], "is no place for jobs"),
        (["list"], "say where: retries, dead, scheduled, or queue NAME"),
        ([], "say what to do: list, kinds, show, retry, bury, delete"),
        (["delete", "running", "--all"], "are in the hands of their processes"),
        (["retry", "queue", "mail", "--all"], "are in their queue already"),
        (["bury", "dead", "--all"], "are dead already"),
        (["list", "retry", "--since", "soon"], "is no time"),
        (["show", "jid-1", "retry"], "there is no job jid-1 in retry"),
    ],
)
def test_words_that_do_not_say_what_is_meant_change_nothing(
    redis: redispy.Redis, capsys: Capture, words: list[str], complaint: str
) -> None:
    redis.zadd("retry", {failed(2): 5})

    assert main(["jobs", *words]) == 1

    assert complaint in capsys.readouterr().err
    assert redis.zcard("retry") == 1


def test_ctrl_c_ends_a_move_between_two_steps_and_says_how_far_it_came(
    redis: redispy.Redis, capsys: Capture, monkeypatch: Patch
) -> None:
    redis.zadd("retry", {failed(n): n for n in range(3000)})
    read = walks.Walk.read

    def interrupt(walk: walks.Walk, most: int = 1000) -> list[walks.Found]:
        if walk.position == 0 and redis.llen("queue:mail") > 70:
            os.kill(os.getpid(), signal.SIGINT)
        return read(walk, most)

    monkeypatch.setattr(walks.Walk, "read", interrupt)

    assert main(["jobs", "retry", "retry", "--all"]) == 130

    done = redis.llen("queue:mail")
    assert 70 < done < 3000
    assert done + redis.zcard("retry") == 3000
    assert said(capsys) == f"forkworker: {done:,} jobs retried; interrupted: the rest is as it was\n"


def test_redis_away_is_told_in_a_line_without_the_password(capsys: Capture) -> None:
    assert main(["queues", "--redis", "redis://:hunter2@127.0.0.1:1/0"]) == 1

    captured = capsys.readouterr()
    assert captured.err.startswith("forkworker: Redis at redis://127.0.0.1:1/0 cannot be reached: Error 111")
    assert captured.err.endswith("(--redis names another)\n")
    assert "hunter2" not in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("line", ["jobs list retry --count 5000", "status --watch 0.1 --json"])
def test_a_reader_that_goes_away_is_no_error(redis: redispy.Redis, redis_server: RedisServer, line: str) -> None:
    """As with ``| head -1``."""
    redis.zadd("retry", {failed(n): n for n in range(5000)})
    command = [sys.executable, "-m", "forkworker", *line.split()]
    environment = {
        "PATH": os.environ["PATH"],
        "FORKWORKER_REDIS_URL": redis_server.url,
        "RUNTIME_DIRECTORY": "/nowhere",
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=ROOT, text=True
    ) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline()
        running.stdout.close()
        assert running.wait(20) == 1
        assert running.stderr.read() == ""


# Row 3: strange text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_every_letter_shows_the_rest(
    redis: redispy.Redis, redis_server: RedisServer, encoding: str
) -> None:
    redis.zadd("retry", {failed(1, **{"class": "größe.日本"}): 1})
    environment = {"PATH": os.environ["PATH"], "FORKWORKER_REDIS_URL": redis_server.url, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "forkworker", "jobs", "show", "jid-1"],
        env=environment, cwd=ROOT, capture_output=True, check=True, timeout=20,
    )  # fmt: skip

    assert ("größe" if encoding == "latin-1" else "gr\\xf6\\xdfe") + ".\\u65e5\\u672c" in done.stdout.decode(encoding)
    assert done.stderr == b""


COMMANDS = ("status", "queues", "processes", "jobs list retry", "jobs list queue:mail", "jobs list dead")


def strange(text: str) -> bytes:
    usual = {"class": text, "queue": text, "args": [text, {text: text}], "kwargs": {"k": text}, "tags": [text]}
    error = {"error_class": text, "error_message": text, "failed_at": 5.0, "retry_count": 0}
    trace = base64.b64encode(zlib.compress(json.dumps([text] * 3).encode())).decode()
    return json.dumps({**usual, **error, "jid": "strange", "error_backtrace": trace}).encode()


@pytest.mark.parametrize("text", [NASTY, NASTY * 30], ids=["short", "long"])
def test_strange_text_is_shown_safely(redis: redispy.Redis, capsys: Capture, text: str) -> None:
    redis.sadd("queues", text)
    redis.sadd("processes", ALICE)
    redis.hset(ALICE, mapping={"info": json.dumps({"tag": text, "hostname": text}), "busy": 1})
    redis.hset(f"{ALICE}:work", "t", json.dumps({"queue": text, "payload": strange(text).decode(), "run_at": 5}))
    redis.zadd("retry", {strange(text): 5})
    redis.zadd("dead", {b"\xff no job " + text.encode(): 5})
    put(redis, "queue:mail", [strange(text)])

    for command in COMMANDS:
        assert main(command.split()) == 0
        lines = said(capsys).splitlines()
        assert all(line.isprintable() for line in lines), lines
        assert max(map(output.columns, lines)) <= 80
        assert main([*command.split(), "--json"]) == 0
        assert said(capsys).replace("\n", "").isprintable()
    assert main(["jobs", "show", "strange"]) == 0
    assert said(capsys).replace("\n", "").isprintable()


@pytest.mark.parametrize("letter", ["x", "\u202e"], ids=["plain", "override"])
def test_ten_megabytes_are_cut_where_people_read_and_whole_for_programs(
    redis: redispy.Redis, capsys: Capture, letter: str
) -> None:
    text = letter * (10_000_000 // len(letter.encode()))
    payload = {"class": "Job", "jid": "large", "args": [text], "error_class": "E", "error_message": text[:999]}
    redis.zadd("retry", {json.dumps(payload, ensure_ascii=False).encode(): 5, **{failed(n): 6 for n in range(30)}})

    assert main(["jobs", "list", "retry"]) == 0
    lines = said(capsys).splitlines()
    assert len(lines) == 2 + 25 + 1
    assert max(map(output.columns, lines)) <= 80
    assert main(["jobs", "show", "large"]) == 0
    shown_text = said(capsys)
    assert shown_text.replace("\n", "").isprintable()
    assert len(shown_text) < 50_000
    assert f"({len(text) + 2:,} characters; --json has them all)" in shown_text
    assert main(["jobs", "show", "large", "retry", "--json"]) == 0
    assert shown(capsys)["args"][0] == text


def test_what_is_no_job_is_listed_and_shown_with_the_reason(redis: redispy.Redis, capsys: Capture) -> None:
    redis.zadd("dead", {b'{"jid":"odd","class":5}': 5, b"\xff": 6, b"[" * 100_000: 7})

    assert main(["jobs", "list", "dead"]) == 0
    assert said(capsys).count("not JSON") == 2
    assert main(["jobs", "show", "odd", "dead"]) == 0
    assert "this is no job: no field 'class'" in said(capsys)
