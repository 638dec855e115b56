"""The checks of a heat map praise one that points, and find out one that does not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from models.evaluation.counterfactual import lesion_moved, lesion_removed, one_sided
from models.evaluation.explained import cascade, checks, heat, moved, pointing, randomisation, shifted
from models.explain import Explainer
from pipeline.errors import BadModel
from tests.unit.models.measured import Bright, spots


def test_a_map_on_the_lesion_scores_full_and_one_beside_it_nothing() -> None:
    """Heat exactly on the lesion: every pixel inside, all the energy. Far away: none. No heat at all: a miss."""
    pictures = spots()
    perfect = pointing(pictures.masks.astype(np.float32), pictures.masks, 2.0)
    assert (perfect.hits, perfect.inside, perfect.energy) == (1, 1, 1)
    away = pointing(pictures.masks[:, :, ::-1].astype(np.float32), pictures.masks, 2.0)
    assert (away.hits, away.inside, away.energy) == (0, 0, 0)
    nothing = pointing(np.zeros(pictures.masks.shape, dtype=np.float32), pictures.masks, 2.0)
    assert (nothing.hits, nothing.energy, nothing.empty) == (0, 0, 1)


def test_a_map_that_knows_nothing_has_the_energy_of_chance() -> None:
    """An even map has as much heat inside the lesion as the lesion covers of the picture."""
    pictures = spots()
    even = pointing(np.ones(pictures.masks.shape, dtype=np.float32), pictures.masks, 2.0)
    assert even.energy == pytest.approx(even.chance)


def test_near_counts_within_ten_mm() -> None:
    """A hottest pixel three pixels beside the lesion is a hit at 2 mm a pixel and none at 4."""
    pictures = spots(1)
    row = int(np.median(np.nonzero(pictures.masks[0])[0]))
    beside = np.zeros(pictures.masks.shape, dtype=np.float32)
    beside[0, row, np.flatnonzero(pictures.masks[0, row]).max() + 3] = 1
    assert pointing(beside, pictures.masks, 2.0).hits == 1
    assert pointing(beside, pictures.masks, 4.0).hits == 0
    assert pointing(beside, pictures.masks, 2.0).inside == 0


def test_grad_cam_of_a_network_that_sees_the_lesion_points_at_it() -> None:
    """A network that looks for brightness has its heat on the bright lesion; one that looks for darkness has not."""
    pictures = spots()
    seen = pointing(heat(Explainer(Bright()), pictures), pictures.masks, 2.0)
    assert seen.hits == 1
    assert seen.energy > 0.6
    assert pointing(heat(Explainer(Bright(blind=True)), pictures), pictures.masks, 2.0).energy < 0.1


def test_heat_follows_a_lesion_that_changes_sides() -> None:
    """The lesion alone is put into the other half: the heat goes there and leaves its old place."""
    result = moved(Explainer(Bright()), spots(), 2.0)
    assert result["at_the_lesion_before"] == 6
    assert result["followed"] == 1
    assert result["stayed"] == 0
    assert result["energy_new_place"][0] < 0.1
    assert result["energy_new_place"][1] > 0.6


def test_heat_moves_with_the_picture() -> None:
    """The picture shifted, the heat is shifted as far."""
    result = shifted(Explainer(Bright()), spots(), 2.0)
    assert result["pictures"] == 6
    assert result["median_error_mm"] < 1


def test_the_lesion_changes_places_and_nothing_else_changes() -> None:
    """Moved: bright at the mirrored place, dark at the old, mask along. Removed: no bright spot and no mask."""
    pictures = spots()
    assert one_sided(pictures).all()
    after = lesion_moved(pictures)
    for image, mask, old in zip(after.images, after.masks, pictures.masks, strict=True):
        assert image[mask].mean() > 200
        assert image[old].mean() < 90
    gone = lesion_removed(pictures)
    assert gone.images.max() < 100
    assert not gone.masks.any()
    assert pictures.images.max() > 200, "the originals are left alone"


def test_a_lesion_over_the_middle_is_not_one_sided() -> None:
    """Where the lesion meets its own mirror image, or the head is not symmetric, the halves cannot stand in."""
    pictures = spots(2)
    pictures.masks[0, 28:36, 26:38] = True
    pictures.symmetric[1] = False
    assert not one_sided(pictures).any()


def test_weights_are_made_random_from_the_output_down() -> None:
    """First the last module alone, in the end every one; the network that was given stays as it is."""
    network = Bright()
    before = copy.deepcopy(network.state_dict())
    steps = [(name, share, copy.deepcopy(changed.state_dict())) for name, share, changed in cascade(network, seed=0)]
    assert [name for name, _, _ in steps] == ["classes", "smooth"]
    assert steps[-1][1] == 1
    assert torch.equal(steps[0][2]["smooth.weight"], before["smooth.weight"])
    assert not torch.equal(steps[0][2]["classes.weight"], before["classes.weight"])
    assert not torch.equal(steps[1][2]["smooth.weight"], before["smooth.weight"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_map_that_depends_on_the_weights_changes_with_them() -> None:
    """With all weights random the heat of a network that saw the lesion is not what it was."""
    stages = randomisation(Bright(), spots())
    assert stages[-1].ssim < 0.9
    assert stages[-1].spearman < 0.9


def test_all_checks_together_are_plain_numbers() -> None:
    """The report holds every check, by class too."""
    result = checks(Bright(), spots(), 2.0, sample=3)
    assert result["pointing"]["hits"] == 1
    assert set(result["by_class"]) == {"0", "1", "2"}
    assert result["lesion_moved"]["followed"] == 1
    assert len(result["randomised"]) == 2


def test_a_network_without_the_place_for_the_heat_map_is_named() -> None:
    """The error says which module is missing."""
    with pytest.raises(BadModel, match="'deepest'"):
        Explainer(Bright(), "deepest")
