"""Secrets in every encoding through every channel of a real kernel: nothing of them is left.

A section obtains the secrets and shows each of them in each encoding, one channel a cell. Then
everything that the run left anywhere (its folder, its standard output and error, the command lines
of its processes) is read, and searched for what was written and, by the gate, for what it means.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import shlex
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psutil

from runbook.record import gate
from studio_sandbox.proofs.proof import Asked
from studio_sandbox.proofs.workshop import Workshop, read_json

_PEM = "\n".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(12))
SECRETS: Mapping[str, str] = {
    "DSN": "postgresql://studio:pa55-Word_of/the&day@10.0.0.1:5432/studio?sslmode=require",
    "REDIS_URL": "rediss://:Tr0ub4dor+3/xyz==@cache.internal:6379/0",
    "AWS_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION": base64.b64encode(hashlib.sha512(b"session").digest() * 3).decode(),
    "PEM": f"-----BEGIN RSA PRIVATE KEY-----\n{_PEM}\n-----END RSA PRIVATE KEY-----",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "JWT_SIGNING": hashlib.sha256(b"signing").hexdigest(),
    "OPENAI": "sk-proj-9f8e7d6c5b4a3928171605f4e3d2c1b0",
    "GITHUB": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "SLACK": "https://hooks.slack.com/services/T00000000/B00000000/XXXXyyyyZZZZ11112222",
    "BLOB": '{"user": "studio", "password": "hunter2hunter2"}',
    "ARABIC": "كلمة-السر-الطويلة",
    "EMOJI": "naïve-🔑-pässwörd",
    "METACHARACTERS": r"a.b*c[d]e(f)g^h$i|j\k{2}",
    "QUOTES": 'it\'s "quoted" & <tagged>',
    "LINES": "first line\nsecond line\n",
    "TABS": "tab\tseparated\tvalue",
    "SPACES": "correct horse battery staple",
    "PERCENT": "100%25 of %s and {braces}",
    "DOLLARS": "$HOME/${SECRET}/`whoami`",
    "DIGITS": "4929123412341234",
    "EIGHT": "Zq8!xY4=",
    "LONG": "long-" * 60 + "end",
}
ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "raw": lambda value: value,
    "repr": repr,
    "json": json.dumps,
    "json, not ascii": lambda value: json.dumps(value, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps(value)),
    "url": lambda value: quote(value, safe=""),
    "url path": quote,
    "url form": quote_plus,
    "html": html.escape,
    "html text": lambda value: html.escape(value, quote=False),
    "shell": shlex.quote,
    "hex": lambda value: value.encode().hex(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64, one byte on": lambda value: base64.b64encode(b":" + value.encode()).decode(),
    "base64, two bytes on": lambda value: base64.b64encode(b"u:" + value.encode() + b"!").decode(),
    "base64 for urls": lambda value: base64.urlsafe_b64encode(b"xyz" + value.encode()).decode(),
    "coloured": lambda value: "\x1b[31m".join(value),
    "broken into lines": lambda value: "\n".join(value[n : n + 7] for n in range(0, len(value), 7)),
}
_OBTAIN = """
import json, os, sys
from pathlib import Path
from runbook import settings
from runbook.record.runs import Run, store_of
from runbook.secret import Secret
given = json.loads(Path(os.environ["PROOF_OF_REDACTION"]).read_text())
values = [Secret(value, name=name).reveal() for name, value in given["secrets"].items()]
written, benign = given["written"], given["benign"]
run = Run(store_of(settings.load("sandbox")), os.environ["RUNBOOK_RUN"])
"""
CHANNELS: Mapping[str, str] = {
    "identifiers": "print('\\n'.join(benign))",
    "stdout": "print('\\n'.join(written))",
    "stderr": "print('\\n'.join(written), file=sys.stderr)",
    "split across writes": "for text in values:\n"
    "    for at in (1, len(text) // 2, len(text) - 1):\n"
    "        for part in (text[:at], text[at:]):\n"
    "            sys.stdout.write(part)\n            sys.stdout.flush()\n"
    "        sys.stdout.write(' | ')",
    "logging": "import logging\nlogging.getLogger('proof').warning('%s', ' '.join(written))",
    "result": "written",
    "nested result": "{'deep': [{'er': tuple(written)}]}",
    "html": "from IPython.display import HTML, JSON, SVG, display\n"
    "import html\nHTML('<pre>' + html.escape(' '.join(written)) + '</pre>')",
    "frame": "import pandas\npandas.set_option('display.max_colwidth', None)\n"
    "pandas.set_option('display.max_rows', None)\npandas.DataFrame({'value': values[:-1]})",
    "json": "JSON({'values': written, **dict.fromkeys(values, 1)})",
    "svg": "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><text>' "
    "+ html.escape(' '.join(values).replace('\\x1b', '')) + '</text></svg>')",
    "metadata of a display": "display({'text/plain': 'x'}, raw=True, metadata={'note': written})",
    "widget state": "from comm import create_comm\n"
    "state = dict.fromkeys(('_model_name', '_model_module', '_model_module_version'), 'x')\n"
    "create_comm(target_name='jupyter.widget', data={'state': {**state, 'value': written}}, "
    "metadata={'version': '2.1.0'})\nNone",
    "run.json": "run.update(result={'status': 'ok', 'values': written})",
    "journal": "run.journal.write('note', text=' '.join(values), values=written)",
    "plan": "from runbook.change.plan import Change, Origin, Plan\n"
    "from runbook.errors import BadInput\n"
    "from_here = Origin('sandbox', '123456789012', 'proof', '0' * 64, {})\n"
    "for n, text in enumerate(values + written):\n"
    "    try:\n"
    "        change = Change('sql-rows', 'postgresql:jobs', {'note': 'x'}, {'note': text})\n"
    "        plan = Plan(changes=(change,), title='A proof', risk='low', way_back='undo.',\n"
    "                    origin=from_here)\n"
    "        run.write_json(f'plan-{n}.json', plan.as_json())\n"
    "    except BadInput as refused:\n"
    "        print(refused)",
    "incident": "from runbook.incident import book, notify\n"
    "told = ' '.join(values + written)\n"
    "opened = book.open_incident(run.store, title=told, severity='P2')\n"
    "book.note(run.store, opened.id, told)",
    "book": "from runbook.clients import Clients\n"
    "from runbook.incident.room import Room\n"
    "room = Room(run.store, Clients(settings.load('sandbox')), opened, by=told)\n"
    "room.acknowledge(told)\nroom.take_role('lead', told)\nroom.set_severity('P1', told)\n"
    "room.write('mitigated', told, raw=written, **dict.fromkeys(values, 1))\n"
    "room.add_action(told, owner=told)\n"
    "print(room.events(), room.state().action_table().records())",
    "post-mortem": "from datetime import UTC, datetime\n"
    "from runbook.incident.post_mortem import PostMortem\n"
    "from runbook.incident.timeline import Moment, Timeline\n"
    "now = datetime.now(UTC)\n"
    "moments = tuple(Moment(now, 'cloudtrail', text, text, outside=True) for text in written)\n"
    "timeline = Timeline(opened, now, now, moments, (), {'logs': told})\n"
    "suspect = {'cause': told, 'confidence': told, 'evidence': written}\n"
    "draft = PostMortem(room.state(), timeline, None, (suspect,), 1).markdown()\n"
    "run.store.write(run.key('post-mortem.md'), draft.encode())\n"
    "print(draft)",
    "notification": "from runbook.clients import Clients\n"
    "clients = Clients(settings.load('sandbox'))\n"
    "sent = notify.tell(clients, told, subject=values[0])\n"
    "assert not any(each.problem for each in sent), sent\n"
    "book.note_told(run.store, opened.id, sent)",
    "a program's output": "import subprocess\n"
    "print(subprocess.run(['cat'], input=' '.join(written), stdout=-1, text=True).stdout)",
    "past Python": "os.write(1, ' '.join(values).encode()); os.write(2, values[0].encode())\nNone",
    "exception": "raise ValueError(' '.join(written))",
}
_TRACEBACK = "dict(held=written)['missing ' + ' '.join(values)]"


@dataclass(frozen=True)
class Redaction:
    """What was found: leaks by channel, and identifiers that were altered."""

    secrets: int
    encodings: int
    shown: Mapping[str, int]  # texts that a channel was given
    leaks: Mapping[str, tuple[str, ...]]
    identifiers: int
    altered: int

    @property
    def holds(self) -> bool:
        return not self.altered and not any(self.leaks.values())

    def table(self) -> str:
        lines = [
            f"{self.secrets} secrets × {self.encodings} encodings, a real kernel; "
            f"{self.altered} of {self.identifiers} identifiers altered",
            "",
            "| channel | texts | leaks |",
            "|---|---|---|",
        ]
        for channel, found in self.leaks.items():
            named = f" **{', '.join(found[:5])}**" if found else ""
            lines.append(f"| {channel} | {self.shown[channel]} | {len(found)}{named} |")
        return "\n".join(lines)


def prove(asked: Asked) -> Redaction:
    """`./runbook prove redaction`: every secret, in every encoding, through every channel."""
    return redact(asked.home)


def redact(home: Path) -> Redaction:
    """Run the sections in a workshop of their own, and look everywhere."""
    workshop = Workshop.make(home / "redaction", notify={"slack": {"file": "webhook"}})
    written = [encode(value) for value in SECRETS.values() for encode in ENCODINGS.values()]
    given = home / "given.json"
    identifiers = _identifiers()
    given.write_text(
        json.dumps({"secrets": SECRETS, "written": written, "benign": identifiers}),
        encoding="utf-8",
    )
    workshop.section("proof-of-channels", _OBTAIN, *CHANNELS.values())
    workshop.section("proof-of-traceback", _OBTAIN, _TRACEBACK)
    os.environ["PROOF_OF_REDACTION"] = str(given)
    try:
        with _slack(workshop) as messages:
            channels = _run(workshop, "proof-of-channels")
        traceback = _run(workshop, "proof-of-traceback")
    finally:
        del os.environ["PROOF_OF_REDACTION"]
    cells = _outputs(workshop, "proof-of-channels")
    places = dict(zip(CHANNELS, cells[-len(CHANNELS) :], strict=True))
    places["traceback"] = _outputs(workshop, "proof-of-traceback")[-1]
    places["Slack, as it was told"] = messages
    places["the record's files"] = _files(workshop)
    places["the runner's stdout and stderr"] = [*channels.said, *traceback.said]
    places["command lines of its processes"] = [*channels.commands, *traceback.commands]
    refused = workshop.runbook("run", "proof-of-traceback", "-p", "note", SECRETS["OPENAI"])
    places["a parameter that holds one"] = list(refused.communicate(timeout=60))
    shown = "".join(places.pop("identifiers"))
    return Redaction(
        len(SECRETS),
        len(ENCODINGS),
        dict.fromkeys(places, len(written)),
        {channel: tuple(_left(texts)) for channel, texts in places.items()},
        len(identifiers),
        sum(identifier not in shown for identifier in identifiers),
    )


@contextlib.contextmanager
def _slack(workshop: Workshop) -> Iterator[list[str]]:
    """A webhook that the workshop's sections tell, and what came: the raw bytes as text."""
    came: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *values: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (workshop.folder / "var").mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{server.server_port}/services/T1/B1/a-webhook"
        (workshop.folder / "var" / "webhook").write_text(url, encoding="utf-8")
        yield came
        server.shutdown()


