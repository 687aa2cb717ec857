"""Without the section nothing of the chat platform is loaded; and what the guide shows is a config that is fine."""

import re
import subprocess
import sys

import yaml

from serve_app.check import check
from serve_app.settings import ROOT

COSTLY = (
    "sqlalchemy",
    "alembic",
    "websockets",
    "defusedxml",
    "deployments.wecom.service",
    "deployments.store.database",
)


def test_without_the_section_neither_database_nor_ciphers_are_loaded():
    told = f"import sys, serve_app.settings, deployments.ingress.http.app; print([m for m in {COSTLY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_guide_s_section_is_fine():
    shown = re.search(r"```yaml\n(wecom:.*?)```", (ROOT / "docs" / "wecom.md").read_text(), re.DOTALL)
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["applications"][0]["args"] |= yaml.safe_load(shown[1])
    assert check(yaml.safe_dump(config, allow_unicode=True)) == []
