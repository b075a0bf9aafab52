"""A report as one self-contained HTML file."""

from edgeq.render.page.page import report_html

__all__ = ["report_html"]