@dataclass(frozen=True)
class _Ran:
    said: list[str]
    commands: list[str]


def _run(workshop: Workshop, slug: str) -> _Ran:
    """Run a section to its end, and note the command line of every process of it."""
    runner = workshop.runbook("run", slug, "--json")
    commands: set[str] = set()
    watcher = threading.Thread(target=_watch, args=(runner, commands), daemon=True)
    watcher.start()
    said = list(runner.communicate(timeout=240))
    watcher.join()
    return _Ran(said, sorted(commands))


def _watch(runner: subprocess.Popen[str], commands: set[str]) -> None:
    while runner.poll() is None:
        try:
            process = psutil.Process(runner.pid)
            for each in [process, *process.children(recursive=True)]:
                commands.add(" ".join(each.cmdline()))
        except psutil.Error:
            continue
        try:
            runner.wait(0.1)
        except subprocess.TimeoutExpired:
            continue


def _outputs(workshop: Workshop, slug: str) -> list[list[str]]:
    """The texts of each code cell's outputs, in order; of the last cell with its error."""
    notebook: Any = read_json(workshop.run_folders(slug)[-1] / "notebook.ipynb")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [list(gate.texts_of(_joined(cell["outputs"]))) for cell in code]


def _joined(content: Any) -> Any:
    """Lines of a text are a list in the file; here they are one text again."""
    if isinstance(content, list) and content and all(isinstance(each, str) for each in content):
        return "".join(content)
    if isinstance(content, list):
        return [_joined(each) for each in content]
    if isinstance(content, dict):
        return {key: _joined(value) for key, value in content.items()}
    return content


