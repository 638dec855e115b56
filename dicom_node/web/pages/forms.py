"""Numbers, dates, times and names of classes in the form of a language: the reports' own (`pipeline.report`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final

from dicom_node.web.pages.words import say
from pipeline.report import phrasebook, sentences
from pipeline.report.sentences import Language

SYMBOLS: Final = {"mm2": "mm²", "[arb'U]": "a. u.", "1": "", "[hnsf'U]": "HU"}
"""UCUM codes that people write in another way."""


class Forms:
    """How ``language`` writes what a page shows. The public methods are filters of the templates."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def filters(self) -> dict[str, Callable[..., str]]:
        """The filters by their names."""
        return {
            "percent": self.percent,
            "number": self.number,
            "measure": self.measure,
            "day": self.day,
            "day_of_month": self.day_of_month,
            "term": self.term,
            "quantity": self.quantity,
        }

    def percent(self, share: float) -> str:
        """A share of 0 to 1 in whole percent."""
        return say("form.percent", self._language, share=f"{share * 100:.0f}")

    def number(self, value: float, form: str = "g") -> str:
        """``value`` in the format ``form``, with the decimal mark of the language."""
        return phrasebook.decimal(format(value, form), self._language)

    def measure(self, item: dict[str, Any]) -> str:
        """A value with its UCUM unit as people write it; volumes in millilitres."""
        value, unit = float(item["value"]), str(item["unit"])
        if unit == "mm3":
            return f"{self.number(value / 1000, '.1f')} mL"
        return f"{self.number(value)} {SYMBOLS.get(unit, unit)}".rstrip()

    def day(self, value: date | str) -> str:
        """A date; a text that is no ISO 8601 date as it stands."""
        try:
            found = date.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            return str(value)
        return sentences.day(found, self._language)

    def day_of_month(self, value: date) -> str:
        """Day and month alone."""
        return value.strftime(say("form.day_of_month", self._language))

    def term(self, name: str) -> str:
        """A model's class: the reports' term, where the language has one; else the model's own name."""
        return self._reported("term", name)

    def quantity(self, name: str) -> str:
        """The name of a measurement, likewise."""
        return self._reported("label", name)

    def clock(self, zone: tzinfo | None) -> Callable[[datetime], str]:
        """How a time is shown: of today without its day; in the site's zone, or that of the machine."""

        def show(at: datetime) -> str:
            local = at.astimezone(zone)
            today = datetime.now(UTC).astimezone(zone).date()
            return f"{local:%H:%M:%S}" if local.date() == today else f"{self.day(local.date())} {local:%H:%M}"

        return show

    def _reported(self, section: str, name: str) -> str:
        if self._language is not Language.ENGLISH and phrasebook.has(section, name, self._language):
            return phrasebook.phrase(section, name, self._language)
        return name.replace("_", " ")


def refusal(code: str, text: str, language: Language) -> str:
    """Why a series was not read: the reports' phrase of ``code`` in ``language``, or ``text``, which is English."""
    if language is Language.ENGLISH or not phrasebook.has("refusal", code, language):
        return text
    return f"{phrasebook.phrase('refusal', code, language)}."
