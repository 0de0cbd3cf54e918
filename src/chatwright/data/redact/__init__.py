"""Hides the people in somebody's chats before anything else sees the text: names, addresses, numbers, keys."""

from chatwright.data.redact.forms import is_no_name
from chatwright.data.redact.redactor import ME, Redactor
from chatwright.data.redact.report import Hidden, RedactionReport

__all__ = ["ME", "Hidden", "RedactionReport", "Redactor", "is_no_name"]
