"""Spends a budget of latency or energy where it costs least accuracy (Chen et al., "SparseViT", section 3.4)."""

from __future__ import annotations

from .cost import CostError, CostModel, EnergyGauge, Gauge, LatencyGauge, calibrate, measure
from .report import Row, SearchReport
from .search import Budget, SearchError, SearchSettings, search
from .space import Space
from .state import SearchState, StateError

__all__ = [
    "Budget",
    "CostError",
    "CostModel",
    "EnergyGauge",
    "Gauge",
    "LatencyGauge",
    "Row",
    "SearchError",
    "SearchReport",
    "SearchSettings",
    "SearchState",
    "Space",
    "StateError",
    "calibrate",
    "measure",
    "search",
]
