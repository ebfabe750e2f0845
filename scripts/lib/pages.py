"""What a script leaves beside the runs: index.md, index.html, results.json."""

import html
import json
import os
import re

from .project import commit

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid #8884; padding: .25rem .6rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
:root { color-scheme: light dark }
"""
# What one run leaves that is worth a link.
RUN_FILES = ["report.html", "summary.json", "latency.hgrm", "latency.hlog", "timeseries.ndjson"]


class Pages:
    """The pages of one folder, which grow while a script works."""

    def __init__(self, folder, title, conditions):
        """`conditions` are the facts, in words, that the reader should know."""
        self.folder, self.title = folder, title
        self.conditions = list(conditions)
        found = commit()
        if found:
            self.conditions.append(f"commit {found}")

    def write(self, tables, remarks, verdict, results):
        """Writes all files anew; `results` is what a program wants to read of them."""
        everything = {"title": self.title, "conditions": self.conditions, "verdict": verdict}
        write(self.folder / "results.json", json.dumps(everything | results, indent=2) + "\n")
        write(self.folder / "index.md", self.markdown(tables, remarks, verdict))
        write(self.folder / "index.html", self.html(tables, remarks, verdict))

    def markdown(self, tables, remarks, verdict):
        parts = [f"# {self.title}\n", bullets(self.conditions)]
        parts += [table.markdown() for table in tables]
        parts += [bullets(remarks)] if remarks else []
        return "\n".join([*parts, f"{verdict}\n"])

    def html(self, tables, remarks, verdict):
        title = html.escape(self.title)
        return (
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f"<style>{STYLE}</style>\n<h1>{title}</h1>\n<p><strong>{html.escape(verdict)}</strong>"
            f"</p>\n{items(map(html.escape, self.conditions))}"
            + "".join(table.html() for table in tables)
            + items(map(html.escape, remarks))
            + f"<h2>Files</h2>\n{items(self.links())}</html>\n"
        )

    def links(self):
        """A line for every file of the folder's own, then one for every run."""
        yield " · ".join(
            link(path.name, path.name)
            for path in sorted(self.folder.iterdir())
            if path.suffix in {".html", ".md", ".json", ".ndjson"} and path.name != "index.html"
        )
        for summary in sorted(self.folder.rglob("summary.json"), key=natural):
            run = summary.parent
            name = str(run.relative_to(self.folder))
            found = [file for file in RUN_FILES if (run / file).exists()]
            links = [link(f"{name}/{file}", file) for file in found]
            if run.with_name(f"{run.name}.txt").exists():
                links.insert(0, link(f"{name}.txt", "text"))
            yield f"{html.escape(name)}: " + " · ".join(links)


def link(address, words):
    return f'<a href="{html.escape(address)}">{html.escape(words)}</a>'


def bullets(lines):
    return "".join(f"* {line}\n" for line in lines)


def items(lines):
    found = "".join(f"<li>{line}</li>\n" for line in lines)
    return f"<ul>\n{found}</ul>\n" if found else ""


def natural(path):
    """Sorts rate-90 before rate-100."""
    return [
        [int(word) if word.isdigit() else -1, word]
        for part in path.parts
        for word in re.split(r"(\d+)", part)
    ]


def write(path, text):
    """Writes a file as a whole: who reads it meanwhile sees the old one or the new one."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text)
    os.replace(draft, path)
