"""Tells people, and hears what they answer: the hub's side of the worker that sends.

A thread of its own owns the worker process (`hub.worker`), starts it again when it dies, and replaces it when a
message has been under way for too long; whoever uses a `Notifier` never waits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from retrowalk.hub import answers, facts, words
from retrowalk.hub.dispatch import Attempt, Dispatch, Result, Start, Way
from retrowalk.hub.settings import Contact, HubConfig
from retrowalk.hub.times import boottime_s
from retrowalk.hub.worker import Job, Order, Setting
from retrowalk.platform import Waker, no_wake

LIMIT_S = 20.0
"""A message that has been under way for longer is taken for lost, and the worker that has it is replaced."""
START_S = 30.0
"""A worker that does not begin within this time is started again."""
AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
"""Pause before a worker that died is started again, doubling while they die young."""
YOUNG_S = 5.0
END_S = 1.0
"""What is in flight when the hub ends may still arrive for so long."""
HANGS_S = 60.0
"""A thread that has not turned for so long hangs; a worn card may hold up a write of an answer for seconds."""
ALIVE_EVERY_S = 60.0
ALIVE_WITHIN_S = 30.0
"""The hub is alive when its main loop has asked for results within this time."""
LINE_MAX_BYTES = 256 * 1024
ATTEMPTS_MAX = 1000

SEVERITY = {"low": "info", "medium": "warning", "high": "failure"}
"""Apprise's words for how bad it is, which a webhook gets."""

ANSWERABLE = frozenset(
    (
        facts.Told.POSSIBLE,
        facts.Told.ALARM,
        facts.Told.REPEAT,
        facts.Told.ESCALATED,
        facts.Told.UPDATE,
        facts.Told.REMINDER,
        facts.Told.TEST,
    )
)
"""What carries buttons: whatever asks for somebody."""

_log = logging.getLogger(__name__)


class _Worker:
    """A worker process and what it has in hand."""

    def __init__(self, process: subprocess.Popen[bytes], now: float) -> None:
        self.process = process
        self.began_at = now
        self.ready = False
        self.retired = False
        self.jobs: dict[int, float] = {}
        """Jobs in flight, and since when."""
        self.unsent = bytearray()
        self.unread = bytearray()


