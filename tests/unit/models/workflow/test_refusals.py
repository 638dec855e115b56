"""What a bundle does wrong, and what is wrong with its input: typed errors that say what to do."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.workflow.confined import landlock
from models.workflow.confined.guard import run_guarded
from models.workflow.installing.bundle import read_workflow_bundle
from models.workflow.run import ResidentWorkflow
from pipeline.errors import BadModel, BadPixels, MissingSeries, MixedGeometry, OutOfResources
from tests.peers.workflow_bundle import HALF, INVERT, PRED, copies, write_bundle
from tests.unit.models.workflow.placed import CPU, SHAPE, landmark, placed, resident

SIMPLE = {"_target_": "SimpleInferer"}
LAMBDA = {"_target_": "Lambdad", "keys": PRED}
CONV = {"_target_": "scripts.Net", "in_channels": 1, "out_channels": 1, "kernel_size": 1}


def scripted(tmp_path: Path, body: str, **parts: Any) -> ResidentWorkflow:
    """A bundle whose network runs ``body`` before it copies its input ``x``."""
    lines = "\n        ".join(body.splitlines())
    head = "import os, socket, subprocess, threading, torch\nclass Net(torch.nn.Conv3d):\n    def forward(self, x):\n"
    script = f"{head}        {lines}\n        return super().forward(x)\n"
    return resident(tmp_path, network=(CONV, copies()[1]), scripts={"scripts/__init__.py": script}, **parts)


def refused(workflow: ResidentWorkflow, match: str, error: type[Exception] = BadModel) -> Exception:
    with pytest.raises(error, match=match) as found:
        workflow.run({"image": landmark()})
    return found.value


def test_scripts_that_need_what_is_not_installed(tmp_path: Path) -> None:
    scripts = {"scripts/__init__.py": "import a_package_that_nobody_has\n"}
    with pytest.raises(BadModel, match=r"needs the package a_package_that_nobody_has, .*Install it"):
        resident(tmp_path, network=(CONV, copies()[1]), scripts=scripts)


def test_a_script_that_ends_the_program(tmp_path: Path) -> None:
    """As scripts with a command line do when they are imported."""
    with pytest.raises(BadModel, match="SystemExit"):
        resident(tmp_path, network=(CONV, copies()[1]), scripts={"scripts/__init__.py": "raise SystemExit(2)\n"})
    refused(scripted(tmp_path / "later", "raise SystemExit(2)"), "ended the program")


def test_a_bundle_that_never_ends_is_stopped(tmp_path: Path) -> None:
    """Its thread ends as well, and the next bundle runs."""
    ending = scripted(tmp_path, "while True: pass")
    limited = ResidentWorkflow(ending.bundle, CPU, time_limit=2.0)
    refused(limited, "did not end within 2 s")
    assert not [thread for thread in threading.enumerate() if thread.name == "bundle"]
    assert resident(tmp_path / "next").run({"image": landmark()})


def test_a_component_that_needs_what_is_not_installed(tmp_path: Path) -> None:
    definition = "$monai.utils.optional_import('a_package_that_nobody_has')[0].Net()"
    with pytest.raises(BadModel, match="needs the package a_package_that_nobody_has, which is not installed"):
        resident(tmp_path, network=(definition, copies()[1]))


@pytest.mark.parametrize(
    "body",
    [
        "raise MemoryError",
        "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')",
        "torch.empty(2**45)",
    ],
)
def test_a_network_that_runs_out_of_memory(tmp_path: Path, body: str) -> None:
    error = refused(scripted(tmp_path, body), "ran out of memory in its network", OutOfResources)
    assert "roi_size" in str(error)


def test_a_transform_that_cannot_be_inverted(tmp_path: Path) -> None:
    halved = {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x[:, ::2]"}
    workflow = resident(tmp_path, transforms=[halved], post=[HALF], inferer=SIMPLE)
    refused(workflow, r"cannot be inverted to the grid of the images")


TURN = """
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform

class Turn(MapTransform, InvertibleTransform):
    def __call__(self, data):
        d = dict(data)
        d["image"] = d["image"][:, ::2]
        self.push_transform(d, "image")
        return d

    def inverse(self, data):
        raise NotImplementedError("there is no way back")
