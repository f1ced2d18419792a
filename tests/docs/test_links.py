"""Links between README, CONTRIBUTING, CHANGELOG and docs lead to files and headings that exist.

MkDocs checks those inside docs, too; it sees neither the files beside docs nor how GitHub names a heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.docs import DOCS, REPOSITORY

PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """Without code blocks, in which neither links nor headings are."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> Iterator[str]:
    """Names of the headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(text_of(page)):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            broken.append(link)
    assert broken == []


def test_a_broken_link_and_a_missing_heading_are_seen(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# W&B, and more\n")
    page = tmp_path / "page.md"
    for link, good in (("other.md#wb-and-more", True), ("other.md#w", False), ("gone.md", False), ("other.md", True)):
        page.write_text(f"[x]({link})\n")
        if good:
            test_links_lead_somewhere(page)
        else:
            with pytest.raises(AssertionError):
                test_links_lead_somewhere(page)


def test_the_readme_is_short_and_has_both_commands() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    for name in ("demo", "tests"):
        assert len(re.findall(rf"<!-- command: {name} -->\n```sh\npython3 -m venv [^\n]+\n```", readme)) == 1


def test_every_page_is_in_the_menu() -> None:
    menu = (REPOSITORY / "mkdocs.yml").read_text()
    assert [page for page in PAGES if DOCS in page.parents and f": {page.relative_to(DOCS)}\n" not in menu] == []
