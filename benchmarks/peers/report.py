"""The result of a run as JSON and as tables."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.figures import NAMES, Figures, faster
from benchmarks.quiet import QUIET_CORES

ByClients = Mapping[int, Figures]
Measured = Mapping[str, Mapping[str, ByClients]]
"""Figures by service, type and count of clients; ours has one type, the config's."""

TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
CLIENT, OTHERS = "the load client", "something else on this machine"
DOUBTFUL = {CLIENT: 0.5, OTHERS: QUIET_CORES}
"""Shares of one core from which on figures are in doubt."""


def processor() -> dict[str, Any]:
    """The machine's processor, its cores, and those of its abilities that matter to matrix products."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = said.get("flags", "").split()
    model = said.get("model name", platform.machine())
    return {"model": model, "cores": os.cpu_count(), "flags": [flag for flag in TELLING_FLAGS if flag in flags]}


def counted(measured: Measured) -> dict[str, dict[int, Figures]]:
    """For each service and count of clients the figures in the type that is faster there."""
    chosen: dict[str, dict[int, Figures]] = {}
    for service, dtypes in measured.items():
        every = sorted({clients for figures in dtypes.values() for clients in figures})
        there = {count: {dtype: by[count] for dtype, by in dtypes.items() if count in by} for count in every}
        chosen[service] = {count: by_dtype[faster(by_dtype)] for count, by_dtype in there.items()}
    return chosen


def by_name(services: Mapping[str, ByClients]) -> dict[str, Any]:
    """``{figure: {service: {clients: value}}}``."""
    return {
        name: {
            service: {str(clients): _rounded(getattr(figures, name)) for clients, figures in by_clients.items()}
            for service, by_clients in services.items()
        }
        for name in NAMES
    }


def _rounded(value: float | Mapping[str, float]) -> Any:
    """JSON has no word for what is not a number: null."""
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return None if math.isnan(value) else round(value, 4)


def as_json(measured: Measured, **run: Any) -> dict[str, Any]:
    dtypes = {
        service: by_name(by_dtype) | {"faster": {str(c): f for c, f in _faster(by_dtype).items()}}
        for service, by_dtype in measured.items()
        if len(by_dtype) > 1
    }
    return by_name(counted(measured)) | {"dtypes": dtypes, "processor": processor()} | run


def _faster(by_dtype: Mapping[str, ByClients]) -> dict[int, str]:
    counts = sorted(set.intersection(*(set(by) for by in by_dtype.values())))
    return {count: faster({dtype: by[count] for dtype, by in by_dtype.items()}) for count in counts}


def table(services: Mapping[str, ByClients]) -> str:
    """Requests a second, p50 and p99 of each service and count of clients; tokens and right answers at the most."""
    counts = sorted({clients for figures in services.values() for clients in figures})
    head = "".join(f" {_clients(count)} |" for count in counts)
    lines = [f"| requests/s · p50 ms · p99 ms |{head} tokens/s | right | errors |", "|---" * (len(counts) + 4) + "|"]
    for service, figures in services.items():
        cells = "".join(f" {_cell(figures[count])} |" if count in figures else " |" for count in counts)
        most = figures[max(figures)]
        errors = sum(one.errors for one in figures.values())
        lines.append(f"| {service} |{cells} {most.tokens_per_s:.0f} | {_right(figures):.1%} | {errors:.0f} |")
    return "\n".join(lines)


def _cell(figures: Figures) -> str:
    return f"{figures.requests_per_s:.1f} · {figures.p50_ms:.0f} · {figures.p99_ms:.0f}"


def _right(figures: ByClients) -> float:
    """Weighted by how much was answered."""
    answered = sum(one.requests_per_s for one in figures.values())
    return sum(one.right_share * one.requests_per_s for one in figures.values()) / answered


def cost_table(services: Mapping[str, ByClients], clients: Sequence[int]) -> str:
    """CPU milliseconds of each process a request takes, at those counts of clients."""
    columns = [(service, count) for service, by in services.items() for count in clients if count in by]
    costs = [services[service][count].cpu_ms_per_request for service, count in columns]
    roles = sorted({role for cost in costs for role in cost}, key=lambda role: -max(c.get(role, 0.0) for c in costs))
    lines = ["| CPU ms a request |" + "".join(f" {service}, {count} |" for service, count in columns)]
    lines.append("|---" * (len(columns) + 1) + "|")
    lines += [f"| {role} |" + "".join(f" {cost.get(role, 0.0):.1f} |" for cost in costs) for role in roles]
    lines.append("| **sum** |" + "".join(f" {sum(cost.values()):.1f} |" for cost in costs))
    return "\n".join(lines)


def sum_table(services: Mapping[str, ByClients]) -> str:
    """CPU milliseconds of all processes a request takes: what other work on the machine disturbs least."""
    counts = sorted({clients for figures in services.values() for clients in figures})
    lines = ["| CPU ms a request, all processes |" + "".join(f" {_clients(count)} |" for count in counts)]
    lines.append("|---" * (len(counts) + 1) + "|")
    for service, figures in services.items():
        sums = [sum(figures[count].cpu_ms_per_request.values()) if count in figures else math.nan for count in counts]
        lines.append(f"| {service} |" + "".join(f" {spent:.0f} |" for spent in sums))
    return "\n".join(lines)


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def doubts(services: Mapping[str, ByClients]) -> list[str]:
    """Where the load client, or whatever else ran on the machine, took so much of a core that the figures may be its
    own."""
    shares = [
        (what, f"{service} at {count} clients", share)
        for service, by_clients in services.items()
        for count, one in by_clients.items()
        for what, share in ((CLIENT, one.client_cpu_share), (OTHERS, one.others_cpu_share))
    ]
    return [
        f"In doubt: {where}, where {what} took {share:.0%} of a core."
        for what, where, share in shares
        if share > DOUBTFUL[what]
    ]
