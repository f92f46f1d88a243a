"""GPU tasks: one kernel in a subset of WGSL, for browsers' WebGPU and native OpenCL (spec/gpu.md)."""

from .compare import Comparison
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
    "COMPARED_BYTES_MAX",
    "NOT_FINITE",
    "OUT_OF_BOUNDS",
    "OUT_OF_FUEL",
    "Arrangement",
    "Comparison",
    "Golden",
    "Package",
    "Task",
    "open_package",
    "parse",
    "read_comparison",
]
