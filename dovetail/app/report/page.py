"""The report as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from dovetail.app.report.data import Commands, Report, Section, Table
from dovetail.app.report.figures import KINDS
from dovetail.app.report.markup import Raw, el
from dovetail.app.report.summary import commands, html_table, keep, summary
from dovetail.core.files import write_text


def write_report(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write `report` as one HTML file, in one step. Raises `DovetailError` when the disk refuses."""
    return write_text(path, render(report))


def render(report: Report) -> str:
    """The whole page: summary first, then the sections in order, then how it was made."""
    sections = [_section(section, i) for i, section in enumerate(report.sections, 1)]
    subtitle = el("p", report.subtitle) if report.subtitle else None
    body = el("body", el("a", "Skip to the figures", href="#s1", class_="skip") if sections else None,
              el("header", el("h1", report.title), subtitle, _contents(report)),
              el("main", summary(report.summary), *sections, _manifest(report.manifest)),
              el("script", _asset("hover.js")))  # fmt: skip
    return "<!doctype html>\n" + el("html", _head(report.title), body, lang="en") + "\n"


def _asset(name: str) -> Raw:
    return Raw(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _head(title: str) -> Raw:
    """The policy lets the browser run this page's one script and load nothing from anywhere."""
    script = base64.b64encode(hashlib.sha256(_asset("hover.js").encode()).digest()).decode()
    policy = f"default-src 'none'; base-uri 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    return el("head", el("meta", charset="utf-8"), el("meta", http_equiv="Content-Security-Policy", content=policy),
              el("meta", name="viewport", content="width=device-width, initial-scale=1"),
              el("meta", name="color-scheme", content="light dark"), el("title", title),
              el("style", _asset("style.css")))  # fmt: skip


def _contents(report: Report) -> Raw | None:
    if len(report.sections) < 2:
        return None
    links = (el("li", el("a", section.title, href=f"#s{i}")) for i, section in enumerate(report.sections, 1))
    return el("nav", el("ol", *links), aria_label="Contents")


def _section(section: Section, index: int) -> Raw:
    note = el("p", section.note, class_="note") if section.note else None
    heading = el("h2", el("span", str(index), class_="index"), " ", section.title)
    return el("section", heading, *_content(section, f"s{index}"), note, id=f"s{index}")


def _content(section: Section, ident: str) -> Iterable[Raw | None]:
    if isinstance(section, Commands):
        yield commands(section)
    elif isinstance(section, Table):
        yield html_table(section, under=section.title)
    else:
        kind = KINDS[type(section)]
        table = kind.table(section)
        yield el("p", keep(kind.says(section)), class_="says")
        yield el("figure", kind.charts(section, ident + "-f"))
        if kind.answer_first:
            yield html_table(kind.brief(section), under=section.title)
        if not kind.answer_first or kind.brief is not kind.table:
            count = f"Data of this figure: {len(table.rows) + table.more:,} rows"
            yield el("details", el("summary", count), html_table(table, under=section.title))


def _manifest(manifest: Mapping[str, object]) -> Raw | None:
    """Versions, seeds and hashes: what is needed to make this report again."""
    if not manifest:
        return None
    rows = [(name, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False))
            for name, value in manifest.items()]  # fmt: skip
    table = html_table(Table("Manifest", ("name", "value"), rows), under="Manifest")
    return el("section", el("details", el("summary", "How this report was made"), table), class_="manifest")
