"""What a reader sees of the results in OHIF and in Orthanc's own viewer, in a real browser (docs/viewers.md).

One file, so that one process runs it: it has one Orthanc, one OHIF and one browser.
"""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline.results.colours import OUTLINE_RGB
from tests.peers.orthanc import OrthancPeer
from tests.viewer.acquisitions import PLANES, Acquisition, Name, acquire
from tests.viewer.ohif_page import OhifPage, until
from tests.viewer.orthanc_page import OrthancPage
from tests.viewer.pictures import Picture, Placed, colour_likeness, coloured, displayed, likeness, misfit

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("viewer")]


NIGHTLY = pytest.mark.nightly


@pytest.mark.parametrize("name", [name if name == "axial" else pytest.param(name, marks=NIGHTLY) for name in PLANES])
def test_what_is_compared_would_show_every_mirroring(name: Name) -> None:
    """Each slice looked at is unlike its mirror images, those of the neighbours, and itself one pixel on."""
    made = acquire(name)
    placed = Placed((700, 900), made.mask.shape[1:], tuple(float(v) for v in made.datasets[0].PixelSpacing))
    planes = [ds.pixel_array for ds in made.datasets]
    for index in made.first_middle_last:
        mask = made.mask[index]
        assert misfit(placed.enlarged(mask), placed, mask) == ""
        turned = [np.fliplr(mask), np.flipud(mask), mask[::-1, ::-1], np.roll(mask, 1, 0), np.roll(mask, 1, 1)]
        for other in (*turned, made.mask[::-1][index], np.zeros_like(mask)):
            assert misfit(placed.enlarged(other), placed, mask) != ""
        grey = np.repeat((placed.enlarged(planes[index]) // 8)[..., None], 3, -1).astype(np.uint8)
        assert displayed(grey, placed, planes) == index
        for flipped in (grey[:, ::-1], grey[::-1]):
            assert likeness(flipped, placed, planes[index]) < likeness(grey, placed, planes[index]) - 0.01


# --- OHIF ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("axial", "orthanc-ohif"),
        pytest.param("sagittal", "generic-pacs", marks=NIGHTLY),
        *(pytest.param(name, "orthanc-ohif", marks=NIGHTLY) for name in PLANES if name != "axial"),
        pytest.param("coronal", "generic-pacs", marks=NIGHTLY),
    ],
)
def test_ohif_lays_the_segmentation_on_the_lesion(name: Name, profile: str, ohif: OhifPage) -> None:
    """First, middle and last slice of the lesion, and those beside it, which stay grey; empty frames kept or not. In
    the segment's Recommended Display CIELab Value.
    """
    made = acquire(name)
    (segmentation,) = made.results("segmentation", profile)
    kept = int(segmentation.NumberOfFrames) == len(made.datasets)
    assert kept == (profile == "orthanc-ohif")
    ohif.open(made.study_instance_uid)
    ohif.open_series(segmentation)
    ohif.load_segmentation()
    first, middle, last = made.first_middle_last
    for index in sorted({max(first - 1, 0), first, middle, last, min(last + 1, len(made.datasets) - 1)}):
        try:
            lies_on_the_lesion(made, index, ohif)
            away = np.abs(ohif.picture().astype(int) - OUTLINE_RGB).max(axis=-1)
            assert (away.min() <= 2) == made.mask[index].any()
        finally:
            ohif.shot(f"segmentation-{name}-{'with' if kept else 'without'}-empty-frames-{index:02d}")
    assert ohif.errors == []


def lies_on_the_lesion(made: Acquisition, index: int, ohif: OhifPage) -> None:
    """Scroll to slice ``index``, and wait until it is there, upright, coloured where the lesion is and nowhere else."""
    planes = [ds.pixel_array for ds in made.datasets]
    told = ["nothing"]

    def right() -> bool:
        picture = ohif.picture()
        placed = Placed.of(picture, made.datasets[index])
        shown = displayed(picture, placed, planes)
        if shown != index:  # OHIF jumps to the lesion some time after the segmentation was loaded
            told[0] = f"shows slice {shown}"
            ohif.show(made.datasets[index])
        else:
            told[0] = misfit(coloured(picture), placed, made.mask[index])
        return told[0] == ""

    try:
        ohif.until(right, "never right")
    except AssertionError:
        pytest.fail(f"{made.name}, slice {index}: {told[0]}")


@pytest.mark.nightly
def test_ohif_shows_the_overlay_in_colour(ohif: OhifPage) -> None:
    """The summary page first, then the last page: text, heat map, outline and colour bar as they were drawn."""
    made = acquire("axial")
    pages = made.results("overlay")
    ohif.open(made.study_instance_uid)
    ohif.open_series(pages[0])
    for number in (1, len(pages)):
        page = pages[number - 1]
        if number > 1:
            ohif.show(page)
        ohif.until(lambda page=page: is_page(ohif.picture(), page), f"page {number} is not shown in colour")
        ohif.shot(f"overlay-{number}")
    assert ohif.errors == []


