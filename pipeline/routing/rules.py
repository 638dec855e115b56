"""Routing rules as data: which models read a series, and where their results go. No rule is evaluated as code.

`judge` keeps the verdict of every rule, so that an explanation shows the verdicts that made the decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydicom._uid_dict import UID_dictionary

from pipeline.errors import NotRouted
from pipeline.reading.validation import is_uid
from pipeline.reading.weighting import Weighting
from pipeline.routing.series_attributes import Acquisition, Orientation, SeriesAttributes

Priority = Literal["stat", "routine"]
Match = Literal["first", "all"]
Kinds = Literal["exclude", "include", "only"]
PRINTABLE = re.compile(r"[\w .+*/^\\-]{1,64}", re.ASCII)
"""The only values from the wire that a reason quotes: codes, numbers and AE titles of these characters."""


def _upper(value: object) -> object:
    """Code Strings are in capitals (PS3.5 6.2); settings may be in either case."""
    return tuple(item.strip().upper() if isinstance(item, str) else item for item in _listed(value))


def _lower(value: object) -> object:
    return tuple(item.strip().lower() if isinstance(item, str) else item for item in _listed(value))


def _listed(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _sop_classes(value: object) -> object:
    return tuple(_sop_class(item) for item in _listed(value))


def _sop_class(name: object) -> str:
    text = str(name)
    known = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class"}
    if text in known:
        return known[text]
    if is_uid(text) and "." in text:
        return text
    raise ValueError(f"{text!r} is neither a SOP Class's keyword (MRImageStorage) nor a UID")


Codes = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_upper)]
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)]


class Table(BaseModel):
    """A table of candela.toml: unknown keys are errors, values never change after reading.

    The text below each field is its description in docs/settings.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Range(Table):
    """A closed range; either end may be left open, not both."""

    min: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _some_number_fits(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no series can match")
        return self

    def holds(self, value: float | None) -> bool:
        """Whether ``value`` lies within; None never does."""
        if value is None:
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def words(self, unit: str) -> str:
        ends = [f"at least {self.min:g}"] if self.min is not None else []
        ends += [f"at most {self.max:g}"] if self.max is not None else []
        return f"{' and '.join(ends)}{unit}"


class ImageTypes(Table):
    """Values of ImageType: all of ``contains`` must be there, none of ``excludes`` may be."""

    contains: Codes = ()
    """Values that ImageType must all have."""
    excludes: Codes = ()
    """Values that ImageType must not have."""


class Conditions(Table):
    """Conditions on a series; all that are set must hold. docs/routing.md lists them with their sources.

    Where several values are given, one of them suffices. Upper and lower case do not matter. A range never holds for a
    series that does not state the number. ``description`` are shell patterns (``*t1*``) against SeriesDescription and
    ProtocolName.
    """

    modality: Texts = ()
    """Values of Modality."""
    body_part: Texts = ()
    """Values of BodyPartExamined."""
    sop_class: Annotated[tuple[str, ...], BeforeValidator(_sop_classes)] = ()
    """SOP Classes, by keyword (`MRImageStorage`) or UID."""
    image_type: ImageTypes = ImageTypes()
    scanning_sequence: Annotated[tuple[Literal["SE", "IR", "GR", "EP", "RM"], ...], BeforeValidator(_upper)] = ()
    """Values of ScanningSequence: `SE`, `IR`, `GR`, `EP`, `RM`."""
    orientation: Annotated[tuple[Orientation, ...], BeforeValidator(_lower)] = ()
    """`axial`, `coronal`, `sagittal`, `oblique`, from ImageOrientationPatient."""
    weighting: Annotated[tuple[Weighting, ...], BeforeValidator(_upper)] = ()
    """`T1`, `T2`, `PD`, `T2*`, from the sequence parameters."""
    acquisition: Annotated[tuple[Acquisition, ...], BeforeValidator(_upper)] = ()
    """Values of MRAcquisitionType: `2D`, `3D`."""
    contrast: bool | None = None
    """`true`: the header states or describes a contrast agent. `false`: it does not."""
    derived: Kinds | None = None
    """Images whose ImageType begins with DERIVED: `exclude`, `include` or `only`."""
    localizer: Kinds | None = None
    """Localisers: `exclude`, `include` or `only`."""
    manufacturer: Texts = ()
    """Values of Manufacturer."""
    station: Texts = ()
    """Values of StationName."""
    calling_ae: Texts = ()
    """AE titles that sent the series."""
    called_ae: Texts = ()
    """AE titles to which the series was sent."""
    description: Texts = ()
    """Shell patterns (`*t1*`) for SeriesDescription or ProtocolName."""
    echo_time: Range | None = None
    """Range in ms, such as `{min = 5, max = 30}`. One end may be absent."""
    repetition_time: Range | None = None
    """Range in ms."""
    inversion_time: Range | None = None
    """Range in ms."""
    flip_angle: Range | None = None
    """Range in degrees."""
    slice_thickness: Range | None = None
    """Range in mm."""
    magnetic_field_strength: Range | None = None
    """Range in tesla."""
    number_of_slices: Range | None = None
    """Range of the number of instances, or of frames of multi-frame objects."""


class When(Conditions):
    """A rule's conditions. Unlike in a group, derived images and localisers are left out unless asked for."""

    derived: Kinds | None = "exclude"
    """Images whose ImageType begins with DERIVED: `exclude`, `include` or `only`."""
    localizer: Kinds | None = "exclude"
    """Localisers: `exclude`, `include` or `only`."""
    any_of: tuple[Conditions, ...] = ()
    """Groups of the conditions above, one of which must hold."""
    none_of: tuple[Conditions, ...] = ()
    """Groups of the conditions above, none of which may hold."""

    @model_validator(mode="after")
    def _groups_say_something(self) -> Self:
        if not all(group.model_fields_set for group in (*self.any_of, *self.none_of)):
            raise ValueError("a group of any_of or none_of is empty: it would hold for every series")
        return self


class Rule(Table):
    """One ``[[rules]]`` table of candela.toml.

    With ``per_study`` the model reads the best-suited of all series of a study that rules assign to it
    (`pipeline.routing.selection`); otherwise it reads each as soon as it is complete.
    """

    name: Annotated[str, Field(min_length=1)]
    """Name of the rule. Jobs show it."""
    enabled: bool = True
    """`false`: the rule takes no series. `candela config explain` says so."""
    comment: str = ""
    """A note for people."""
    contact: str = ""
    """Who to call about this rule."""
    when: When = When()
    model: Annotated[str, Field(min_length=1)]
    """Name of the model that reads the series (`candela models list`)."""
    destinations: tuple[str, ...] = ()
    """Names of the destinations for the results. An empty list sends them nowhere."""
    priority: Priority = "routine"
    """`stat` or `routine`. `stat` series are read first."""
    per_study: bool = False
    """`true`: of the series of a study that rules give to this model, read only the one that suits it best, once the
    study is quiet."""

    @model_validator(mode="before")
    @classmethod
    def _named_after_its_model(cls, table: object) -> object:
        if isinstance(table, Mapping) and "model" in table and "name" not in table:
            return {**table, "name": table["model"]}
        return table


@dataclass(frozen=True)
class Check:
    """One condition of a rule applied to a series: the wanted value, the value found, and why the condition fails."""

    condition: str
    wanted: str
    found: str
    holds: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The result of one rule for a series.

    ``taken`` is False for a rule that holds without effect: it is disabled, or ``overruled`` names the earlier rule
    that decided. Rules after the deciding one are judged as well, for the sake of explanations.
    """

    rule: Rule
    checks: tuple[Check, ...]
    overruled: str | None = None

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    @property
    def taken(self) -> bool:
        return self.rule.enabled and self.holds and self.overruled is None

    @property
    def reason(self) -> str:
        """Why the rule does not take the series; "" where it does."""
        if not self.rule.enabled:
            return "it is disabled (enabled = false)"
        if self.overruled is not None:
            return f"rule {self.overruled!r} decided before"
        return next((check.reason for check in self.checks if not check.holds), "")


@dataclass(frozen=True)
class Routing:
    """The verdict of every rule on one series, in the rules' order."""

    verdicts: tuple[Verdict, ...]

    @property
    def taken(self) -> tuple[Rule, ...]:
        """The rules that assign the series to a model, each model once."""
        return tuple(verdict.rule for verdict in self.verdicts if verdict.taken)

    def refusal(self) -> NotRouted:
        """Why no rule takes the series, rule by rule. Never repeats free text of the header."""
        reasons = "; ".join(f"rule {verdict.rule.name!r}: {verdict.reason}" for verdict in self.verdicts)
        return NotRouted(
            "No rule takes this series" + (f" ({reasons})." if reasons else ": there are no rules."),
            todo="Add a [[rules]] table for it to candela.toml, or stop sending such series.",
        )


def judge(rules: tuple[Rule, ...], attributes: SeriesAttributes, match: Match = "first") -> Routing:
    """Apply every rule to a series with these attributes.

    ``match`` "first": the first rule that holds takes the series. "all": every rule that holds does, but a model reads
    a series once, under the first rule that names it.
    """
    verdicts: list[Verdict] = []
    for rule in rules:
        verdict = Verdict(rule, tuple(_checks(rule.when, attributes)))
        if verdict.holds and rule.enabled:
            before = (
                item.rule for item in verdicts if item.taken and (match == "first" or item.rule.model == rule.model)
            )
            verdict = Verdict(rule, verdict.checks, overruled=next((item.name for item in before), None))
        verdicts.append(verdict)
    return Routing(tuple(verdicts))


def _checks(when: Conditions, attributes: SeriesAttributes) -> Iterator[Check]:
    """Every condition of ``when`` that is set."""
    yield from _codes(when, attributes)
    yield from _image_types(when, attributes)
    yield from _kinds(when, attributes)
    yield from _ranges(when, attributes)
    if when.description:
        wanted = " or ".join(when.description)
        held = any(
            fnmatchcase(text.casefold(), pattern.casefold())
            for text in attributes.descriptions
            for pattern in when.description
        )
        reason = f"neither series description nor protocol name matches {wanted}"
        yield Check("description", wanted, "a match" if held else "no match", held, reason)
    if isinstance(when, When):
        yield from _groups(when, attributes)


def _codes(when: Conditions, attributes: SeriesAttributes) -> Iterator[Check]:
    exact: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("modality", when.modality, (attributes.modality,)),
        ("body part", when.body_part, (attributes.body_part,)),
        ("SOP class", when.sop_class, (attributes.sop_class,)),
        ("scanning sequence", when.scanning_sequence, attributes.scanning_sequence),
        ("orientation", when.orientation, (attributes.orientation or "",)),
        ("weighting", when.weighting, (attributes.weighting or "",)),
        ("acquisition", when.acquisition, (attributes.acquisition or "",)),
        ("manufacturer", when.manufacturer, (attributes.manufacturer,)),
        ("station", when.station, (attributes.station,)),
        ("calling AE title", when.calling_ae, (attributes.calling_ae,)),
        ("called AE title", when.called_ae, (attributes.called_ae,)),
    )
    for what, allowed, present in exact:
        if allowed:
            held = bool({item.casefold() for item in allowed} & {item.casefold() for item in present if item})
            found = _quoted("\\".join(_name(item) for item in present))
            yield _check(what, " or ".join(_name(item) for item in allowed), found, held=held)