"""


def test_an_inverse_that_fails(tmp_path: Path) -> None:
    turn = {"_target_": "scripts.Turn", "keys": "image"}
    workflow = resident(tmp_path, transforms=[turn], inferer=SIMPLE, scripts={"scripts/__init__.py": TURN})
    refused(workflow, "there is no way back")


def test_an_output_on_another_grid(tmp_path: Path) -> None:
    cut = {**LAMBDA, "func": "$lambda x: x[:, 1:]"}
    error = refused(resident(tmp_path, post=[HALF, INVERT, cut]), r"another grid than the images: \(25, 22, 14\)")
    assert "Invertd" in str(error)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_output_that_is_no_number(tmp_path: Path, value: str) -> None:
    post = [{**LAMBDA, "func": f"$lambda x: x * float('{value}')"}]
    refused(resident(tmp_path, post=post), "values that are not numbers")


@pytest.mark.parametrize("inferer", [SIMPLE, None], ids=["whole", "windows"])
def test_the_choice_of_a_label_does_not_hide_it(tmp_path: Path, inferer: dict[str, Any] | None) -> None:
    script = "import torch\nclass Net(torch.nn.Conv3d):\n    def forward(self, x):\n        x = super().forward(x)\n"
    script += "        x[..., -1, -1] = float('nan')\n        return x\n"
    argmax = {"_target_": "AsDiscreted", "keys": PRED, "argmax": True}
    definition = {**CONV, "out_channels": 2}
    parts = {"network": (definition, nn.Conv3d(1, 2, 1)), "scripts": {"scripts/__init__.py": script}}
    refused(resident(tmp_path, inferer=inferer, post=[argmax, INVERT], **parts), "values that are not numbers")


def test_an_output_of_a_thousand_channels(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 1000, 1)
    definition = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1000, "kernel_size": 1}
    workflow = resident(tmp_path, network=(definition, network), post=[], inferer=SIMPLE)
    refused(workflow, r"1,000×26×22×14; the contract says 1 channels")


def test_labels_that_the_contract_does_not_name(tmp_path: Path) -> None:
    refused(resident(tmp_path, post=[HALF, {**LAMBDA, "func": "$lambda x: x * 7"}]), r"does not name: \[7\]")


@pytest.mark.parametrize("factor", ["0.5", "300", "-1"])
def test_values_that_are_no_labels(tmp_path: Path, factor: str) -> None:
    refused(resident(tmp_path, post=[HALF, {**LAMBDA, "func": f"$lambda x: x * {factor}"}]), "no labels")


def test_scores_that_are_logits(tmp_path: Path) -> None:
    answer = {"kind": "classification", "exclusive": True, "classes": [{"value": 0, "name": "yes"}]}
    mean = {**LAMBDA, "func": "$lambda x: x.mean().reshape(1) - 5"}
    error = refused(resident(tmp_path, post=[mean], answer=answer), r"not in 0\.\.1")
    assert "activation" in str(error)


WRITES = {
    "a file": "open('found.txt', 'w')",
    "a file by its descriptor": "os.open('found.txt', os.O_CREAT | os.O_WRONLY)",
    "a folder": "os.makedirs('found')",
    "a removal": "os.remove(__file__)",
}
REACHES = {
    "a socket": "socket.create_connection(('127.0.0.1', 9), timeout=1)",
    "a name": "socket.getaddrinfo('example.org', 80)",
    "a process": "subprocess.run(['true'])",
    "a shell": "os.system('true')",
}


@pytest.mark.parametrize("what", [*WRITES, *REACHES])
@pytest.mark.parametrize("hidden", [False, True], ids=["open", "swallowed"])
def test_a_bundle_may_read_and_compute_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, *, hidden: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    body = {**WRITES, **REACHES}[what]
    body = f"try:\n    {body}\nexcept Exception:\n    pass" if hidden else body
    workflow = scripted(tmp_path / "models", body)
    wanted = "write a file|change files" if what in WRITES else "use the network|signal a process"
    error = refused(workflow, wanted)
    assert "docs/bundles.md" in str(error)
    assert {path.name for path in tmp_path.iterdir()} == {"models"}
    assert (tmp_path / "models" / "copying" / "scripts" / "__init__.py").exists()


def test_afterwards_and_beside_it_everything_is_allowed(tmp_path: Path) -> None:
    inside, done = threading.Event(), threading.Event()
    written = tmp_path / "beside.txt"

    def beside() -> None:
        inside.wait(10)
        written.write_text("the worker's own threads go on")
        with socket.socket():
            done.set()

    def work(tell: Callable[[str], None]) -> bool:
        tell("inside")
        return done.wait(10)

    thread = threading.Thread(target=beside)
    thread.start()
    assert run_guarded(work, "here", lambda _stage: inside.set())
    thread.join()
    written.write_text("and so does this one")


NATIVE = {
    "a tensor": "torch.save(x, '{file}')",
    "a thread": """done = threading.Event()