class Notifier:
    """The contacts of `settings`, told and heard.  No method waits for anything.

    `state_dir` keeps the key and the topic of the answers (`answers.json`); None: a new one for this run only.
    `trial`: every message says that it is a test and goes to every address once, answers are not heard, and nothing
    is written.  Raises `OSError` if `state_dir` cannot be used.
    """

    def __init__(
        self,
        settings: HubConfig,
        state_dir: str | Path | None,
        *,
        trial: bool = False,
        limit_s: float = LIMIT_S,
        clock: Callable[[], float] = boottime_s,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.wake: Callable[[], None] = no_wake
        """Called, from any thread, when there are results or answers."""
        self.now: Callable[[], float] | None = None
        """Hub time.  Without it, it is reckoned from the newest notice."""
        self._settings = settings
        if trial:
            self._book = answers.Book.borrowed(state_dir)
        else:
            self._book = answers.Book.open(Path(state_dir)) if state_dir is not None else answers.Book.new()
        self._trial = trial
        self._limit_s = limit_s
        self._clock = clock
        self._wall = wall

        self._walkers = {walker.device: walker.name for walker in settings.walker}
        self._addresses: list[str] = []
        self._ways: dict[tuple[str, bool], tuple[Way, ...]] = {}
        """Of each contact, without and with the urgent ones."""
        for contact in settings.contact:
            own, urgent = self._placed(contact, contact.notify), self._placed(contact, contact.urgent)
            self._ways[contact.name, False] = own
            self._ways[contact.name, True] = own + urgent
        self._owner: dict[int, str] = {
            way.place: name for (name, urgent), ways in self._ways.items() if urgent for way in ways
        }

        self._lock = threading.Lock()
        """Around the lists that both threads touch; nobody waits while holding it."""
        self._inbox: deque[facts.Notify | int] = deque()
        self._results: list[Result] = []
        self._attempts: deque[Attempt] = deque(maxlen=ATTEMPTS_MAX)
        self._answers: list[answers.Answer] = []
        self._given = 0
        """Answers that the last call gave away: the next call says that they are safe."""
        self._safe = 0
        self._unusable: dict[int, str] = {}
        self._asked_at = -math.inf
        self._closing = False
        self._hub_minus_clock = -math.inf

        self._dispatch = Dispatch(trial=trial)
        self._workers: list[_Worker] = []
        self._since: dict[str, str] = {}
        self._start_at, self._pause_s = -math.inf, AGAIN_S
        self._alive_at = -math.inf
        self._alive_job = 0
        self._deaf: dict[str, bool] = {}
        self._selector = selectors.DefaultSelector()
        self._waker = Waker().__enter__()
        self._turned_at = self._clock()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    # --------------------------------------------------------------------------------------- for the hub's loop

    def send(self, notice: facts.Notify) -> None:
        """Tells a contact, until one of their addresses takes it or it is void; each address on its own."""
        self._hub_minus_clock = max(self._hub_minus_clock, notice.now_s - self._clock())
        self._inbox.append(notice)
        self._waker.wake()

    def void(self, notice: int) -> None:
        """A notice must not be sent any more."""
        self._inbox.append(notice)
        self._waker.wake()

    def results(self) -> list[Result]:
        """What became of notices since the last call: told after the first round, and again if one is taken later."""
        self._asked_at = self._clock()
        with self._lock:
            found, self._results = self._results, []
        return found

    def attempts(self) -> list[Attempt]:
        """Each message by each address since the last call, with its result; at most the last 1000."""
        with self._lock:
            found = list(self._attempts)
            self._attempts.clear()
        return found

    def answers(self) -> list[answers.Answer]:
        """What people answered since the last call.

        That it is called again says that the answers of the last call are safe; until then they are told again after
        a restart.
        """
        with self._lock:
            found, self._answers = self._answers, []
            self._safe, self._given = self._safe + self._given, len(found)
        if self._safe:
            self._waker.wake()
        return found

    def alive(self) -> bool:
        """Whether the thread that tells people has turned lately; it comes round every 5 s at the latest."""
        return self._thread.is_alive() and self._clock() - self._turned_at < HANGS_S

    @property
    def unusable(self) -> dict[str, str]:
        """Addresses that cannot be used: `contact: scheme` and why.  Complete a few seconds after the start."""
        with self._lock:
            found = dict(self._unusable)
        return {f"{self._owner[place]}: {self._scheme(place)}": why for place, why in sorted(found.items())}

    @property
    def worker_pid(self) -> int | None:
        """Process number of the worker that takes messages now."""
        workers = [worker for worker in list(self._workers) if not worker.retired]
        return workers[-1].process.pid if workers else None

    def close(self) -> None:
        """Ends it, within a second: what is in flight may still arrive, what waits is for the next start."""
        self._closing = True
        self._waker.wake()
        if self._thread.is_alive():
            self._thread.join(END_S + 2.0)

    # ------------------------------------------------------------------------------------------- its own thread

    def _run(self) -> None:
        self._selector.register(self._waker.fileno(), selectors.EVENT_READ)
        end_at = math.inf
        while True:
            self._turned_at = now = self._clock()
            try:
                self._step(now)
            except Exception:
                # Whatever it was, the next turn may do; a hub that tells nobody any more is the worst that can be.
                _log.exception("a turn of the notifier failed")
                time.sleep(0.2)
            if self._closing:
                end_at = min(end_at, now + END_S)
                if now >= end_at or not any(worker.jobs for worker in self._workers):
                    break
            wait_s = min(max(self._due(end_at) - self._clock(), 0.0), 5.0)
            for key, _ in self._selector.select(wait_s):
                if isinstance(key.data, _Worker):
                    self._exchange(key.data)
                else:
                    self._waker.clear()
        self._settle()
        for worker in list(self._workers):
            self._end(worker, self._clock())
        self._selector.close()
        self._waker.__exit__()

    def _due(self, end_at: float) -> float:
        times = [self._dispatch.deadline(), end_at]
        if not any(not worker.retired for worker in self._workers):
            times.append(self._start_at)
        for worker in self._workers:
            times += [since + self._limit_s for since in worker.jobs.values()]
            if not worker.ready:
                times.append(worker.began_at + START_S)
            if worker.unsent:
                times.append(self._clock() + 0.05)  # its pipe is full
        return min(times)

    def _step(self, now: float) -> None:
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, int):
                self._dispatch.void(item)
            else:
                ways = self._ways.get((item.contact, item.urgent), ())
                self._dispatch.send(item, ways, now + item.void_s - self._hub_s())
        self._settle()
        for worker in list(self._workers):
            self._watch(worker, now)
        current = next((worker for worker in self._workers if not worker.retired), None)
        if current is None and now >= self._start_at and not self._closing:
            current = self._begin(now)
        if current is not None and current.ready and not self._closing:
            for start in self._dispatch.due(now):
                self._give(current, self._job(start), now)
            self._say_alive(current, now)
        self._hand_out()

    def _hub_s(self) -> float:
        return self.now() if self.now is not None else self._clock() + max(self._hub_minus_clock, -1e9)

    def _settle(self) -> None:
        with self._lock:
            count, self._safe = self._safe, 0
        if count:
            try:
                self._book.settle(count)
            except OSError as error:
                _log.warning("answers cannot be kept: %s", error.strerror)

    def _hand_out(self) -> None:
        found, self._dispatch.results = self._dispatch.results, []
        tried, self._dispatch.attempts = self._dispatch.attempts, []
        for attempt in tried:
            if not attempt.ok:
                _log.warning("notice %d to %s by %s: %s", *attempt[:3], attempt.detail)
        if found or tried:
            with self._lock:
                self._results += found
                self._attempts += tried
            if found:
                self.wake()

    # ------------------------------------------------------------------------------------------------- workers

    def _begin(self, now: float) -> _Worker | None:
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        # Without a network the resolver's usual patience would outlast LIMIT_S, and every message cost a process.
        environment.setdefault("RES_OPTIONS", "timeout:2 attempts:2")
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "retrowalk.hub.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C at the hub's terminal is for the hub
            )
        except OSError as error:
            _log.error("no process that sends: %s", error.strerror)
            self._start_at, self._pause_s = now + self._pause_s, min(self._pause_s * 2.0, AGAIN_MAX_S)
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process, now)
        self._workers.append(worker)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        setting = Setting(
            addresses=tuple(self._addresses),
            topic=self._book.topic,
            key=self._book.key.hex(),
            since=dict(self._since),
            language=self._settings.hub.language,
            listening=not self._trial,
            port=0 if self._trial else self._settings.answers.port,
            listen=self._settings.answers.address,
            alive_url=self._settings.hub.alive_url,
        )
        self._write(worker, setting)
        return worker

    def _watch(self, worker: _Worker, now: float) -> None:
        self._exchange(worker, read=False)
        late = [job for job, since in worker.jobs.items() if now - since >= self._limit_s]
        for job in late:
            del worker.jobs[job]
            self._done(job, False, f"no answer within {self._limit_s:g} s", self._limit_s, now)
        if late and not worker.retired:
            # The thread that hangs cannot be ended but with its process.  What else that one has in hand may finish.
            _log.warning("a message hangs: the process that sends is replaced")
            worker.retired = True
            self._write(worker, Order(retire=True))
        if not worker.ready and now - worker.began_at >= START_S:
            _log.warning("the process that sends does not begin")
            self._end(worker, now)
        elif (worker.retired and not worker.jobs) or worker.process.poll() is not None:
            self._end(worker, now)

    def _end(self, worker: _Worker, now: float) -> None:
        """Ends a worker, or takes note that it has; what it had in hand is sent again."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type] # a pipe, by how it was made
        died = worker.process.poll()
        if died is None:
            worker.process.kill()
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._dispatch.lost(worker.jobs, now)
        if not worker.retired and not self._closing:
            young = now - worker.began_at < YOUNG_S
            _log.warning("the process that sends has ended (%s): started again", died)
            self._start_at = now + (self._pause_s if young else 0.0)
            self._pause_s = min(self._pause_s * 2.0, AGAIN_MAX_S) if young else AGAIN_S

    def _give(self, worker: _Worker, job: Job, now: float) -> None:
        worker.jobs[job.job] = now
        self._write(worker, job)

    def _write(self, worker: _Worker, message: Setting | Job | Order) -> None:
        worker.unsent += msgspec.json.encode(message) + b"\n"
        self._exchange(worker, read=False)

    def _exchange(self, worker: _Worker, *, read: bool = True) -> None:
        """Moves what the pipes take and have."""
        if worker not in self._workers:
            return
        pipe_in, pipe_out = worker.process.stdin, worker.process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            while worker.unsent:
                del worker.unsent[: os.write(pipe_in.fileno(), worker.unsent[:65536])]
        except BlockingIOError:
            pass  # it reads nothing now; a worker that hangs is replaced by the limit of its jobs
        except OSError:
            pass  # it is gone, as the next turn will see
        if not read:
            return
        try:
            content = os.read(pipe_out.fileno(), 65536)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            if worker.process.poll() is None:
                worker.process.kill()  # it speaks no more, and that is all it is for
            self._end(worker, self._clock())
            return
        worker.unread += content
        *lines, rest = worker.unread.split(b"\n")
        worker.unread = bytearray(rest[-LINE_MAX_BYTES:])
        for line in lines:
            try:
                self._hear(worker, json.loads(line))
            except (ValueError, KeyError, TypeError):
                _log.warning("the process that sends said something strange")

    def _hear(self, worker: _Worker, said: dict[str, Any]) -> None:
        now = self._clock()
        if "done" in said and said["done"] in worker.jobs:
            del worker.jobs[said["done"]]
            self._done(said["done"], said["ok"], said["detail"], said["took_s"], now, said["again_s"], said["gone"])
        if "ready" in said:
            worker.ready = True
        if "answer" in said:
            problem = self._answered(said["token"], said["do"], said["by"], said["via"])
            if said["answer"]:
                self._write(worker, Order(taken=said["answer"], problem=problem))
        if "since" in said:
            self._since[said["stream"]] = said["since"]
        if "heard" in said:
            if said["heard"] == self._deaf.get(said["stream"], False):
                self._deaf[said["stream"]] = not said["heard"]
                state = "heard" if said["heard"] else f"not heard: {said['detail']}"
                _log.warning("answers through %s are %s", said["stream"].partition("://")[2], state)
        if "links" in said and not said["links"]:
            _log.error("answers.port = %d: cannot listen there: %s", self._settings.answers.port, said["detail"])
        for place, why in said.get("unusable", ()):
            with self._lock:
                known = place in self._unusable
                self._unusable[place] = why
            if not known:
                _log.error("an address of %s (%s) cannot be used: %s", self._owner[place], self._scheme(place), why)
        if "trouble" in said:
            _log.warning("the process that sends is in trouble: %s", said["trouble"])

    def _done(
        self, job: int, ok: bool, detail: str, took_s: float, now: float, again_s: float = 0.0, gone: bool = False
    ) -> None:
        if job < 0:
            if not ok:
                _log.warning("hub.alive_url: %s", detail)
            return
        self._dispatch.done(job, ok, detail, took_s, now, again_s=again_s, gone=gone)

    def _say_alive(self, worker: _Worker, now: float) -> None:
        due = self._settings.hub.alive_url and now - self._alive_at >= ALIVE_EVERY_S
        if due and now - self._asked_at <= ALIVE_WITHIN_S:
            self._alive_at = now
            self._alive_job -= 1
            self._give(worker, Job(job=self._alive_job), now)

    # ----------------------------------------------------------------------------------------- words and answers

    def _placed(self, contact: Contact, addresses: tuple[str, ...]) -> tuple[Way, ...]:
        ways: list[Way] = []
        for address in addresses:
            scheme = address.partition(":")[0]
            alike = 1 + sum(way.scheme.partition(" ")[0] == scheme for way in ways)
            ways.append(Way(len(self._addresses), scheme if alike == 1 else f"{scheme} {alike}"))
            self._addresses.append(address)
        return tuple(ways)

    def _scheme(self, place: int) -> str:
        return self._addresses[place].partition(":")[0]

    def _job(self, start: Start) -> Job:
        """The words of a notice for one address."""
        notice, hub = start.notice, self._settings.hub
        alert = notice.alert
        # Its words tell of the moment for which it was made: "for 3 minutes" was true then.
        wall_s = self._wall() - (self._hub_s() - notice.now_s)
        walker = self._walkers.get(alert.device, "")
        try:
            title, body = words.message(notice, wall_s=wall_s, language=hub.language, walker=walker)
        except Exception:
            # Better an alarm in bare words than none: what a device wrote may be beyond all that was foreseen.
            _log.exception("no words for notice %d", notice.notice)
            title = f"{alert.kind.value}: {words.shown(walker or alert.device)}"
            body = f"retrowalk: {alert.kind.value}, {notice.why.value}."
        said = answers.words(hub.language)
        token = ""
        fields: dict[str, Any] = {}
        if notice.why in ANSWERABLE:
            test = notice.why is facts.Told.TEST or self._trial
            ticket = answers.Ticket(
                -1 if test else alert.number,
                notice.contact,
                alert.device,
                answers.TEST if test else alert.kind.value,
                notice.now_s,
            )
            token = answers.token(self._book.key, ticket)
            url = self._settings.answers.url.rstrip("/")
            if url:
                fields["answer_url"] = link = f"{url}/a/{token}"
            scheme = self._scheme(start.place)
            if not scheme.startswith(("ntfy", "json")):
                how = (
                    said["how"]["link"].format(url=link)
                    if url
                    else said["how"]["command"].format(alert=alert.number, contact=notice.contact)
                )
                if url or not test:
                    body = f"{body}\n\n{how}"
        if self._trial:
            title = said["test"]["title"].format(title=title)
            body = said["test"]["body"].format(body=body)
        fields |= {
            "version": "1.0",
            "type": "success" if notice.why is facts.Told.ALL_CLEAR else SEVERITY.get(notice.priority, "info"),
            "attachments": [],
            "notice": notice.notice,
            "alert": alert.number,
            "device": alert.device,
            "kind": alert.kind.value,
            "stage": alert.stage.value,
            "why": notice.why.value,
            "priority": notice.priority,
            "contact": notice.contact,
            "test": self._trial or notice.why is facts.Told.TEST,
        }
        return Job(
            job=start.job, at=start.place, title=title, body=body, level=notice.priority, why=notice.why.value,
            token=token, fields=fields,
        )  # fmt: skip

    def _answered(self, token: str, deed: str, by: str, via: str) -> str:
        """Takes an answer; returns why it does not count, or nothing."""
        ticket = self._book.take(token, deed, self._hub_s())
        if isinstance(ticket, str):
            _log.info("an answer by %s %s", via, ticket)
            return ticket
        person = answers.name(by) or ticket.contact
        if ticket.kind == answers.TEST:
            _log.info("%s has answered a test by %s", person, via)
            return ""
        said = answers.COMING if deed == answers.COMING else ""
        with self._lock:
            self._answers.append(answers.Answer(person, ticket.alert, deed == answers.OVER, via, said))
        self.wake()
        return ""
