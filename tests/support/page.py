"""Reads an HTML page and prints, as JSON, what can be wrong with it, its text and its tables."""

import json
import sys
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.text, self.ids = [], [], [], []
        self.headings, self.tags = [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        names = [name for name, _ in attributes]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        for name, value in attributes:
            if name.startswith("on") or name in ("src", "srcset", "style"):
                self.problems.append(f"<{tag} {name}>")
            if name == "href" and not value.startswith("#"):
                self.problems.append(f"<{tag} href={value}>")
            if name == "id":
                self.ids.append(value)
        attributes = dict(attributes)
        if tag == "th" and attributes.get("scope") not in ("row", "col"):
            self.problems.append("<th> without a scope")
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes what is not open")

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            if "url(" in data or "@import" in data:
                self.problems.append("the style loads something")
        else:
            self.text.append(data)


page = Page()
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    page.feed(file.read())
page.close()
if page.open:
    page.problems.append(f"left open: {page.open}")
if len(page.ids) != len(set(page.ids)):
    page.problems.append(f"an id twice: {page.ids}")
if any(after > before + 1 for before, after in zip([0] + page.headings, page.headings)):
    page.problems.append(f"a level of headings is left out: {page.headings}")
json.dump({"problems": page.problems, "text": "".join(page.text), "tags": sorted(page.tags)}, sys.stdout)
