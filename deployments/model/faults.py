"""Whose fault an exception is: the device's, its memory's, or the request's own."""

import re
from collections.abc import Iterator

import torch

_DEVICE_FAULTS = re.compile(
    r"""
    (CUDA|HIP)\ (driver\ )?error:\ (?!out\ of\ memory|invalid\ (configuration\ )?argument)
    | Triton\ Error\ \[(CUDA|HIP)\]:\ (?!out\ of\ memory|invalid\ argument)
    | cu(BLAS|DNN|SPARSE|SOLVER|FFT)\w*\ error
    | CU(BLAS|DNN|SPARSE|SOLVER|FFT)\w*_STATUS_(?!ALLOC_FAILED|NOT_SUPPORTED|INVALID_VALUE|BAD_PARAM)
    | an\ illegal\ memory\ access\ was\ encountered
    | device-side\ assert
    | unspecified\ launch\ failure
    | uncorrectable\ (ECC|NVLink)\ error
    | No\ CUDA\ GPUs\ are\ available
    | GPU\ is\ lost
    """,
    re.VERBOSE,
)
_REFUSALS = re.compile(r"CU\w+_STATUS_(NOT_SUPPORTED|INVALID_VALUE|BAD_PARAM)")
"""Calls that a library does not take: they leave the device sound, and fail again wherever they are made."""

_OUT_OF_MEMORY = re.compile(
    r"(CUDA|HIP)( driver)? error: out of memory|CU\w+_STATUS_ALLOC_FAILED"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory|Triton Error \[\w+\]: out of memory"
)


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether memory was short: torch's own error, and those of libraries and of the CPU, which are RuntimeErrors."""
    return any(
        isinstance(link, torch.OutOfMemoryError | MemoryError)
        or (isinstance(link, RuntimeError) and _OUT_OF_MEMORY.search(str(link)) is not None)
        for link in _chain(fault)
    )


def is_device_fault(fault: BaseException) -> bool:
    """Whether the device has failed under a request that has no part in it: elsewhere it would be answered.

    After most of these CUDA answers every later call of the process with the same error.
    """
    return not is_out_of_memory(fault) and any(
        isinstance(link, RuntimeError) and _is_of_the_device(str(link)) for link in _chain(fault)
    )


def _is_of_the_device(message: str) -> bool:
    return _DEVICE_FAULTS.search(message) is not None and _REFUSALS.search(message) is None


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """It, and what it was raised from."""
    link: BaseException | None = fault
    while link is not None:
        yield link
        link = link.__cause__
