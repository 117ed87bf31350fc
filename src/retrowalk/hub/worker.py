"""The process that sends: one for the hub, that may hang, be killed and be started again without harm.

`python -m retrowalk.hub.worker`.  It reads JSON lines from standard input, first a `Setting`, then `Job`s, and writes
JSON lines to standard output.  Addresses and keys come by that pipe alone: they stand in no argument, environment,
file or log.  When the pipe ends, so does it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from retrowalk.hub import answers, links, ntfy, web, webhook
from retrowalk.hub.services import Service

BIND_AGAIN_S = 1.0
TAKEN_S = 3.0
"""The hub says within this time whether an answer by link counts."""
RETRY_AFTER_MAX_S = 60.0


class Setting(Struct, frozen=True, kw_only=True):
    """All that a worker must know."""

    addresses: tuple[str, ...] = ()
    """A `Job` names one by its place here."""
    topic: str = ""
    """Where ntfy answers arrive; empty: messages carry no buttons."""
    listening: bool = True
    """Whether this one hears them."""
    key: str = ""
    """For links, in hexadecimal digits."""
    since: dict[str, str] = {}
    """The last message heard of each ntfy server."""
    language: str = "en"
    port: int = 0
    listen: str = ""
    alive_url: str = ""


class Job(Struct, frozen=True, kw_only=True):
    """One message to one address, once."""

    job: int
    at: int = -1
    """Place of the address; -1: the address that says the hub is alive."""
    title: str = ""
    body: str = ""
    level: str = "low"
    why: str = ""
    token: str = ""
    """Ticket of the answer; empty: nothing can be answered."""
    fields: dict[str, Any] = {}
    """For a webhook."""


class Order(Struct, frozen=True, kw_only=True):
    """Anything else the hub says."""

    retire: bool = False
    """Finish what flies, and listen to nothing any more."""
    taken: int = 0
    """Number of an answer by link ..."""
    problem: str = ""
    """... and why it does not count; empty: it does."""


class Worker:
    """Does the jobs, each in a thread of its own: who hangs holds up nobody."""

    def __init__(self, setting: Setting, out: BinaryIO) -> None:
        self._setting = setting
        self._out = out
        self._lock = threading.Lock()
        self._key = bytes.fromhex(setting.key)
        self._ntfy: dict[int, ntfy.Ntfy] = {}
        self._webhooks: dict[int, webhook.Webhook] = {}
        self._services: dict[int, Service] = {}
        self._problems: dict[int, str] = {}
        self._streams: list[ntfy.Stream] = []
        self._server: links.Server | None = None
        self._asked: dict[int, tuple[threading.Event, list[str]]] = {}
        self._asks = 0
        self._retired = threading.Event()
        self._warm = threading.Event()

    def start(self) -> None:
        """Reads the addresses, and begins to listen."""
        for place, address in enumerate(self._setting.addresses):
            scheme = address.partition(":")[0].lower()
            hook = webhook.read(address) if scheme in webhook.SCHEMES else None
            if scheme in ntfy.SCHEMES:
                try:
                    self._ntfy[place] = ntfy.read(address)
                except ValueError as error:
                    self._problems[place] = str(error)
            elif hook is not None:
                self._webhooks[place] = hook
            else:
                self._services[place] = Service(address)
        self.say(ready=True)
        if self._problems:
            self.say(unusable=[[place, why] for place, why in self._problems.items()])
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()
        servers = {to.server: to for to in reversed(self._ntfy.values())}  # the first address of each server
        if self._setting.topic and self._setting.listening:
            for server, to in servers.items():
                self._listen(server, to)
        if self._setting.port:
            threading.Thread(target=self._serve, name="links", daemon=True).start()

    def _warm_up(self) -> None:
        """Imports Apprise and makes its objects before somebody needs them, and says which cannot be used."""
        found = {place: why for place, service in self._services.items() if (why := service.problem())}
        self._problems.update(found)
        self._warm.set()
        self.say(warm=True, unusable=[[place, why] for place, why in found.items()])

    # ------------------------------------------------------------------------------------------------- sending

    def do(self, job: Job) -> None:
        """Begins a job."""
        threading.Thread(target=self._do, args=(job,), name=f"job-{job.job}", daemon=True).start()

    def _do(self, job: Job) -> None:
        began = time.monotonic()
        again_s = 0.0
        try:
            ok, detail, again_s = self._send(job)
        except web.WebError as error:
            ok, detail = False, str(error)
        except Exception as error:  # a job that fails in a way nobody has thought of is a failed job, not the end
            ok, detail = False, f"failed ({type(error).__name__})"
        took_s = round(time.monotonic() - began, 3)
        gone = job.at in self._problems
        self.say(done=job.job, ok=ok, detail=detail, took_s=took_s, again_s=again_s, gone=gone)

    def _send(self, job: Job) -> tuple[bool, str, float]:
        """Sends once: taken, why not, and seconds before which it is not to be tried again."""
        place = job.at
        if place < 0:
            reply = web.request("GET", self._setting.alive_url)
            return _judged(reply)
        if place in self._services:
            self._warm.wait()
        if place in self._problems:
            return False, self._problems[place], 0.0
        if place in self._ntfy:
            return self._publish(job, self._ntfy[place])
        if place in self._webhooks:
            hook = self._webhooks[place]
            reply = webhook.post(hook, {**job.fields, "title": job.title, "message": job.body})
            deed, by = webhook.answer(reply) if 200 <= reply.status < 300 and job.token else ("", "")
            if deed:
                self.say(answer=0, token=job.token, do=deed, by=by, via="webhook")
            return _judged(reply)
        if place in self._services:
            ok, detail = self._services[place].send(job.title, job.body, job.level, job.why)
            return ok, detail, 0.0
        return False, "no such address", 0.0

    def _publish(self, job: Job, to: ntfy.Ntfy) -> tuple[bool, str, float]:
        words = answers.words(self._setting.language)["button"]
        buttons = [
            {"label": words[deed], "body": json.dumps({"t": job.token, "do": deed}, separators=(",", ":"))}
            for deed in answers.DEEDS
            if job.token
        ]
        result = (False, "names no topic", 0.0)
        for topic in to.topics:
            form = ntfy.message(to, topic, job.title, job.body, job.level, job.why, buttons, self._setting.topic)
            result = _judged(ntfy.publish(to, form))
            if not result[0]:
                return result
        return result

    # ----------------------------------------------------------------------------------------------- listening

    def _listen(self, server: str, to: ntfy.Ntfy) -> None:
        def on_message(number: str, text: str) -> None:
            deed = _posted(text)
            if deed is not None:
                self.say(answer=0, token=deed[0], do=deed[1], by="", via="ntfy")
            self.say(stream=server, since=number)

        def on_state(heard: bool, words: str) -> None:
            self.say(stream=server, heard=heard, detail=words)

        stream = ntfy.Stream(to, self._setting.topic, self._setting.since.get(server, "all"), on_message, on_state)
        self._streams.append(stream)
        stream.start()

    def _serve(self) -> None:
        told = False
        while not self._retired.is_set():
            try:
                self._server = links.Server(
                    self._setting.listen, self._setting.port, self._key, self._setting.language, self._take
                )
            except (OSError, OverflowError) as error:
                if not told:
                    told = True
                    words = getattr(error, "strerror", None) or type(error).__name__
                    self.say(links=False, detail=f"{words}".lower())
                self._retired.wait(BIND_AGAIN_S)  # the worker before this one may still hold it
                continue
            self.say(links=True, port=self._server.port)
            if self._retired.is_set():
                self._server.stop()
            return

    def _take(self, token: str, deed: str, by: str) -> str:
        """Asks the hub whether an answer by link counts."""
        event, said = threading.Event(), [""]
        with self._lock:
            self._asks += 1
            number = self._asks
            self._asked[number] = (event, said)
        self.say(answer=number, token=token, do=deed, by=by, via="link")
        heard = event.wait(TAKEN_S)
        with self._lock:
            self._asked.pop(number, None)
        return said[0] if heard else "was not heard"

    def obey(self, order: Order) -> None:
        """Does what else the hub says."""
        if order.taken:
            with self._lock:
                waits = self._asked.get(order.taken)
            if waits is not None:
                waits[1][0] = order.problem
                waits[0].set()
        if order.retire:
            self._retired.set()
            for stream in self._streams:
                stream.stop()
            if self._server is not None:
                self._server.stop()

    def say(self, **what: Any) -> None:
        """Tells the hub."""
        line = json.dumps(what).encode() + b"\n"
        with self._lock:
            try:
                self._out.write(line)
                self._out.flush()
            except (OSError, ValueError):
                os._exit(0)  # the hub is gone


def _judged(reply: web.Reply) -> tuple[bool, str, float]:
    if 200 <= reply.status < 300:
        return True, "", 0.0
    after = reply.headers.get("retry-after", "")
    again_s = min(float(after), RETRY_AFTER_MAX_S) if after.isdecimal() and len(after) < 6 else 0.0
    return False, web.refusal(reply.status), again_s


def _posted(text: str) -> tuple[str, str] | None:
    """What a button has posted: token and deed; None for anything else that stands on the topic."""
    try:
        form = json.loads(text)
        token, deed = form["t"], form["do"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (token, deed) if isinstance(token, str) and deed in answers.DEEDS else None


def serve(lines: Iterable[bytes], out: BinaryIO) -> None:
    """Does what the lines say until they end."""
    source = iter(lines)
    worker = Worker(msgspec.json.decode(next(source), type=Setting), out)
    worker.start()
    for line in source:
        try:
            if b'"job"' in line[:8]:
                worker.do(msgspec.json.decode(line, type=Job))
            else:
                worker.obey(msgspec.json.decode(line, type=Order))
        except (msgspec.DecodeError, RuntimeError) as error:  # RuntimeError: no more threads
            worker.say(trouble=type(error).__name__)


def main() -> None:
    """What the hub starts.  Whatever a service of others prints goes nowhere: it might hold an address."""
    out = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        serve(sys.stdin.buffer, out)
    finally:
        os._exit(0)  # threads that hang must not keep it


if __name__ == "__main__":
    main()