def _image_types(when: Conditions, attributes: SeriesAttributes) -> Iterator[Check]:
    found = _quoted("\\".join(attributes.image_type))
    for value in when.image_type.contains:
        yield _check("image type", f"with {value}", found, held=value in attributes.image_type)
    for value in when.image_type.excludes:
        yield _check("image type", f"without {value}", found, held=value not in attributes.image_type)


def _kinds(when: Conditions, attributes: SeriesAttributes) -> Iterator[Check]:
    if when.contrast is not None:
        found = {"stated": "stated by the tags", "described": "named in the description", None: "not mentioned"}
        wanted = "given" if when.contrast else "not given"
        held = (attributes.contrast is not None) == when.contrast
        reason = (
            f"contrast agent is {found[attributes.contrast]}, and the rule wants {'one' if when.contrast else 'none'}"
        )
        yield Check("contrast agent", wanted, found[attributes.contrast], held, reason)
    for what, key, policy, is_one in (
        ("derived image", "derived", when.derived, attributes.derived),
        ("localiser", "localizer", when.localizer, attributes.localizer),
    ):
        if policy in {"exclude", "only"}:
            reason = f"it is a {what} (when.{key} is not set to include it)" if is_one else f"it is no {what}"
            wanted = "no" if policy == "exclude" else "yes"
            yield Check(what, wanted, "yes" if is_one else "no", is_one == (policy == "only"), reason)


