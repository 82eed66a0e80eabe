"""Turns a run folder into one HTML file that works offline, and figures into tables for the console."""

from persona_rm.report.goals import EMBEDDED_GOALS, INFERENCE_GOALS, Goal, goals_of
from persona_rm.report.page import render, write_report
from persona_rm.report.report_data import ReportData, collect
from persona_rm.report.table import figure_table

__all__ = [
    "EMBEDDED_GOALS",
    "INFERENCE_GOALS",
    "Goal",
    "ReportData",
    "collect",
    "figure_table",
    "goals_of",
    "render",
    "write_report",
]
