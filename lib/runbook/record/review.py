"""The review site: a static page a run, a page an incident, and an index, from the record.

    build(store, folder)     →  index.html, runs/<run>.html and incidents/<id>.html in the folder

No script of a notebook's survives: what it shows is sanitised, and each page forbids all but its
own styles and embedded pictures. Nothing is asked of any other host.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from runbook.record.runs import Run, runs
from runbook.record.store import Store, side_by_side

_FACTS = ("verdict", "section", "environment", "operator", "via", "incident", "started_at")
_COLUMNS = ("started_at", "section", "verdict", "operator", "environment", "incident")
# What a notebook's prose and tables are made of; whatever can act or load is not among it.
_TAGS = (
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "details", "div", "dl", "dt"),
    *("em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre", "span"),
    *(
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ),
)
_ATTRIBUTES = ("class", "id", "style", "title", "colspan", "rowspan", "dir", "lang")
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
body{color:#1d2433}.anchor-link{display:none}
a{color:#1f5fa8}h1{font-size:1.4rem}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
td,th{border-bottom:1px solid #e3e6ec}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}img{max-width:100%}
.failed,.unknown{color:#a3201d;font-weight:600}.refused{color:#8a5a00}.succeeded{color:#1c6b37}
input{font:inherit;padding:.3rem .5rem;width:100%;box-sizing:border-box;margin:.5rem 0 1rem}
"""
# The one script there is, on the index alone, where nothing of a notebook's stands.
_SEARCH = """
const rows=[...document.querySelectorAll("tbody tr")];
document.querySelector("input").addEventListener("input",event=>{
const words=event.target.value.toLowerCase().split(/\\s+/);
for(const row of rows){const text=row.textContent.toLowerCase();
row.hidden=!words.every(word=>text.includes(word));}});
"""


def build(store: Store, folder: Path) -> int:
    """Write the site into a folder, over what is there; returns how many runs it shows."""
    shown = list(runs(store))
    _write_all(folder / "runs", ((each["run_id"], _run_page(store, each)) for each in shown))
    names = store.names("incidents")
    pages = ((name, _incident_page(store, name, shown)) for name in names)
    _write_all(folder / "incidents", pages)
    (folder / "index.html").write_text(_index_page(shown), encoding="utf-8")
    return len(shown)


def _write_all(folder: Path, pages: Iterable[tuple[str, str]]) -> None:
    """Write these pages by name, and remove those of what was removed from the record."""
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for name, text in pages:
        written.add(name)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    for page in folder.glob("*.html"):
        if page.stem not in written:
            page.unlink()


def _incident_page(store: Store, name: str, all_runs: Sequence[Mapping[str, Any]]) -> str:
    """What was written of an incident, and the runs under it, in the order of time."""
    stored = store.read(f"incidents/{name}/incident.json")
    about = json.loads(stored.data) if stored else {"id": name, "title": "", "opened_at": ""}
    keys = sorted(store.keys(f"incidents/{name}/events"))
    written = [json.loads(each.data) for each in side_by_side(store.read, keys) if each]
    rows = [(each["at"], each["by"], each["kind"], escape(each["text"])) for each in written]
    rows += [
        (run["started_at"], run["operator"] or "", "run", _run_in_short(run))
        for run in all_runs
        if run["incident"] == name
    ]
    table = "".join(
        f"<tr><td>{escape(at[:19])}</td><td>{escape(by)}</td><td>{escape(kind)}</td>"
        f"<td>{text}</td></tr>"
        for at, by, kind, text in sorted(rows)
    )
    facts = f"{about.get('severity', '')}, opened {about['opened_at'][:16]} UTC"
    title = f"{about['id']}: {about['title']}"
    return _page(
        title,
        f'<p><a href="../index.html">All runs</a></p><h1>{escape(title)}</h1>'
        f"<p>{escape(facts)} by {escape(about.get('opened_by', ''))}</p>"
        "<table><thead><tr><th>at (UTC)</th><th>who</th><th></th><th>what</th></tr></thead>"
        f"<tbody>{table}</tbody></table>",
    )


