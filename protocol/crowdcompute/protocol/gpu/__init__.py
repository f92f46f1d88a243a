"""GPU tasks: one kernel in a subset of WGSL, for browsers' WebGPU and native OpenCL (spec/gpu.md)."""

from .classes import MODULE, PROBED, class_of, probe
from .compare import CLASS_BYTES, Comparison
from .package import (
    COMPARED_BYTES_MAX,
    NOT_FINITE,
    Arrangement,
    Golden,
    Package,
    Task,
    open_package,
    read_comparison,
)
from .parser import parse
from .printing import OUT_OF_BOUNDS, OUT_OF_FUEL

__all__ = [
    "CLASS_BYTES",
    "COMPARED_BYTES_MAX",
    "MODULE",
    "NOT_FINITE",
    "OUT_OF_BOUNDS",
    "OUT_OF_FUEL",
    "PROBED",
    "Arrangement",
    "Comparison",
    "Golden",
    "Package",
    "Task",
    "class_of",
    "open_package",
    "parse",
    "probe",
    "read_comparison",
]
