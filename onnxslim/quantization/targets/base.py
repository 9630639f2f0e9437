"""What a target is: which ops a runtime runs in int8, at which cost, and what else the quantize step has to know of it.

A row says which kind of rule places Q/DQ around the op and on which condition the runtime's optimiser turns the result
into an int8 kernel. ``conformance/pattern_checks.py`` builds every row's pattern and reads the runtime's optimised graph
back, so a row that a new runtime makes wrong fails by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import onnx_ir as ir

from onnxslim.runtime.devices.machine_figures import name_processor


class OpKind(Enum):
    """How an op is quantised."""

    WEIGHTED = "weighted"  #: int8 weights along one axis; takes its bias and its activation with it
    OWN_RANGE = "own"  #: every activation, constants too, between Q and DQ; the output has a range of its own
    SHARED_RANGE = "same"  #: moves data; input and output must share scale and zero point
    FOLD = "fold"  #: disappears into the next QuantizeLinear when the range says so


#: ``node -> why it would not run in int8``, or None when it would
SupportCheck = Callable[[ir.Node], "str | None"]


@dataclass(frozen=True)
class SupportedOp:
    """One op of a target's table.

    Attributes:
        kind: How it is placed.
        check: On which condition it fuses.
        kernel: What must remain (``A|B``: one of them).
        activation_inputs: Which inputs are activations: from the first to before the last of these positions.
        float_output: It runs in int8 although nothing quantises its output.
        int32_bias: With such an output it wants its bias in int32.
    """

    kind: OpKind
    check: SupportCheck
    kernel: str
    activation_inputs: tuple[int, int | None] = (0, None)
    float_output: bool = False
    int32_bias: bool = False


@dataclass(frozen=True)
class CostModel:
    """Nanoseconds in (float, int8), from shapes alone; only ratios count, on one scale for all.

    Attributes:
        dense_mac: A multiply-accumulate of a linear layer or a Conv without groups.
        misaligned_mac: The same where the input channels are no multiple of ``channel_multiple``.
        depthwise_mac: Of a depthwise Conv.
        misaligned_depthwise_mac: The same where the channels are no multiple of ``depthwise_multiple``.
        grouped_mac: Of a Conv with other groups.
        element: An element of an elementwise or data-moving op.
        element_by_op: The same by op type, where it is far from that.
        int8_linear_weight: Of each weight of a linear layer in int8, whatever its rows, where weights are laid out anew
            in every run.
        float_silu: An element of x * Sigmoid(x) in float, where that is one kernel; None where it is two.
        convert: An element of a QuantizeLinear or DequantizeLinear.
        relayout: The same for a feature map, which changes between NCHW and NHWC on the way.
        node_overhead: One more node.
        channel_multiple: Input channels that fill the kernel of a dense Conv.
        depthwise_multiple: Channels that fill that of a depthwise one.
    """

    dense_mac: tuple[float, float]
    misaligned_mac: tuple[float, float]
    depthwise_mac: tuple[float, float]
    misaligned_depthwise_mac: tuple[float, float]
    grouped_mac: tuple[float, float]
    element: tuple[float, float]
    convert: float
    relayout: float
    node_overhead: float
    channel_multiple: int
    depthwise_multiple: int
    element_by_op: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    float_silu: float | None = None
    int8_linear_weight: float = 0.0

    def at_threads(self, threads: int) -> CostModel:
        """The same where so many threads share each op: what is divided among them takes that much less, a node does not."""
        return replace(self, node_overhead=threads * self.node_overhead)

    def get_element(self, op: str) -> tuple[float, float]:
        """An element of an op without weights."""
        return self.element_by_op.get(op, self.element)

    def get_conv_mac(self, outputs: int, group_inputs: int, group: int) -> tuple[float, float]:
        """A multiply-accumulate of a Conv with weights of shape (``outputs``, ``group_inputs``, ...)."""
        if group == 1:
            return self.dense_mac if group_inputs % self.channel_multiple == 0 else self.misaligned_mac
        if group_inputs == 1 and outputs == group:
            return self.depthwise_mac if outputs % self.depthwise_multiple == 0 else self.misaligned_depthwise_mac
        return self.grouped_mac


@dataclass(frozen=True)
class Target:
    """A runtime's int8 rules.

    Attributes:
        name: As on the command line.
        provider: The session provider that runs it, a key of :data:`onnxslim.runtime.providers.PROVIDERS`.
        cost_model: What decides placement where nothing is measured.
        supported_ops: By op type.
        dynamic_kernels: By op type, what a layer becomes whose inputs are quantised as they come (``A|B``: one of them).
        int8_kernels: How the names of its int8 kernels begin in the runtime's optimised graph.
        no_contrib_ops_reason: Why it does not run onnxruntime's own ops, or None. Dynamic ranges and 4-bit linear layers
            rest on them, and weights alone are written in the standard's ops without.
        slow_blocks_reason: Why MatMulNBits is slower than float there, or None: int8 weights are expanded at load then.
        activation_symmetric: Zero point 0 int8 activations instead of asymmetric uint8.
        saturating_pairs: Its kernels add two products in 16 bits (``numerics/saturation.py``).
        machines: The processors that it is about, as ``platform.machine()`` names them; none are all those that no other
            target of its provider is about.
        unsupported_reason: Why int8 activations are not written for this target at all, but float16, or None.
        probed_ops: Rows that it has not, and that ``onnxslim doctor`` tries where the provider is, to see whether that
            is still so.
        preset: The recipe's name that quantises for it, or None.
        any_machine: Its files answer alike on every processor of its provider, so that none is another than it is about.
        is_downloaded: Its files are sent to where they run: the report has their size on the way.
    """

    name: str
    provider: str
    cost_model: CostModel
    supported_ops: Mapping[str, SupportedOp] = field(default_factory=dict)
    dynamic_kernels: Mapping[str, str] = field(default_factory=dict)
    int8_kernels: tuple[str, ...] = ()
    no_contrib_ops_reason: str | None = None
    slow_blocks_reason: str | None = None
    activation_symmetric: bool = False
    saturating_pairs: bool = False
    machines: tuple[str, ...] = ()
    unsupported_reason: str | None = None
    probed_ops: Mapping[str, SupportedOp] = field(default_factory=dict)
    preset: str | None = None
    any_machine: bool = False
    is_downloaded: bool = False

    def runs_on(self, provider: str) -> bool:
        """Whether sessions of ``provider`` are the target where models are timed, so that kernels and times are its own."""
        return self.provider == provider and (not self.machines or name_processor() in self.machines)
