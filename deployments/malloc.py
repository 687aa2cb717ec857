"""What the C library does with memory that was freed."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 1024 * 1024


def give_back_freed_memory() -> bool:
    """Whatever is larger than ``LARGE_BYTES`` goes back to the system when it is freed; said once, for the process.

    By itself glibc raises that size to that of the largest block freed, up to 32 MB: the bodies of uploads then come
    out of its arenas, of which every thread may get one, and what lies behind a small block in use is kept for good.
    False where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES), (M_ARENA_MAX, 2))
    return all(mallopt(option, value) == 1 for option, value in settings)
