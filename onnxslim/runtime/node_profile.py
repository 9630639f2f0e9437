"""Where the time goes: seconds of each node, read from the runtime's own profiler."""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.providers import parse_provider
from onnxslim.runtime.session_config import SessionConfig, available_providers

if TYPE_CHECKING:
    import onnx_ir as ir

_KERNEL_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """The time of one node of the graph that the runtime really ran.

    Attributes:
        name: The node's name after the runtime's optimisation; a fused node keeps a name of its members'.
        op: What ran, e.g. ``QLinearConv``.
        provider: Where it ran.
        seconds: Median over the runs.
    """

    name: str
    op: str
    provider: str
    seconds: float


def measure_node_times(
    model: ir.Model,
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig | None = None,
    *,
    runs: int = 20,
    warmup: int = 3,
) -> dict[str, NodeTime]:
    """Run ``model`` ``runs`` times with profiling on; median seconds of each node by name, in execution order."""
    if (device := current_device()) is not None:
        return device.measure_node_times(model, feeds, config or SessionConfig(), runs=runs, warmup=warmup)
    from onnxslim.runtime.session import Session  # a device that is served for others has no library of models

    with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
        session = Session(model, config, profile_prefix=os.path.join(folder, "trace"))
        return profile_session(session, feeds, runs=runs, warmup=warmup)


class ProfiledSession(Protocol):
    """A session that was opened with the profiler on."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Any:
        """Run once."""
        ...

    def end_profiling(self) -> str:
        """Stop profiling and return the path of the trace."""
        ...


def profile_session(
    session: ProfiledSession, feeds: Sequence[Mapping[str, np.ndarray]], *, runs: int, warmup: int
) -> dict[str, NodeTime]:
    """Run ``session`` to the end of its profile; see :func:`measure_node_times`."""
    for index in range(warmup + runs):
        session.run(feeds[index % len(feeds)])
    with open(session.end_profiling(), encoding="utf-8") as file:
        return summarize_events(json.load(file), warmup)


def describe_fallback(nodes: Iterable[NodeTime], config: SessionConfig) -> str | None:
    """A one-line warning when some nodes did not run on the provider that was asked for; where they ran is read."""
    requested, all_nodes = parse_provider(config.provider, available_providers()), list(nodes)
    fallen_back = [node for node in all_nodes if node.provider != requested.name]
    if not fallen_back:
        return None
    share = sum(node.seconds for node in fallen_back) / (sum(node.seconds for node in all_nodes) or 1.0)
    ops = ", ".join(sorted({node.op for node in fallen_back})[:4])
    providers = " and ".join(sorted({node.provider.removesuffix("ExecutionProvider") for node in fallen_back}))
    where = f"nodes ran on {providers}, not on {requested.label}"
    return f"{len(fallen_back)} of {len(all_nodes)} {where}, {share:.0%} of the time ({ops})"


def summarize_events(events: Sequence[Mapping[str, object]], warmup: int) -> dict[str, NodeTime]:
    """The profiler's trace events → the median time of each node, the first ``warmup`` runs left out."""
    times: dict[str, list[float]] = defaultdict(list)
    event_args: dict[str, Mapping[str, object]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL_SUFFIX):
            key = name.removesuffix(_KERNEL_SUFFIX)
            times[key].append(float(str(event["dur"])) * 1e-6)
            arguments = event.get("args")
            event_args[key] = arguments if isinstance(arguments, Mapping) else {}
    return {
        name: NodeTime(
            name,
            str(event_args[name].get("op_name", "")),
            str(event_args[name].get("provider", "")),
            float(np.median(values[warmup:] or values)),
        )
        for name, values in times.items()
    }
