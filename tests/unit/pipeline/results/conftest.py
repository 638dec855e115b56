"""What the tests of drawn results share."""

from __future__ import annotations

import pytest

from pipeline.results.drawing.canvas import Canvas


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn, in order."""
    texts: list[str] = []
    draw = Canvas.text

    def recorded(self: Canvas, at: tuple[float, float], text: str, **kwargs: object) -> float:
        texts.append(text)
        return draw(self, at, text, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Canvas, "text", recorded)
    return texts
