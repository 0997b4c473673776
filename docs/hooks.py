"""What the site has beyond `docs`: pages from README files, and links to the repository's files.

Texts are written for a reader of the files: their links are relative to where they lie. A link to a
page of the site leads there, one to any other file of the repository to that file. What does not
exist is left as it is, for MkDocs to name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    "index.md": ROOT / "README.md",
    "contributing.md": ROOT / "CONTRIBUTING.md",
    "changelog.md": ROOT / "CHANGELOG.md",
} | {
    f"models/{readme.parent.relative_to(ROOT / 'configs')}.md": readme
    for readme in (ROOT / "configs").glob("*/*/README.md")
}
# [text](path) or [text](path#anchor), no address
_LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(?=(?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside `docs`."""
    for uri, source in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a page to where their files are on the site."""
    if page.parent is None:
        page.meta.setdefault("hide", ["navigation"])  # of a page without others beside it
    pages = {file.abs_src_path: file.src_uri for file in files}
    repository = f"{config.repo_url}/blob/main" if config.repo_url else ROOT.as_uri()
    home = os.path.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        target = (Path(page.file.abs_src_path).parent / match[0]).resolve()
        readme = target / "README.md"
        if uri := pages.get(str(target), pages.get(str(readme))):
            return os.path.relpath(uri, home or ".")
        if target.exists() and target.is_relative_to(ROOT):
            return f"{repository}/{target.relative_to(ROOT)}"
        return match[0]

    return _LINK.sub(lead, markdown)
