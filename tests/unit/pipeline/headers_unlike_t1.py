"""Headers that resemble T1 and are not, or do not tell. Attributes by the short names of `test_weighting.SHORT`."""

from __future__ import annotations

from typing import Any

from tests.unit.pipeline.headers_of_t1 import MPRAGE

FIELD_MAP = {"seq": "GR", "variant": "SP", "kind": "2D", "tr": 400, "te": 4.92, "flip": 60}

NOT_T1: dict[str, tuple[dict[str, Any], str]] = {
    "gre_field_mapping": ({**FIELD_MAP, "name": "*fm2d2r", "said": "gre_field_mapping"}, "a field map"),
    "its second echo, by name alone": ({**FIELD_MAP, "te": 7.38, "name": "*fm2d2r"}, "a field map"),
    "the same, XA": ({**FIELD_MAP, "te": 10, "tr": 600, "flip": 90, "pulse": "*fm2d2r"}, "a field map"),
    "by protocol alone": ({**FIELD_MAP, "said": "magnitude", "protocol": "gre_field_mapping"}, "a field map"),
    "GE B0 map": (
        {"seq": "RM", "options": "VB_GEMS", "tr": 200, "te": 4.608, "flip": 20, "said": "B0map"},
        "a field map",
    ),
    "GE B0 map without its words": (
        {"seq": "RM", "tr": 800, "te": 4.94, "flip": 10, "said": "Head"},
        "neither a spin nor a gradient",
    ),
    "Philips B0": (
        {
            "seq": "RM",
            "variant": "SS",
            "tr": 3.8,
            "te": 1.52,
            "flip": 12,
            "contrast": "T1",
            "said": "WIP B0 NS",
            "types": ["ORIGINAL", "PRIMARY", "T1", "MIXED"],
        },
        "a field map",
    ),
    "Philips B0 without its words": (
        {
            "seq": "RM",
            "variant": "SS",
            "tr": 3.8,
            "te": 1.52,
            "flip": 12,
            "contrast": "T1",
            "types": ["ORIGINAL", "PRIMARY", "T1", "MIXED"],
        },
        "neither a spin nor a gradient",
    ),
    "Philips field map": (
        {"seq": "GR", "variant": "SP", "tr": 20, "te": 3, "flip": 15, "said": "fcMRI Field Mapping"},
        "a field map",
    ),
    "Philips B0 image": (
        {**FIELD_MAP, "types": ["ORIGINAL", "PRIMARY", "B0 MAP", "B0", "UNSPECIFIED"]},
        r"a map \(ImageType B0 MAP\)",
    ),
    "B1 map": ({"seq": "GR", "tr": 8, "te": 2, "flip": 8, "said": "tfl_b1map"}, "a field map"),
    "unnamed field map of coarse pixels": ({**FIELD_MAP, "PixelSpacing": [3.4, 3.4]}, "too coarse"),
    "proton density of a multi-parameter map": (
        {"seq": "GR", "kind": "3D", "tr": 23.7, "te": 2.2, "flip": 6, "said": "kp_mtflash3d"},
        "PD-weighted",
    ),
    "gradient echo of low flip angle": ({"seq": "GR", "kind": "2D", "tr": 600, "te": 9, "flip": 20}, "PD-weighted"),
    "medic": ({"seq": "GR", "tr": 600, "te": 17, "flip": 30, "name": "*me2d1r4"}, r"T2\*-weighted"),
    "SWI": ({"seq": "GR", "tr": 28, "te": 20, "flip": 15, "name": "*swi3d1r"}, r"T2\*-weighted"),
    "SWI of 7 T": ({"seq": "GR", "tr": 21, "te": 9, "flip": 15, "said": "SWI_Images"}, r"SeriesDescription says T2\*"),
    "TrueFISP": ({"seq": "GR", "variant": "SS", "tr": 4.3, "te": 2.1, "flip": 60, "name": "*tfi3d1"}, "steady-state"),
    "CISS": ({"seq": "GR", "tr": 5.6, "te": 2.5, "flip": 50, "name": "*ci3d1", "kind": "3D"}, "steady-state"),
    "FIESTA": ({"seq": "GR", "variant": ["SS"], "tr": 5, "te": 2, "flip": 50, "kind": "3D"}, "steady-state"),
    "TOF": ({"seq": "GR", "tr": 22, "te": 3.6, "flip": 18, "said": "TOF_3D_multi-slab"}, "angiography"),
    "TOF by flag": ({"seq": "GR", "tr": 22, "te": 3.6, "flip": 18, "angio": "y"}, "angiography"),
    "TOF by name": ({"seq": "GR", "tr": 22, "te": 3.6, "flip": 18, "name": "*fi3d1r"}, "angiography"),
    "MIP": ({"seq": "SE", "tr": 500, "te": 15, "said": "T1 post MIP cor"}, "a projection"),
    "enhanced MIP": (
        {"seq": "SE", "tr": 500, "te": 15, "types": ["DERIVED", "PRIMARY", "T1", "MAXIMUM"]},
        "a projection",
    ),
    "subtraction": ({"seq": "GR", "tr": 4, "te": 2, "flip": 10, "said": "t1_vibe_SUB"}, "a subtraction"),
    "subtraction by type": (
        {"seq": "GR", "tr": 4, "te": 2, "flip": 10, "types": ["DERIVED", "PRIMARY", "SUBTRACTION"]},
        "a subtraction",
    ),
    "localiser": ({"seq": "GR", "tr": 8, "te": 4, "flip": 20, "said": "localizer"}, "a localiser"),
    "T1 map": (
        {**MPRAGE, "seq": ["GR", "IR"], "types": ["DERIVED", "PRIMARY", "T1 MAP", "ND"]},
        r"a map \(ImageType T1 MAP\)",
    ),
    "T1 map by description": ({**MPRAGE, "said": "mp2rage_T1_Images"}, "a quantitative map"),
    "MP2RAGE, first inversion": (
        {**MPRAGE, "seq": ["GR", "IR"], "tr": 5000, "ti": 700, "said": "t1_mp2rage_INV1"},
        "MP2RAGE",
    ),
    "MP2RAGE, second inversion": (
        {**MPRAGE, "seq": ["GR", "IR"], "tr": 5000, "ti": 2500, "said": "t1_mp2rage_INV2"},
        "MP2RAGE",
    ),
    "MP2RAGE, image not named": (
        {**MPRAGE, "seq": ["GR", "IR"], "tr": 5000, "ti": 700, "said": "t1_mp2rage"},
        "MP2RAGE",
    ),
    "phase image of an MPRAGE": ({**MPRAGE, "types": ["ORIGINAL", "PRIMARY", "P", "ND"], "said": "t1_mprage"}, "phase"),
    "white matter nulled": (
        {**MPRAGE, "seq": ["GR", "IR"], "tr": 3000, "ti": 410, "said": "FGATIR"},
        "nulls white matter",
    ),
    "turbo FLASH without inversion": ({**MPRAGE, "ti": None, "name": "*tfl3d1_16ns"}, "preparation"),
    "Dixon, fat": (
        {"seq": "GR", "tr": 5.6, "te": 2.46, "flip": 9, "types": ["DERIVED", "PRIMARY", "M", "FAT"]},
        "opposed-phase",
    ),
    "Dixon, opposed phase": (
        {"seq": "GR", "tr": 5.6, "te": 1.2, "flip": 9, "types": ["ORIGINAL", "PRIMARY", "M", "OPP_PHASE"]},
        "opposed-phase",
    ),
    "STIR": ({"seq": ["SE", "IR"], "tr": 3500, "te": 35, "ti": 150}, "a STIR"),
    "STIR without its inversion time": (
        {"seq": ["SE", "IR"], "tr": 3500, "te": 35, "said": "STIR cor"},
        "SeriesDescription says STIR",
    ),
    "inversion recovery without anything": ({"seq": ["SE", "IR"], "tr": 3000, "te": 30}, "it may be a STIR"),
    "FLAIR": ({"seq": ["SE", "IR"], "tr": 9000, "te": 120, "ti": 2500}, "T2-weighted"),
    "FLAIR, IR alone": ({"seq": "IR", "tr": 11000, "te": 125, "ti": 2800}, "T2-weighted"),
    "FLAIR of a short echo": ({"seq": ["SE", "IR"], "tr": 3400, "te": 30, "ti": 1900}, "a FLAIR"),
    "T2": ({"seq": "SE", "tr": 4000, "te": 100}, "T2-weighted"),
    "T2 that is described as T1": ({"seq": "SE", "tr": 4000, "te": 100, "said": "T1 AX"}, "SeriesDescription says T1"),
    "T1 that is described as T2": (
        {"seq": "SE", "tr": 500, "te": 15, "said": "T2 TSE AX"},
        "SeriesDescription says T2",
    ),
    "MPRAGE that is described as T2": ({**MPRAGE, "said": "t2_spc"}, "SeriesDescription says T2"),
    "T1 with another acquisition contrast": (
        {"seq": "SE", "tr": 500, "te": 15, "contrast": "PROTON_DENSITY"},
        "AcquisitionContrast says PD",
    ),
    "PD": ({"seq": "SE", "tr": 2300, "te": 22, "said": "FSE PD AXIAL OBL"}, "PD-weighted"),
    "nothing": ({}, "no description"),
    "two weightings, no timing": ({"said": "T1 and T2"}, "no description"),
    "echo-planar": ({"seq": "EP", "tr": 3000, "te": 30, "flip": 76}, "echo-planar"),
    "arterial spin labelling": ({"seq": "GR", "tr": 500, "te": 9, "said": "3DpCASL"}, "perfusion"),
}
"""Name → header, and what the refusal says."""
