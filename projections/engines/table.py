"""From an engine's name to the engine.

An accelerated engine is imported only when it was chosen, because its library need not be there.
"""

from __future__ import annotations

from projections.engines.contract import BlockEngine, RunEngine
from projections.engines.plain_blocks import PlainBlocks
from projections.engines.plain_runs import PlainRuns
from projections.engines.plan import BlockPlan, RunPlan


def block_engine(name: str, plan: BlockPlan) -> BlockEngine:
    """The engine of this name for Hadamard blocks."""
    if name == "native":
        from projections.engines.native_blocks import NativeBlocks

        return NativeBlocks(plan)
    if name == "triton":
        from projections.engines.triton_blocks import TritonBlocks

        return TritonBlocks(plan)
    if name == "fht":
        from projections.engines.fht_blocks import FhtBlocks

        return FhtBlocks(plan)
    return PlainBlocks(plan)


def run_engine(name: str, plan: RunPlan) -> RunEngine:
    """The engine of this name for one-hot runs."""
    if name == "native":
        from projections.engines.native_runs import NativeRuns

        return NativeRuns(plan)
    return PlainRuns(plan)
