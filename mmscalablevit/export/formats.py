"""The formats of exported files: writing a traced graph, and running what was written.

Each format's libraries are imported where they are needed: a user of one needs no other.
"""

from __future__ import annotations

import copy
import functools
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from mmscalablevit.export.graphs import Graph
from mmscalablevit.export.substitutes import substitute

KEY = "mmscalablevit"  # of the metadata in a file
OPSET = 20  # the first with GELU
TRACED = (2, 3, 96, 160)  # any size would do; a side that differs from all others keeps them apart


class Exported(NamedTuple):
    """A graph read from a file.

    Attributes:
        path: The file.
        metadata: What :func:`mmscalablevit.export.files.export` has put in.
        run: Maps normalized images (B, 3, H, W) to the outputs by their names.
    """

    path: Path
    metadata: dict[str, Any]
    run: Callable[[Tensor], Mapping[str, Tensor]]


def trace(graph: Graph) -> ExportedProgram:
    """Trace a graph with free batch, height and width; it is left as it was."""
    graph = copy.deepcopy(graph)
    substitute(graph)
    free = {"images": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the frameworks' code, which nobody is to change
        return torch.export.export(graph, (torch.randn(TRACED),), dynamic_shapes=free)


def write_onnx(program: ExportedProgram, metadata: dict[str, Any], path: Path) -> None:
    """Write an ONNX model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=metadata["tensors"],
            verbose=False,
        )
    assert onnx is not None
    onnx.model.metadata_props[KEY] = as_text(metadata)
    onnx.save(path)


def read_onnx(path: Path) -> Exported:
    """Read an ONNX model, for ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[KEY])

    def run(images: Tensor) -> dict[str, Tensor]:
        outputs = session.run(metadata["tensors"], {"images": images.numpy()})
        return _tensors(metadata, outputs)

    return Exported(path, metadata, run)


def write_openvino(program: ExportedProgram, metadata: dict[str, Any], path: Path) -> None:
    """Write OpenVINO's representation: the graph, and its weights in a ``.bin`` file beside it.

    It is made of the ONNX model.
    """
    import openvino

    whole = path.with_suffix(".onnx")
    write_onnx(program, metadata, whole)
    model = openvino.convert_model(whole)
    whole.unlink()
    model.set_rt_info(as_text(metadata), [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def read_openvino(path: Path) -> Exported:
    """Read OpenVINO's representation, to run on the CPU.

    What is not in int8 is computed in float32, but beside int8 in bfloat16 where the CPU has it.
    Images of the first size have a graph of their own, which is faster than the one of all others.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    metadata = json.loads(model.get_rt_info([KEY]).astype(str))
    settings = {} if metadata.get("int8") else {"INFERENCE_PRECISION_HINT": "f32"}
    sizes: list[tuple[int, ...]] = []

    @functools.cache
    def graph(size: tuple[int, ...] | None) -> Any:
        fitted = model.clone()
        if size is not None:
            fitted.reshape(list(size))
        return core.compile_model(fitted, "CPU", settings)

    def run(images: Tensor) -> dict[str, Tensor]:
        size = tuple(images.shape)
        sizes[:] = sizes or [size]
        outputs = graph(size if size in sizes else None)({"images": images.numpy()})
        return _tensors(metadata, [outputs[name].copy() for name in metadata["tensors"]])

    return Exported(path, metadata, run)


def write_pt2(program: ExportedProgram, metadata: dict[str, Any], path: Path) -> None:
    """Write PyTorch's own archive."""
    torch.export.save(program, path, extra_files={KEY: as_text(metadata)})


def read_pt2(path: Path) -> Exported:
    """Read PyTorch's own archive."""
    extra = {KEY: ""}
    graph = torch.export.load(path, extra_files=extra).module()

    def run(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return graph(images)

    return Exported(path, json.loads(extra[KEY]), run)


def as_text(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON; what has no type there by its text."""
    return json.dumps(metadata, default=str)


def _tensors(metadata: dict[str, Any], arrays: list[Any]) -> dict[str, Tensor]:
    return dict(zip(metadata["tensors"], map(torch.from_numpy, arrays), strict=True))


class Format(NamedTuple):
    """A format: the ending of its files, what has to be installed, how to write and to read."""

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[ExportedProgram, dict[str, Any], Path], None]
    read: Callable[[Path], Exported]


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), write_onnx, read_onnx),
    "openvino": Format(".xml", ("onnx", "onnxscript", "openvino"), write_openvino, read_openvino),
    "pt2": Format(".pt2", (), write_pt2, read_pt2),
}
