"""Any CPU: a file that answers alike on x86 with VNNI and without, and on Arm.

Placed by this machine's times; each channel's weights keep just enough room that no two products saturate in the 16 bits of
x86 without VNNI (``numerics/saturation.py``), which Arm's kernels do not mind. The same kernels run, so it takes no longer.
"""

from __future__ import annotations

from dataclasses import replace

from onnxslim.quantization.targets.onnxruntime_cpu import CPU

PORTABLE = replace(CPU, name="portable", saturating_pairs=True, any_machine=True)
