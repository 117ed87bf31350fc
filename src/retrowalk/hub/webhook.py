"""A webhook (`json://`): a message as JSON to a program of somebody's own, whose response may be the answer.

The form is that of Apprise's `json://`, with a few more fields.  A response such as `{"ack": true, "by": "Anna"}`
counts as an answer: `over` true says that it is over too, `say` a phrase for the walker (`coming`).
"""

from __future__ import annotations

import json
import urllib.parse
from typing import Any, NamedTuple

from retrowalk.hub import web

SCHEMES = ("json", "jsons")

_OPTIONS = frozenset(("method", "verify", "cto", "rto", "format", "overflow", "emojis", "tz", "store", "redirect"))


class Webhook(NamedTuple):
    """Where to post."""

    url: str
    headers: dict[str, str]
    verify: bool


def read(address: str) -> Webhook | None:
    """Reads `json://[user:password@]host[:port]/path`, jsons:// with TLS, headers as `+Name=value`.

    None for an address with another method or with changed fields (`:name=value`): Apprise sends it as it is asked
    to, and nothing is read from the response.
    """
    parts = web.split(address)
    if (parts.option("method") or "POST").upper() != "POST" or any(name.startswith(":") for name, _ in parts.query):
        return None
    headers = {name[1:]: value for name, value in parts.query if name.startswith("+")}
    if parts.user:
        headers.setdefault("Authorization", web.basic(parts.user, parts.password))
    params = [(name[1:], value) for name, value in parts.query if name.startswith("-")]
    query = f"?{urllib.parse.urlencode(params)}" if params else ""
    scheme = "https" if parts.scheme == "jsons" else "http"
    return Webhook(f"{scheme}://{parts.host}{parts.path}{query}", headers, web.yes(parts.option("verify"), True))


def post(to: Webhook, form: dict[str, Any], total_s: float = web.TOTAL_S) -> web.Reply:
    """Posts once.  Raises `web.WebError`."""
    headers = {"Content-Type": "application/json", **to.headers}
    return web.request("POST", to.url, json.dumps(form).encode(), headers, verify=to.verify, total_s=total_s)


def answer(reply: web.Reply) -> tuple[str, str]:
    """What a response answers (`seen`, `coming`, `over`; empty: nothing), and by whom (empty: the contact)."""
    form = reply.json()
    by = form.get("by")
    name = by if isinstance(by, str) else ""
    if form.get("over") is True:
        return "over", name
    if form.get("ack") is True:
        return ("coming" if form.get("say") == "coming" else "seen"), name
    return "", ""
