"""Are the documents in step with the code? Prints what is not, and exits 1."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deployments.errors import tree  # noqa: E402
from deployments.ingress.http import docs, live, page, rest  # noqa: E402
from deployments.ingress.http.openai import routes as openai  # noqa: E402

INTERNAL_ROUTES = {"/samples", "/samples/{name}", "/docs/{name}"}  # what the page itself asks for


def routes() -> set[str]:
    modules = (rest, openai, live, page, docs)
    paths = {route.path for module in modules for router in module.routers for route in router.routes}
    return {path.replace(":path}", "}") for path in paths} - INTERNAL_ROUTES


def faults() -> list[str]:
    readme, errors = (ROOT / "README.md").read_text(), (ROOT / "docs" / "errors.md").read_text()
    found = [f"README.md does not list the route {path}" for path in routes() if f" {path}`" not in readme]
    for kind in tree():
        row = rf"`{kind.code}` \| {kind.status} \|"
        if not re.search(row, errors):
            found.append(f"docs/errors.md has no row for {kind.code} with status {kind.status}")
    known = {kind.code for kind in tree()}
    found += [
        f"docs/errors.md lists the unknown code {code}"
        for code in re.findall(r"^\| `(\w+)`", errors, re.M)
        if code not in known
    ]
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("demo/**/README.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            if not (document.parent / target).exists():
                found.append(f"{document.relative_to(ROOT)} links to {target}, which does not exist")
    return found


if __name__ == "__main__":
    problems = faults()
    print("\n".join(problems) or "documents in step")
    sys.exit(bool(problems))
