/* Whether the C stack of this thread is nearly used up, for wrappers that call from C.
 *
 * Python counts calls and not bytes. Its limit of 1,000 protects 8 MiB of stack, but not a
 * thread that was given 256 KiB, nor one whose limit was raised: there endless recursion
 * through a wrapper in C would end the process where a function in Python gets RecursionError.
 */

#ifndef NILOMETER_STACK_H
#define NILOMETER_STACK_H

#include "native.h"

#if defined(__linux__) || defined(__APPLE__)
#include <pthread.h>
#endif

/* What must be left for who raises, counts the error and sends it: Python itself keeps 16 KiB
 * on a 64-bit machine since 3.14; counting an error's first instance takes some more. */
#define STACK_BYTES_LEFT (32u << 10)

/* Of a small stack, this part at most: with 32 KiB, Python's least, 28 remain to be used. */
#define STACK_PART_LEFT 8

typedef struct {
    uintptr_t lowest; /* the end of the stack, which grows down */
    uintptr_t floor;  /* where calling ends; all ones until it is known, 0 if it cannot be */
} NiloStack;

static _Thread_local NiloStack nilo_stack = {0, UINTPTR_MAX};

/* The kernel is asked once per thread: 20 us in the main one, 1 in others. */
static void
nilo_stack_look(void)
{
    uintptr_t lowest = 0;
    size_t bytes = 0;

#if defined(__APPLE__)
    bytes = pthread_get_stacksize_np(pthread_self());
    lowest = (uintptr_t)pthread_get_stackaddr_np(pthread_self()) - bytes;
#elif defined(__linux__)
    pthread_attr_t attributes;
    void *address = NULL;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &address, &bytes) == 0)
            lowest = (uintptr_t)address;
        pthread_attr_destroy(&attributes);
    }
#endif
    size_t left = bytes / STACK_PART_LEFT;
    if (left > STACK_BYTES_LEFT)
        left = STACK_BYTES_LEFT;
    nilo_stack = (NiloStack){lowest, lowest == 0 ? 0 : lowest + left};
}

/* Below the floor, or not yet known. Stacks of others' making (uWSGI's greenlets) lie
 * elsewhere: there nobody knows, and calls go on. */
static int
nilo_stack_is_low(uintptr_t here)
{
    if (nilo_stack.floor == UINTPTR_MAX)
        nilo_stack_look();
    return here < nilo_stack.floor && here >= nilo_stack.lowest;
}

/* 0 if there is room for one more call, or -1 with RecursionError. Costs one comparison. */
static inline int
nilo_stack_check(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (here >= nilo_stack.floor || !nilo_stack_is_low(here))
        return 0;
    PyErr_SetString(PyExc_RecursionError, "this thread's stack is used up");
    return -1;
}

#endif
