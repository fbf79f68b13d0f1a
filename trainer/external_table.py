"""Tables that an ONNX graph reads from a .npy file in its folder: ONNX Runtime maps them, and the graph stays small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper


def external_table(name: str, path: Path) -> TensorProto:
    """The initialiser `name` of a graph: the float32 array in the .npy file `path`, which must be in its folder."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    assert values.dtype == np.float32 and values.flags.c_contiguous
    table = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
    table.data_location = TensorProto.EXTERNAL
    # the header of the .npy file comes before the values
    places = {"location": path.name, "offset": path.stat().st_size - values.nbytes, "length": values.nbytes}
    for key, value in places.items():
        table.external_data.add(key=key, value=str(value))
    return table


def replace_table(model: onnx.ModelProto, name: str, path: Path) -> None:
    """Makes a graph read its initialiser `name` from the .npy file `path`, whose shape becomes the property `rows`."""
    graph = model.graph
    (table,) = (one for one in graph.initializer if one.name == name)
    table.CopyFrom(external_table(name, path))
    # the table may have had another shape
    for shape in [one for one in graph.value_info if one.name == name]:
        graph.value_info.remove(shape)
    helper.set_model_props(model, {"rows": f"float32 {list(table.dims)}"})
