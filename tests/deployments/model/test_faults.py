"""Whose fault an error is: told from the texts that torch, CUDA and their libraries really say."""

import pytest
import torch

from deployments.errors import Unavailable
from deployments.model.faults import is_device_fault, is_out_of_memory

ASYNCHRONOUS = (
    "\nSearch for `cudaErrorAssert' in https://docs.nvidia.com/cuda/cuda-runtime-api for more information.\nCUDA kernel "
    "errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect."
)
DEVICE = [
    torch.AcceleratorError("CUDA error: device-side assert triggered" + ASYNCHRONOUS),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + ASYNCHRONOUS),
    torch.AcceleratorError("CUDA error: unspecified launch failure" + ASYNCHRONOUS),
    torch.AcceleratorError("CUDA error: misaligned address"),
    torch.AcceleratorError("CUDA error: an illegal instruction was encountered"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    torch.AcceleratorError("CUDA error: uncorrectable NVLink error detected during the execution"),
    torch.AcceleratorError("CUDA error: the launch timed out and was terminated"),
    torch.AcceleratorError("CUDA error: unknown error"),
    torch.AcceleratorError("CUDA error: all CUDA-capable devices are busy or unavailable"),
    torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA driver error: unknown error"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("HIP error: unspecified launch failure"),
    RuntimeError("No CUDA GPUs are available"),
]
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB"),
    torch.AcceleratorError("CUDA error: out of memory" + ASYNCHRONOUS),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    MemoryError(),
]
OWN = [
    RuntimeError("The size of tensor a (16) must match the size of tensor b (20) at non-singleton dimension 1"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    RuntimeError("shape '[1, 4, 14, 14]' is invalid for input of size 2352"),
    RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx( handle, opa, opb, m, n, k)`"),
    RuntimeError(
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed a non-contiguous input."
    ),
    torch.AcceleratorError("CUDA error: invalid configuration argument" + ASYNCHRONOUS),
    torch.AcceleratorError("CUDA error: invalid argument"),
    ValueError("pictures must be multiples of 28"),
    ValueError("the question says: CUDA error: device-side assert triggered"),
    IndexError("index 500 is out of range"),
    Unavailable("this replica is ending: ask again"),
    KeyError("CUDA error: unknown error"),
]


def text(fault):
    return repr(fault)[:90]


@pytest.mark.parametrize("fault", DEVICE, ids=text)
def test_a_device_that_has_failed_is_nobodys_fault(fault):
    assert (is_device_fault(fault), is_out_of_memory(fault)) == (True, False)


@pytest.mark.parametrize("fault", MEMORY, ids=text)
def test_short_memory_is_told_apart_from_a_failed_device(fault):
    assert (is_device_fault(fault), is_out_of_memory(fault)) == (False, True)


@pytest.mark.parametrize("fault", OWN, ids=text)
def test_what_a_request_itself_brings_about_stays_its_own(fault):
    assert (is_device_fault(fault), is_out_of_memory(fault)) == (False, False)


@pytest.mark.parametrize(
    ("cause", "expected"), [(DEVICE[0], (True, False)), (MEMORY[0], (False, True)), (OWN[0], (False, False))]
)
def test_what_an_error_was_raised_from_counts(cause, expected):
    fault = RuntimeError("the vision tower failed")
    fault.__cause__ = cause
    assert (is_device_fault(fault), is_out_of_memory(fault)) == expected


def test_the_cpu_s_own_allocator_is_recognised():
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(told.value)
