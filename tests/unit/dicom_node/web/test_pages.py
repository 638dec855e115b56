"""The pages as HTML: what they show to whom, in whose words, and that nothing in a header becomes markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from dicom_node.settings.web import Role, Web
from dicom_node.web import assets
from dicom_node.web.pages import words
from dicom_node.web.pages.others import card_html
from pipeline.findings.model import Outcome
from pipeline.report.sentences import Language
from tests.peers.dashboard import Dashboard

MakeBoard = Callable[..., Dashboard]
TEMPLATES = Path(words.__file__).parent / "templates"
PATHS = (
    "/",
    "/studies/{study}",
    "/destinations",
    "/models",
    "/models/brain_mri_tumor",
    "/settings",
    "/audit",
    "/login",
    "/nothing",
)
HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """The tags of a page, and ids that it has twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.tags if "id" in attrs]


@pytest.fixture(scope="module")
def study(board: Dashboard) -> str:
    """A study of a patient with a hostile name: a finding whose delivery failed."""
    series = board.series("hostile", patient_name=f"{HOSTILE}^Ann", patient_id="P'1\"2<3>", accession_number="A&B")
    job = board.job(series)
    board.read(job)
    board.dead(job)
    return str(series[0].StudyInstanceUID)


def test_what_a_header_says_stays_text(board: Dashboard, study: str) -> None:
    client = board.client(Role.OPERATOR)
    for path in ("/", f"/studies/{study}"):
        text = client.get(path).text
        assert "&lt;script&gt;" in text
        assert HOSTILE not in text
    searched = client.get("/", params={"q": HOSTILE, "state": HOSTILE, "since": "2026-01-01", "modality": HOSTILE}).text
    assert HOSTILE not in searched


def test_pages_have_no_script_or_style_of_their_own_and_fetch_nothing_from_elsewhere(
    board: Dashboard, study: str
) -> None:
    for path in PATHS:
        client = board.client(None if path == "/login" else Role.ADMIN)
        page = Page(client.get(path.format(study=study)).text)
        for tag, attrs in page.tags:
            assert tag != "style"
            assert "style" not in attrs, (path, tag)
            assert not [name for name in attrs if name.startswith("on")], (path, tag)
            assert tag != "script" or attrs["src"]
            for name in ("src", "href", "action", "hx-get", "hx-post"):
                value = attrs.get(name) or ""
                outside = tag == "a" and path.startswith("/models/")
                assert not value.startswith(("http", "//", "javascript:")) or outside, (path, tag, value)
        ids = page.ids()
        assert len(ids) == len(set(ids)), path
        assert ("html", "en") in [(tag, attrs.get("lang")) for tag, attrs in page.tags]


def test_every_control_has_a_name(board: Dashboard, study: str) -> None:
    """Inputs stand in a label, pictures have a text, buttons say what they do."""
    for path in PATHS:
        client = board.client(None if path == "/login" else Role.ADMIN)
        text = client.get(path.format(study=study)).text
        labelled = re.findall(r"<label[^>]*>.*?</label>", text, re.DOTALL)
        for control in re.findall(r"<(?:input|select)[^>]*>", text):
            named = "aria-label=" in control or any(control in label for label in labelled)
            assert 'type="hidden"' in control or named, control
        assert not re.findall(r"<img(?![^>]*\balt=)[^>]*>", text), path
        for attrs, inside in re.findall(r"<button([^>]*)>(.*?)</button>", text, re.DOTALL):
            assert inside.strip() or "aria-label" in attrs


def test_filters_stand_in_the_url_and_in_the_form(board: Dashboard, study: str) -> None:
    text = board.client(Role.OPERATOR).get("/?state=failed&q=A%26B&since=2026-01-01").text
    assert 'value="A&amp;B"' in text
    assert '<option value="failed" selected>' in text
    assert f"/studies/{study}" in text
    assert 'hx-get="/?state=failed&amp;q=A%26B&amp;since=2026-01-01"' in text, "the part that updates itself keeps them"


