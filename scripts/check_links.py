"""Checks the links of a site, without the internet.

    python scripts/check_links.py site

Links to other hosts are not followed.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Collects what a page refers to, and the places in it that may be referred to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [link for name in ("href", "src") if (link := values.get(name))]
        self.places |= {place for name in ("id", "name") if (place := values.get(name))}


def dead_links(site: Path) -> list[str]:
    """Returns the links, `PAGE: LINK`, to files or places in them that are not in the site."""
    pages = {path.resolve(): _Page(path) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site.resolve())}: {link}"
        for path, page in pages.items()
        # The page of errors has links from the root of a server.
        if path.name != "404.html"
        for link in page.links
        if _is_dead(link, path, pages)
    ]


def _is_dead(link, path, pages):
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return True
    place = unquote(parts.fragment)
    # An empty place is the top of the page.
    return bool(place) and target in pages and place not in pages[target].places


if __name__ == "__main__":
    dead = dead_links(Path(sys.argv[1]))
    print("\n".join(["Dead links:", *dead]) if dead else "No dead link.")
    sys.exit(bool(dead))
