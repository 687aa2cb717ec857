"""Strict linting of a Serve config, level by level and then as a whole; nothing here starts Ray."""

from serve_app.check.linter import check, resolved
from serve_app.check.problems import Problem

__all__ = ["Problem", "check", "resolved"]
