"""onnxruntime's CPU provider on 64-bit Arm: the Q/DQ patterns of x86 fuse, into kernels of other worth.

What was read in the runtime's source (MLAS, 1.32) and pull requests; ``benchmarks/conformance_arm.sh`` runs what can be
asked under emulation, and no time was ever taken there, so that costs are expected, not verified here:

- Products of uint8 activations and int8 weights run as UDOT with the weights moved by 128, where there is a dot product
  (since Armv8.2: Cortex-A76, Neoverse N1, Apple), as UMMLA where there is i8mm (since Armv8.6: Neoverse V1; up to 1.33 times
  UDOT on Graviton 3, #17160), else as SMULL and SMLAL. Sums of two products in 16 bits are exact there but for a weight of
  -128, which is not written. int8 activations have kernels of the same kind (SDOT, SMMLA), and residual sums of theirs fuse
  too; they gain nothing over uint8, whose files serve x86 as well.
- A core with the dot product makes four times the products of float ones in an instruction, of which packing leaves two to
  three; one without makes twice as many, and gains little: MobileNet v1 in int8 19.2 ms on a Pixel 3a, 8.2 on a 5a (#9772).
- Depthwise convolutions of multiples of 8 channels have kernels, the float ones only of 3x3 with stride 1 (#26688).
- 4-bit blocks: KleidiAI, where there is a dot product and blocks are multiples of 32 that divide the inputs. Without a dot
  product, 2 and 8 bits have no kernel and are expanded in every run.
- Half floats are computed in where there is FEAT_FP16 (since Armv8.2).
"""

from __future__ import annotations

from dataclasses import replace

from onnxslim.quantization.targets.base import CostModel
from onnxslim.quantization.targets.onnxruntime_cpu import CPU

#: As Linux, macOS and Windows call it.
ARM_MACHINES = ("aarch64", "arm64", "ARM64")

#: Of a core with the dot product (Neoverse N1 and its like), by the instructions that it begins in a cycle: two FMLA of four
#: products, two UDOT of sixteen, half of which packing and requantizing take.
ARM_COSTS = CostModel(
    dense_mac=(0.060, 0.024),
    misaligned_mac=(0.062, 0.045),
    depthwise_mac=(0.150, 0.120),
    misaligned_depthwise_mac=(0.150, 0.450),
    grouped_mac=(0.080, 0.100),
    element=(0.25, 0.12),
    element_by_op={
        "Sigmoid": (0.80, 0.30),
        "LeakyRelu": (0.20, 0.30),
        "Mul": (0.12, 0.20),
        "Add": (0.12, 0.12),
        "Concat": (0.08, 0.02),
    },
    float_silu=0.9,
    convert=0.35,
    relayout=0.40,
    node_overhead=2500.0,
    channel_multiple=4,
    depthwise_multiple=8,
)

CPU_ARM = replace(CPU, name="cpu-arm", cost_model=ARM_COSTS, machines=ARM_MACHINES)