def write():
    try:
        open('{file}', 'w').close()
    finally:
        done.set()
threading.Thread(target=write).start()
done.wait(10)""",
    "ctypes": "import ctypes; ctypes.CDLL(None).creat(b'{file}', 0o600)",
}


@pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("what", NATIVE)
def test_native_code_and_threads_are_held_by_the_kernel(tmp_path: Path, what: str) -> None:
    file = tmp_path / "found"
    workflow = scripted(tmp_path / "models", NATIVE[what].replace("{file}", str(file)))
    with contextlib.suppress(BadModel):
        workflow.run({"image": landmark()})
    assert not file.exists()
    file.write_text("this thread may")


FETCHES = """
import socket, torch

class Net(torch.nn.Conv3d):
    def __init__(self, pretrained, **how):
        super().__init__(**how)
        if pretrained:
            socket.create_connection(("127.0.0.1", 9))
"""


def test_weights_from_the_network_are_not_fetched(tmp_path: Path) -> None:
    definition = {**CONV, "pretrained": True}
    workflow = resident(tmp_path, network=(definition, copies()[1]), scripts={"scripts/__init__.py": FETCHES})
    workflow.run({"image": landmark()})


def test_a_missing_series(tmp_path: Path) -> None:
    channels = [{"name": "t1"}, {"name": "flair"}]
    workflow = resident(tmp_path, network=copies(2), inputs=[{"key": "image", "channels": channels}])
    with pytest.raises(MissingSeries, match="no series for flair"):
        workflow.run({"t1": landmark()})
    with pytest.raises(MixedGeometry, match="flair has another grid than t1"):
        workflow.run({"t1": landmark("axial"), "flair": landmark("oblique")})


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    array = landmark().array.copy()
    array[0, 0, 0] = np.nan
    with pytest.raises(BadPixels):
        resident(tmp_path).run({"image": placed(array, "axial")})


def test_a_stack_is_no_projection(tmp_path: Path) -> None:
    inputs = [{"key": "image", "kind": "projection", "channels": [{"name": "image"}]}]
    with pytest.raises(MixedGeometry, match=f"a stack of {SHAPE[0]} images"):
        resident(tmp_path, inputs=inputs).run({"image": landmark()})


def broken(folder: Path, **changes: Any) -> Path:
    path = folder / "configs" / "candela.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"answer": {"kind": "prophecy"}}, "answer"),
        ({"contract": 3}, "contract is 3"),
        ({"title": None}, "title"),
        ({"unknown": 1}, "unknown: there is no such field"),
        ({"weights": [{"file": "../model.pt", "sha256": "0" * 64}]}, "outside of the bundle"),
        ({"weights": [{"file": "models/model.pkl", "sha256": "0" * 64}]}, "none of .safetensors"),
        ({"weights": [{"file": "models/model.pt", "sha256": "0" * 64}]}, "SHA-256"),
        ({"weights": [{"file": "models/other.pt", "sha256": "0" * 64}]}, "missing"),
        ({"inputs": []}, "inputs"),
    ],
)
def test_a_contract_that_is_wrong(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    folder = broken(write_bundle(tmp_path / "copying"), **changes)
    with pytest.raises(BadModel, match=match):
        read_workflow_bundle(folder)


def test_weights_that_changed_after_the_check(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "copying")
    bundle = read_workflow_bundle(folder)
    contract = bundle.contract.model_copy(
        update={"weights": (bundle.contract.weights[0].model_copy(update={"sha256": "0" * 64}),)}
    )
    with pytest.raises(BadModel, match="SHA-256"):
        ResidentWorkflow(replace(bundle, contract=contract), CPU)


def test_a_pickle_that_holds_code(tmp_path: Path) -> None:
    from tests.peers.workflow_bundle import ONE, SPOT, write_contract

    folder = write_bundle(tmp_path / "copying")
    torch.save(copies()[1], folder / "models" / "model.pt")
    write_contract(folder, {"answer": SPOT, "inputs": [ONE]})
    with pytest.raises(BadModel, match="runs no code from a weights file"):
        ResidentWorkflow(read_workflow_bundle(folder), CPU)


def test_weights_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="do not fit network"):
        resident(tmp_path, network=(copies()[0], copies(2)[1]))