def test_htmx_gets_the_part_that_changes_alone(board: Dashboard, study: str) -> None:
    client = board.client(Role.OPERATOR)
    for path in ("/", f"/studies/{study}", "/destinations"):
        part = client.get(path, headers={"HX-Request": "true"}).text
        assert part.strip().startswith('<section id="live"'), path
        assert "<html" not in part
    lost = board.client().get("/", headers={"HX-Request": "true", "HX-Current-URL": "http://localhost/?state=failed"})
    assert lost.headers["hx-redirect"] == "/login?next=/%3Fstate%3Dfailed"


def test_buttons_stand_there_for_those_who_may_press_them(board: Dashboard, study: str) -> None:
    operator, viewer = (board.client(role).get(f"/studies/{study}").text for role in (Role.OPERATOR, Role.VIEWER))
    assert "/retry" in operator
    assert "/discard" in operator
    assert "/retry" not in viewer
    assert "/results/" in operator
    assert "/results/" not in viewer
    assert "/pictures/" in viewer
    assert "/test" in board.client(Role.OPERATOR).get("/destinations").text
    assert "/test" not in board.client(Role.VIEWER).get("/destinations").text


def test_an_uncertain_answer_shows_no_class_and_a_withdrawn_one_no_answer(make_board: MakeBoard) -> None:
    board = make_board()
    job = board.job(board.series("uncertain"))
    board.read(job, Outcome.INDETERMINATE, probability=0.56)
    text = board.client(Role.VIEWER).get("/").text
    assert "Indeterminate" in text
    assert "glioma" not in text
    assert "56%" not in text


def test_a_lesion_of_uncertain_kind_is_no_glioma_in_the_worklist(make_board: MakeBoard) -> None:
    board = make_board()
    job = board.job(board.series("uncertain"))
    board.read(job, probability=0.47, caveat="LESION_KIND_UNCERTAIN")
    page = board.client(Role.VIEWER).get("/").text
    (headline,) = re.findall(r'<span class="headline">(.*?)</span>', page)
    assert headline == "Lesion, kind uncertain"
    assert re.search(r'<span class="dim">glioma</span>\s*<meter', page)


def test_an_empty_store_says_where_to_send(make_board: MakeBoard) -> None:
    board = make_board(destinations={})
    client = board.client(Role.VIEWER)
    assert "Send one to CANDELA, port 11112" in client.get("/").text
    assert "No study matches" in client.get("/?state=failed").text
    assert "[destinations.NAME]" in client.get("/destinations").text


