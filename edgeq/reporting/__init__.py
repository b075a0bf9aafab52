"""Reports: records of one model gathered into one value, which `edgeq.render` shows."""

from edgeq.reporting.report import make_report

__all__ = ["make_report"]