def _run_in_short(run: Mapping[str, Any]) -> str:
    """A run in an incident's page: a link, its verdict, and what it found."""
    says = (run.get("result") or {}).get("says") or (run.get("error") or {}).get("message", "")
    link = f'<a href="../runs/{escape(run["run_id"])}.html">{escape(run["section"])}</a>'
    return f"{link} {_shown('verdict', run['verdict'])} {escape(says)}"


def _index_page(shown: Sequence[Mapping[str, Any]]) -> str:
    heads = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in _COLUMNS)
    rows = "".join(_index_row(about) for about in shown)
    body = (
        f"<h1>Runs</h1><p>{len(shown)} on record, the newest first.</p>"
        '<input type="search" placeholder="incident, section, operator, verdict, date" '
        'aria-label="Search the runs">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"<script>{_SEARCH}</script>"
    )
    return _page("Runs", body, script=_SEARCH)


def _index_row(about: Mapping[str, Any]) -> str:
    link = f'<a href="runs/{escape(about["run_id"])}.html">{escape(about["started_at"][:19])}</a>'
    cells = "".join(f"<td>{_cell(name, about.get(name))}</td>" for name in _COLUMNS[1:])
    return f"<tr><td>{link}</td>{cells}</tr>"


def _cell(name: str, value: Any) -> str:
    if name == "incident" and str(value).startswith("INC-"):
        return f'<a href="incidents/{escape(value)}.html">{escape(value)}</a>'
    return _shown(name, value)


def _run_page(store: Store, about: Mapping[str, Any]) -> str:
    facts = {name: about.get(name) for name in _FACTS}
    result = about.get("result") or {}
    if "says" in result:
        facts = {"found": f"{result['status']}: {result['says']}", **facts}
    error = about.get("error")
    if error:
        facts["error"] = f"{error['class']}: {error['message']} {error['next']}"
    facts |= {"changes applied": about.get("changes_applied"), "run": about["run_id"]}
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{_shown(name, value)}</td></tr>"
        for name, value in facts.items()
    )
    title = f"{about['section']}, {about['started_at'][:16]}"
    body = (
        f'<p><a href="../index.html">All runs</a></p><h1>{escape(title)}</h1>'
        f"<table>{rows}</table>{_notebook(store, about['run_id'])}"
    )
    return _page(title, body)


def _notebook(store: Store, run_id: str) -> str:
    """The executed copy as HTML that cannot do anything."""
    stored = store.read(Run(store, run_id).key("notebook.ipynb"))
    if stored is None:
        return "<p>No notebook was written.</p>"
    import nbformat

    exporter = _exporter()
    html, _ = exporter.from_notebook_node(nbformat.reads(stored.data.decode(), as_version=4))
    return f"<main>{html}</main>"


@cache
def _exporter() -> Any:
    import bleach
    from bleach.css_sanitizer import CSSSanitizer
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    allowed = {"tags": list(_TAGS), "attributes": {"*": list(_ATTRIBUTES), "a": ["href"]}}
    # what is not allowed is taken out: shown as text it would only be in the reader's way
    config = Config(SanitizeHTML={**allowed, "strip": True})
    exporter = HTMLExporter(template_name="basic", sanitize_html=True, config=config)
    styles = CSSSanitizer()

    def clean(html: Any) -> str:
        """nbconvert's own filter knows no paragraph and no heading."""
        if isinstance(html, list):
            html = "".join(html)
        return str(bleach.clean(str(html), **allowed, css_sanitizer=styles, strip=True))

    exporter.register_filter("clean_html", clean)
    return exporter


def _shown(name: str, value: Any) -> str:
    text = escape(str(value)) if value not in (None, "") else "–"
    return f'<span class="{text}">{text}</span>' if name == "verdict" else text


def _page(title: str, body: str, *, script: str = "") -> str:
    """A page under a policy that lets in its own styles, embedded pictures, and `script` alone."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
