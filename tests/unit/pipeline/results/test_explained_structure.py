"""The heat map of a structure: its legend names the structure, though the answer predicts no class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.results.drawing.pages import Story, summary_page
from tests.conformance.answers import answer_context


def test_the_legend_names_the_structure_that_is_explained(written: list[str]) -> None:
    context = answer_context("nested")
    heat = np.where(context.findings.regions[0].mask, 1.0, 0.0).astype(np.float32)
    findings = replace(context.findings, heatmap=heat, explained="tumor_core")
    summary_page(Story(context.volume, findings), pages=1)
    assert "Activation, relative, for tumor core" in written