def _files(workshop: Workshop) -> list[str]:
    """Every file that the runs left in the state folder, as texts."""
    texts: list[str] = []
    for path in (workshop.folder / "var").rglob("*"):
        if path.is_file():
            raw = path.read_text(encoding="utf-8", errors="replace")
            texts.append(raw)
            if path.suffix in (".json", ".ipynb"):
                texts += gate.texts_of(_joined(json.loads(raw)))
    return texts


def _left(texts: list[str]) -> list[str]:
    """Names of secrets that are in the texts: as they were written, or as the gate reads them."""
    everything = "\0".join(texts)
    left = {
        name
        for name, value in SECRETS.items()
        if any(encode(value) in everything for encode in ENCODINGS.values())
    }
    names = {value: name for name, value in SECRETS.items()}
    while name := gate.leaked(texts, {v: n for v, n in names.items() if n not in left}):
        left.add(name)
    return sorted(left)


def _identifiers() -> list[str]:
    """500 that only look like secrets: ARNs, digests, UUIDs, commits, plans, URLs."""
    made = []
    for n in range(84):
        digest = hashlib.sha256(str(n).encode()).hexdigest()
        made += [
            f"arn:aws:ecs:eu-central-1:123456789012:task/ai-studio-cluster/{digest[:32]}",
            str(uuid.UUID(digest[:32])),
            f"sha256:{digest}",
            digest[:40],
            f"plan-{digest}",
            f"https://gateway.example.com/v1/chat/complete?n={n}&trace={digest[:16]}",
        ]
    return made[:500]