@pytest.mark.parametrize("profile", ["generic-pacs", pytest.param("orthanc-ohif", marks=NIGHTLY)])
def test_ohif_shows_the_report_as_text_and_no_blank_page(profile: str, ohif: OhifPage) -> None:
    """Also that of the default profile: the answer before the figures, each measurement by name, each probability below
    the name of its class, and what the result must not be used for.
    """
    made = acquire("axial")
    (report,) = made.results("report", profile)
    (lesion,) = made.processed.findings.regions
    ohif.open(made.study_instance_uid)
    ohif.open_series(report)
    wanted = (
        "Oncology Measurement Report",
        "Tracking Identifier: Lesion 1",
        f"Long axis: {lesion.long_axis.length_mm:.1f} mm",
        f"Volume: {round(lesion.value('volume'), 1):g} mm3",
        "Tracking Identifier: Probability of meningioma",
        "Probability: 0.09",
        "not for diagnosis",
    )
    ohif.until(lambda: all(words in ohif.text() for words in wanted), f"the report does not say {wanted}")
    shown = ohif.text()
    ohif.shot(f"report-{profile}")
    order = ("Conclusion: Presence of neoplasm", "The algorithm suggests glioma", "Computed by", "Long axis:")
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    classes = [shown.index(f"Probability of {name}") for name in ("glioma", "meningioma")]
    assert classes[0] < shown.index("Probability: 0.86") < classes[1] < shown.index("Probability: 0.09")
    assert ohif.errors == []


@pytest.mark.nightly
def test_ohif_has_no_place_for_key_objects_and_presentation_states(ohif: OhifPage) -> None:
    """It lists them with a warning; docs/viewers.md says so. Of the PDF it makes a page."""
    made = acquire("axial")
    ohif.open(made.study_instance_uid)
    listed = {kind: ohif.is_supported(made.results(kind, "everything")[0]) for kind in NOT_IMAGES}
    assert listed == NOT_IMAGES
    ohif.shot("list")
    (document,) = made.results("document", "everything")
    ohif.open_series(document)
    shown = ohif.page.locator("object[type='application/pdf']")
    shown.wait_for(state="attached")
    data = ohif.page.evaluate(FETCHED, shown.get_attribute("data"))
    assert bytes(data) == bytes(document.EncapsulatedDocument[: len(data)])
    ohif.shot("document")
    assert ohif.errors == []


NOT_IMAGES = {"keyobjects": False, "presentation": False, "document": True}
FETCHED = "async url => [...new Uint8Array(await (await fetch(url)).arrayBuffer())].slice(0, 2000)"


def is_page(picture: Picture, page: Dataset) -> bool:
    """Whether ``picture`` is the overlay's ``page``, in its colours."""
    placed = Placed.of(picture, page)
    grey = likeness(picture, placed, page.pixel_array[..., 1])
    return min(*colour_likeness(picture, placed, page.pixel_array), grey) > 0.85


@pytest.mark.nightly
def test_ohif_lays_the_parametric_map_on_the_lesion_if_its_frames_ascend(ohif: OhifPage) -> None:
    """OHIF goes by the order of frames alone: ascending and one for each plane is right, descending is mirrored."""
    made = acquire("axial")
    strongest = int(np.argmax(made.processed.findings.heatmap.sum(axis=(1, 2))))
    mirrored = len(made.datasets) - 1 - strongest
    for profile, coloured_slice, grey_slice in (("everything", strongest, mirrored), ("turned", mirrored, strongest)):
        (heatmap,) = made.results("heatmap", profile)
        ohif.open(made.study_instance_uid)
        ohif.open_series(heatmap)
        ohif.until(lambda: ohif.viewport_type() == "orthographic", "the parametric map is not opened")
        for index, wanted in ((coloured_slice, True), (grey_slice, False)):
            scroll_to(made, index, ohif)
            ohif.until(
                lambda wanted=wanted: (coloured(ohif.picture()).sum() > 500) == wanted,
                f"{profile}: slice {index} should be {'coloured' if wanted else 'grey'}",
            )
            ohif.shot(f"heatmap-{profile}-{index:02d}")


def scroll_to(made: Acquisition, index: int, ohif: OhifPage) -> None:
    """Go to the slice that the picture says is ``index``: OHIF counts the planes of a volume either way round."""
    planes = [ds.pixel_array for ds in made.datasets]

    def shown() -> int:
        picture = ohif.picture()
        placed = Placed.of(picture, made.datasets[0])
        return int(np.argmax([likeness(picture, placed, plane) for plane in planes]))

    def there() -> bool:
        found = shown()
        if found == len(planes) - 1 - index:
            ohif.jump(len(planes) - 1 - ohif.jumped)
        return found == index

    ohif.jump(index)
    ohif.until(there, f"slice {index} is not reached")


# --- Orthanc's own viewer -----------------------------------------------------------------------------------------


@pytest.fixture
def viewer(page, archive: OrthancPeer, shots) -> OrthancPage:
    if "web-viewer" not in httpx.get(f"{archive.url}/plugins", trust_env=False).json():
        pytest.skip("Orthanc has no web viewer here: apt-get install orthanc-webviewer")
    return OrthancPage(page, archive, shots)


def test_orthancs_viewer_shows_the_images_upright(viewer: OrthancPage) -> None:
    made = acquire("axial")
    planes = [ds.pixel_array for ds in made.datasets]
    viewer.open(made.series_instance_uid)

    def upright() -> bool:
        if viewer.image() is None:
            return False
        picture = viewer.picture()
        return displayed(picture, Placed.of(picture, made.datasets[0]), planes) is not None

    until(viewer.page, upright, "no image of the series is shown")
    viewer.shot("images")


def test_orthancs_viewer_shows_the_overlay_in_colour(viewer: OrthancPage) -> None:
    """The summary page and the one after it, in the colours that they were drawn in."""
    pages = acquire("axial").results("overlay")
    viewer.open(str(pages[0].SeriesInstanceUID))
    for number, page in enumerate(pages[:2], start=1):
        if number > 1:
            viewer.next_image()
        until(
            viewer.page,
            lambda page=page: viewer.image() is not None and is_page(viewer.picture(), page),
            f"page {number} is not shown in colour",
        )
        viewer.shot(f"overlay-{number}")
