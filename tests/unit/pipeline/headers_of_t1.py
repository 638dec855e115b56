"""What vendors write into the header of a T1 series. Attributes by the short names of `test_weighting.SHORT`.

The rows are taken from real headers where one was at hand (scanners of Siemens, GE, Philips, UIH; public conversions
of others), and else from what the vendors' conformance statements and manuals say.
"""

from __future__ import annotations

from typing import Any

MPRAGE = {"seq": "GR", "kind": "3D", "tr": 1800, "te": 2.41, "ti": 900, "flip": 9}

T1: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # Siemens
    "XA classic export, GR alone": (
        {**MPRAGE, "variant": "SK", "options": "PER", "name": "*tfl3d1_16ns", "said": "anat-T1w_acq-tfl"},
        ("InversionTime", "SequenceName", "SeriesDescription"),
    ),
    "the same without a description": ({**MPRAGE, "name": "*tfl3d1_16ns"}, ("InversionTime", "SequenceName")),
    "the same without a name": ({**MPRAGE, "said": "t1_mprage_sag_p2_iso"}, ("InversionTime", "SeriesDescription")),
    "the same in small letters": (
        {**MPRAGE, "seq": "gr", "kind": "3d", "pulse": "*TFL3D1"},
        ("InversionTime", "PulseSequenceName"),
    ),
    "without an inversion time": (
        {**MPRAGE, "ti": None, "name": "*tfl3d1_16ns", "said": "t1_mprage"},
        ("SequenceName", "SeriesDescription"),
    ),
    "VE11 MPRAGE": (
        {
            "seq": ["GR", "IR"],
            "variant": ["SK", "SP", "MP"],
            "kind": "3D",
            "tr": 2530,
            "te": 2.98,
            "ti": 1100,
            "flip": 7,
            "name": "*tfl3d1_16ns",
        },
        (),
    ),
    "MEMPRAGE, RMS of the echoes": (
        {
            "seq": ["GR", "IR"],
            "tr": 2530,
            "te": 1.66,
            "flip": 7,
            "name": "r73d4_ns",
            "said": "mocoMEMPRAGE_220FOV RMS",
            "types": ["ORIGINAL", "PRIMARY", "OTHER", "ND", "NORM", "MEAN"],
        },
        (),
    ),
    "SPACE T1": (
        {
            "seq": "SE",
            "kind": "3D",
            "tr": 600,
            "te": 7.2,
            "flip": 120,
            "etl": 40,
            "name": "*spc3d1_40",
            "said": "t1_space_sag",
        },
        (),
    ),
    "VIBE": (
        {
            "seq": "GR",
            "variant": ["SP", "OSP"],
            "kind": "3D",
            "tr": 4.4,
            "te": 2.1,
            "flip": 9,
            "name": "*fl3d1",
            "said": "t1_vibe_fs_tra_post",
        },
        (),
    ),
    "VIBE Dixon, water": (
        {
            "seq": "GR",
            "tr": 5.6,
            "te": 2.46,
            "flip": 9,
            "name": "*fl3d2",
            "said": "t1_vibe_dixon_W",
            "types": ["DERIVED", "PRIMARY", "M", "WATER"],
        },
        (),
    ),
    "VIBE Dixon, in phase": (
        {"seq": "GR", "tr": 5.6, "te": 2.46, "flip": 9, "types": ["ORIGINAL", "PRIMARY", "M", "IN_PHASE"]},
        (),
    ),
    "FLASH 2D": (
        {
            "seq": "GR",
            "variant": ["SP", "OSP"],
            "kind": "2D",
            "tr": 300,
            "te": 2.46,
            "flip": 80,
            "name": "*fl2d1",
            "said": "t1_fl2d_sag",
        },
        (),
    ),
    "MP2RAGE, uniform": (
        {
            "seq": ["GR", "IR"],
            "kind": "3D",
            "tr": 5000,
            "te": 2.98,
            "ti": 700,
            "flip": 4,
            "name": "*tfl3d1_16ns",
            "said": "t1_mp2rage_sag_UNI_Images",
            "types": ["DERIVED", "PRIMARY", "M", "ND", "UNI"],
        },
        ("SequenceName", "SeriesDescription"),
    ),
    "dark fluid TIRM": (
        {
            "seq": ["SE", "IR"],
            "kind": "2D",
            "tr": 2000,
            "te": 9,
            "ti": 860,
            "flip": 150,
            "name": "*tir2d1_7",
            "said": "t1_tirm_tra_dark-fluid",
        },
        (),
    ),
    "TSE": (
        {
            "seq": "SE",
            "variant": ["SK", "SP"],
            "tr": 550,
            "te": 11,
            "flip": 150,
            "etl": 3,
            "name": "*tse2d1_3",
            "said": "t1_tse_tra_post",
        },
        (),
    ),
    "TSE at 3 T": ({"seq": "SE", "tr": 1200, "te": 12, "flip": 150, "said": "t1_tse_tra"}, ("SeriesDescription",)),
    # GE
    "BRAVO": (
        {
            "seq": "GR",
            "variant": ["SS", "SK"],
            "options": ["FAST_GEMS", "EDR_GEMS", "IR_GEMS"],
            "kind": "3D",
            "tr": 8.2,
            "te": 3.2,
            "ti": 450,
            "flip": 12,
            "GEMS_ACQU_01": "BRAVO",
            "said": "Sag BRAVO",
        },
        (),
    ),
    "BRAVO in research mode": (
        {
            "seq": "RM",
            "variant": "NONE",
            "options": ["FAST_GEMS", "IR_GEMS"],
            "kind": "3D",
            "tr": 8.2,
            "te": 3.2,
            "ti": 450,
            "flip": 12,
            "GEMS_ACQU_01": "bravo",
        },
        ("private sequence name (GEMS_ACQU_01)",),
    ),
    "IR-FSPGR": (
        {
            "seq": ["GR", "IR"],
            "variant": ["SS", "SP", "SK"],
            "kind": "3D",
            "tr": 6.9,
            "te": 3,
            "ti": 400,
            "flip": 11,
            "said": "IR-FSPGR",
        },
        (),
    ),
    "FSPGR": (
        {
            "seq": "GR",
            "variant": ["SS", "SP", "SK"],
            "kind": "3D",
            "tr": 6.4,
            "te": 1.9,
            "flip": 12,
            "said": "Ax 3D FSPGR +C",
        },
        (),
    ),
    "FSPGR that is not said to be spoiled": (
        {"seq": "GR", "variant": "SS", "kind": "3D", "tr": 6.4, "te": 1.9, "flip": 12, "said": "Ax 3D FSPGR +C"},
        ("SeriesDescription",),
    ),
    "MP-RAGE, Pioneer": (
        {
            "seq": ["RM", "IR"],
            "variant": "NONE",
            "options": ["EDR_GEMS", "FSA_GEMS", "IR_GEMS"],
            "kind": "3D",
            "tr": 2217.66,
            "te": 3.172,
            "ti": 1000,
            "flip": 8,
            "GEMS_ACQU_01": "MP-RAGE",
        },
        (),
    ),
    "CUBE T1": (
        {
            "seq": "SE",
            "variant": "SK",
            "kind": "3D",
            "tr": 600,
            "te": 14,
            "flip": 90,
            "etl": 24,
            "GEMS_ACQU_01": "CUBE",
            "said": "Sag CUBE T1 +C",
        },
        (),
    ),
    "T1 FLAIR": (
        {
            "seq": ["SE", "IR"],
            "variant": "SK",
            "options": "IR_GEMS",
            "kind": "2D",
            "tr": 2475,
            "te": 24,
            "ti": 875,
            "flip": 111,
            "said": "Ax T1 FLAIR",
        },
        (),
    ),
    "T1 FLAIR, IR alone": ({"seq": "IR", "kind": "2D", "tr": 2200, "te": 24, "ti": 760, "said": "T1 FLAIR"}, ()),
    "T1 FLAIR, SE alone": (
        {"seq": "SE", "kind": "2D", "tr": 2200, "te": 24, "ti": 760, "said": "T1 FLAIR"},
        ("InversionTime", "SeriesDescription"),
    ),
    "LAVA": (
        {"seq": "GR", "variant": ["SS", "SP", "SK"], "kind": "3D", "tr": 4, "te": 1.7, "flip": 12, "said": "Ax LAVA"},
        (),
    ),
    # Philips
    "3D TFE": (
        {
            "seq": "GR",
            "variant": "MP",
            "options": "SP",
            "kind": "3D",
            "tr": 8.03,
            "te": 4.6,
            "flip": 8,
            "said": "sT1W_3D_TFE",
            "Philips Imaging DD 001": "T1TFE",
            "types": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
        },
        (),
    ),
    "3D TFE in research mode": (
        {"seq": "RM", "kind": "3D", "tr": 8.03, "te": 4.6, "flip": 8, "said": "sT1W_3D_TFE"},
        ("SeriesDescription",),
    ),
    "T1 FFE": (
        {
            "seq": "GR",
            "variant": "SP",
            "kind": "2D",
            "tr": 200,
            "te": 2.3,
            "flip": 80,
            "Philips Imaging DD 001": "T1FFE",
        },
        (),
    ),
    "T1 SE": (
        {
            "seq": "SE",
            "variant": "OSP",
            "kind": "2D",
            "tr": 500,
            "te": 10,
            "flip": 70,
            "types": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"],
        },
        (),
    ),
    "T1 IR-TSE": (
        {
            "seq": "IR",
            "kind": "2D",
            "tr": 2000,
            "te": 20,
            "ti": 800,
            "said": "T1W_IR_TSE",
            "types": ["ORIGINAL", "PRIMARY", "M_IR", "M", "IR"],
        },
        (),
    ),
    "enhanced MPRAGE": (
        {
            "seq": ["GR", "IR"],
            "kind": "3D",
            "tr": 6.5,
            "te": 2.9,
            "ti": 900,
            "flip": 9,
            "pulse": "T1TFE",
            "contrast": "T1",
            "types": ["ORIGINAL", "PRIMARY", "T1", "NONE"],
        },
        (),
    ),
    # Canon, Hitachi, Fujifilm, UIH
    "Canon Fast 3D": (
        {
            "seq": "GR",
            "kind": "3D",
            "tr": 6,
            "te": 2.6,
            "ti": 900,
            "flip": 9,
            "name": "Fast_3D_mpr",
            "said": "3D T1 MPRAGE",
        },
        (),
    ),
    "Toshiba FE": (
        {"seq": "FE", "kind": "3D", "tr": 13, "te": 5.5, "flip": 20, "name": "FE3D", "said": "T1 3D FE"},
        (),
    ),
    "Hitachi RSSG": ({"seq": "GR", "variant": "SP", "kind": "3D", "tr": 20, "te": 4.4, "flip": 25, "name": "RSSG"}, ()),
    "Hitachi RSSG, sequence unnamed": (
        {"kind": "3D", "tr": 20, "te": 4.4, "flip": 25, "name": "RSSG"},
        ("SequenceName",),
    ),
    "UIH gre_fsp": (
        {
            "seq": ["GR", "IR"],
            "variant": "NONE",
            "kind": "3D",
            "tr": 7.25,
            "te": 3.1,
            "ti": 750,
            "flip": 10,
            "name": "gre_fsp",
            "said": "t1_gre_fsp_3d_sag",
        },
        (),
    ),
    "UIH gre_quick": ({"seq": "GR", "kind": "3D", "tr": 4.2, "te": 1.9, "flip": 10, "name": "gre_quick3d"}, ()),
    "multi-parameter map, T1": (
        {"seq": "GR", "variant": "SP", "kind": "3D", "tr": 18.7, "te": 2.3, "flip": 20, "said": "t1w_kp_mtflash3d"},
        (),
    ),
    # converted
    "no timing": ({"said": "AX T1 POST"}, ("SeriesDescription",)),
}
"""Name → header, and the attributes that the weighting is reported to have been taken from."""