def _ranges(when: Conditions, attributes: SeriesAttributes) -> Iterator[Check]:
    for what, key, unit in (
        ("echo time", "echo_time", " ms"),
        ("repetition time", "repetition_time", " ms"),
        ("inversion time", "inversion_time", " ms"),
        ("flip angle", "flip_angle", "°"),
        ("slice thickness", "slice_thickness", " mm"),
        ("field strength", "magnetic_field_strength", " T"),
        ("number of slices", "number_of_slices", ""),
    ):
        wanted: Range | None = getattr(when, key)
        value: float | None = getattr(attributes, key)
        if wanted is not None:
            found = "absent" if value is None else f"{value:g}{unit}"
            yield _check(what, wanted.words(unit), found, held=wanted.holds(value))


def _groups(when: When, attributes: SeriesAttributes) -> Iterator[Check]:
    if when.any_of:
        failed = [_first_failure(group, attributes) for group in when.any_of]
        held = "" in failed
        found = f"group {failed.index('') + 1}" if held else "none"
        reason = f"none of its any_of groups holds ({'; '.join(failed)})"
        yield Check("any of", f"one of {len(when.any_of)} groups", found, held, reason)
    for number, group in enumerate(when.none_of, start=1):
        failure = _first_failure(group, attributes)
        reason = f"its none_of group {number} holds"
        yield Check("none of", f"not group {number}", failure or "it holds", bool(failure), reason)


def _first_failure(group: Conditions, attributes: SeriesAttributes) -> str:
    return next((check.reason for check in _checks(group, attributes) if not check.holds), "")


def _check(what: str, wanted: str, found: str, *, held: bool) -> Check:
    return Check(what, wanted, found, held, f"{what} is {found}, not {wanted}")


def _name(value: str) -> str:
    """A SOP Class UID's keyword; anything else as it is."""
    entry = UID_dictionary.get(value)
    return entry[4] if entry else value


def _quoted(found: str) -> str:
    if not found:
        return "absent"
    return found if PRINTABLE.fullmatch(found) else "unprintable"
