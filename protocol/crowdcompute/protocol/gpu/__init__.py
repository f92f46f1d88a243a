"""GPU tasks: one kernel in a subset of WGSL, for browsers' WebGPU and native OpenCL (spec/gpu.md)."""

from .package import Arrangement, Golden, Package, Task, open_package
from .parser import parse
from .printing import OUT_OF_BOUNDS, OUT_OF_FUEL

__all__ = ["OUT_OF_BOUNDS", "OUT_OF_FUEL", "Arrangement", "Golden", "Package", "Task", "open_package", "parse"]