def test_older_studies_are_a_page_away(make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.web.pages.worklist.PAGE", 1)
    board = make_board()
    for name in ("old", "new"):
        board.job(board.series(name))
    client = board.client(Role.VIEWER)
    first = client.get("/").text
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = client.get(older.replace("&amp;", "&")).text
    studies = [re.findall(r'href="(/studies/[^"]+)"', text) for text in (first, second)]
    assert [len(found) for found in studies] == [1, 1]
    assert studies[0] != studies[1]
    assert 'rel="next"' not in second


def test_a_click_on_the_column_of_times_turns_the_order(make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every study once, the oldest first, over pages; the form and the column keep the other choices."""
    monkeypatch.setattr("dicom_node.web.pages.worklist.PAGE", 2)
    board = make_board()
    sent = [str(board.job(board.series(name)).study_instance_uid) for name in ("one", "two", "three")]
    client = board.client(Role.VIEWER)
    (turn,) = re.findall(r'aria-sort="descending"><a href="([^"]+)"', client.get("/?modality=MR").text)
    first = client.get(turn.replace("&amp;", "&")).text
    (newer,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = client.get(newer.replace("&amp;", "&")).text
    assert re.findall(r'href="/studies/([^"]+)"', first + second) == sent
    assert 'name="order" value="oldest"' in first
    assert re.findall(r'aria-sort="ascending"><a href="([^"]+)"', first) == ["/?modality=MR"]
    listed = client.get("/api/v1/studies", params={"order": "oldest", "limit": 1}).json()
    assert [item["study_instance_uid"] for item in listed["items"]] == sent[:1]


def test_a_model_card_brings_no_markup_and_no_address_of_its_own() -> None:
    card = "# T\n<script>x</script> [a](javascript:alert(1)) [b](../x.md) [c](https://e.example)\n\n![p](plots/a.svg) ![q](https://e.example/q.png)\n"
    html = card_html(card, "m")
    assert "<script" not in html
    assert "javascript" not in re.sub(r">[^<]*<", "><", html)
    assert "../x.md" not in html
    assert 'href="https://e.example"' in html
    assert '/api/v1/models/m/plots/a.svg"' in html
    assert "q.png" not in html


def test_every_text_exists_is_used_and_has_the_same_places_in_each_language() -> None:
    english = words.texts(Language.ENGLISH)
    code = "".join(path.read_text() for path in [*TEMPLATES.rglob("*.html"), *TEMPLATES.parent.glob("*.py")])
    named = set(re.findall(r"""\b(?:t|say)\("([a-z0-9_]+\.[a-z0-9_]+)\"""", code))
    made = (
        "state.",
        "job.",
        "delivery.",
        "outcome.",
        "event.",
        "page.",
        "destination.",
        "filter.",
        "verdict.",
        "analysis.",
        "outline.",
        "language.",
        "activity.",
        "audited.",
        "matching.",
    )
    assert named <= set(english), named - set(english)
    assert [key for key in english if key not in named and not key.startswith(made)] == []
    assert {path.stem for path in words.TEXTS.glob("*.toml")} == {*Language}
    for language in Language:
        texts = words.texts(language)
        assert texts.keys() == english.keys()
        for key, text in texts.items():
            assert set(re.findall(r"\{(\w+)", text)) == set(re.findall(r"\{(\w+)", english[key])), (language, key)


def test_every_state_and_event_has_a_text() -> None:
    from dicom_node.jobs.status import DeliveryState, JobState
    from dicom_node.web import describe
    from dicom_node.web.api.schemas import StudyState

    english = words.texts(Language.ENGLISH)
    keys = [f"state.{item}" for item in StudyState] + [f"job.{item}" for item in JobState]
    keys += [f"delivery.{item}" for item in DeliveryState] + [f"outcome.{item}" for item in Outcome]
    keys += [f"event.{what}" for what, _ in describe._ENDED.values()]
    source = Path(describe.__file__).read_text()
    keys += [f"event.{what}" for what in re.findall(r'what(?:=|": )"([a-z_]+)"', source)]
    assert [key for key in keys if key not in english] == []


def test_scripts_are_small_and_an_asset_is_kept_until_it_changes(board: Dashboard) -> None:
    client = board.client()
    total = sum(len(assets.content(name)) for name in assets.TYPES if name.endswith(".js"))
    assert total < 200_000
    for name, media_type in assets.TYPES.items():
        answer = client.get(f"/assets/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert "immutable" in answer.headers["cache-control"]
    page = client.get("/login").text
    assert f"/assets/htmx.js?v={assets.version('htmx.js')}" in page
    assert b"htmx" in assets.content("htmx.js")
    for name in ("../settings.py", "__init__.py", "%2e%2e/web.py", ""):
        assert client.get(f"/assets/{name}").status_code == 404


def test_the_page_of_a_study_links_to_the_viewers_of_the_settings(make_board: MakeBoard) -> None:
    board = make_board(
        'viewers = [{name = "OHIF <b>", url = "https://ohif.example/viewer?a=1&StudyInstanceUIDs={study_instance_uid}"}]'
    )
    uid = str(board.series("viewed", patient_id="PID-VIEWED")[0].StudyInstanceUID)
    page = board.client(Role.VIEWER).get(f"/studies/{uid}").text
    wanted = f"https://ohif.example/viewer?a=1&StudyInstanceUIDs={uid}"
    links = [attrs for tag, attrs in Page(page).tags if tag == "a" and attrs.get("href") == wanted]
    assert [(link["target"], link["rel"]) for link in links] == [("_blank", "noopener noreferrer")]
    assert "Open in OHIF &lt;b&gt;" in page
    assert "ohif" not in make_board().client(Role.VIEWER).get("/").text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert('{study_instance_uid}')",
        "https://ohif.example/viewer",
        "https://ohif.example/{patient_id}/{study_instance_uid}",
        "{study_instance_uid}",
    ],
)
def test_a_viewer_without_a_place_for_the_study_or_of_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        Web.model_validate({"viewers": [{"name": "OHIF", "url": url}]})
