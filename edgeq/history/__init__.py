"""Records kept over time in a database, compared side by side and as a trend."""

from edgeq.history.location import find_place
from edgeq.history.store import History, open_history
from edgeq.history.values import METRICS, Filter, Trend

__all__ = ["METRICS", "Filter", "History", "Trend", "find_place", "open_history"]
