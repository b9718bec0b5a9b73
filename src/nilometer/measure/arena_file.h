/* An arena whose region lies in a file, which outlives the process: how it gets there, and how
 * a forked child gets away from it.
 *
 * The file is mapped once for the most that the region may become, so that it never moves, and
 * disk space is taken before it is written to. Others know by the lock on the file that the
 * process lives: it is held by the mapping and the descriptor, so a forked child gives up both.
 */

#ifndef NILOMETER_MEASURE_ARENA_FILE_H
#define NILOMETER_MEASURE_ARENA_FILE_H

#include "measure/arena.h"

#ifdef __linux__

#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(offsetof(Distribution, octaves) == 48 && DISTRIBUTION_BYTES == 224,
               "arena_layout.py says how a distribution lies");

static Arena *arenas_in_files; /* of all interpreters; who changes or walks it holds the lock */
static pthread_mutex_t arenas_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t arenas_forking = PTHREAD_ONCE_INIT;

/* Memory for all that the region may become; it costs nothing until it is used. */
static void *
arena_memory(const Arena *arena, void *where, int flags)
{
    void *memory = mmap(where, arena->bytes_max, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

/* The parent goes on writing while its child begins: what the child inherits is copied first. */
static void
arenas_before_fork(void)
{
    pthread_mutex_lock(&arenas_lock);
    for (Arena *arena = arenas_in_files; arena != NULL; arena = arena->next) {
        arena->copy = arena_memory(arena, NULL, 0);
        if (arena->copy != NULL)
            memcpy(arena->copy, arena->base, arena->bytes_used);
    }
}

static void
arenas_in_parent(void)
{
    for (Arena *arena = arenas_in_files; arena != NULL; arena = arena->next) {
        if (arena->copy != NULL)
            munmap(arena->copy, arena->bytes_max);
        arena->copy = NULL;
    }
    pthread_mutex_unlock(&arenas_lock);
}

/* The copy takes the file's place at the same address, before anybody can write there. Where
 * there was no memory for one there are zeros: no blocks are free, and all values are none. */
static void
arenas_in_child(void)
{
    for (Arena *arena = arenas_in_files; arena != NULL; arena = arena->next) {
        if (arena->copy == NULL
            || mremap(arena->copy, arena->bytes_max, arena->bytes_max,
                      MREMAP_MAYMOVE | MREMAP_FIXED, arena->base) == MAP_FAILED) {
            arena_memory(arena, arena->base, MAP_FIXED);
            memset(arena->free, 0, sizeof(arena->free));
        }
        arena->copy = NULL;
        if (arena_has_its_file(arena))
            close(arena->file);
        arena->file = -1;
    }
    arenas_in_files = NULL;
    pthread_mutex_unlock(&arenas_lock);
}

static void
arenas_watch_forks(void)
{
    pthread_atfork(arenas_before_fork, arenas_in_parent, arenas_in_child);
}

/* Let go of where the region lies; its file stays, and nobody holds its lock any more. */
static void
arena_let_go(Arena *arena)
{
    if (!arena->is_mapped) {
        PyMem_RawFree(arena->base);
        return;
    }
    if (arena->file >= 0) {
        pthread_mutex_lock(&arenas_lock);
        Arena **at = &arenas_in_files;
        while (*at != arena)
            at = &(*at)->next;
        *at = arena->next;
        pthread_mutex_unlock(&arenas_lock);
        if (arena_has_its_file(arena))
            close(arena->file);
        arena->file = -1;
    }
    munmap(arena->base, arena->bytes_max);
}

/* Go on in other memory, with the same values at the same offsets. */
static void
arena_move(Arena *arena, void *memory)
{
    memcpy(memory, arena->base, arena->bytes_used);
    arena_let_go(arena);
    arena->base = memory;
    arena->is_mapped = 1;
}

static PyObject *
Arena_lie_in(Arena *self, PyObject *descriptor)
{
    int file = (int)PyLong_AsLong(descriptor);

    if (file == -1 && PyErr_Occurred())
        return NULL;
    if (self->file >= 0)
        return PyErr_Format(PyExc_ValueError, "the arena lies in a file already");
    pthread_once(&arenas_forking, arenas_watch_forks);
    struct stat found;
    if (fstat(file, &found) < 0 || arena_reserve(file, self->bytes) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    void *memory = mmap(NULL, self->bytes_max, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                        ARENA_FILE_AT);
    if (memory == MAP_FAILED)
        return PyErr_SetFromErrno(PyExc_OSError);
    arena_move(self, memory);
    pthread_mutex_lock(&arenas_lock);
    self->file = file;
    self->device = found.st_dev;
    self->inode = found.st_ino;
    self->next = arenas_in_files;
    arenas_in_files = self;
    pthread_mutex_unlock(&arenas_lock);
    Py_RETURN_NONE;
}

static PyObject *
Arena_leave(Arena *self, PyObject *Py_UNUSED(ignored))
{
    if (self->file < 0)
        Py_RETURN_NONE;
    void *memory = arena_memory(self, NULL, 0);
    if (memory == NULL)
        return PyErr_NoMemory();
    arena_move(self, memory);
    Py_RETURN_NONE;
}

#else /* other systems have no files that grow safely under a mapping, or no mremap */

static void
arena_let_go(Arena *arena)
{
    PyMem_RawFree(arena->base);
}

static PyObject *
Arena_lie_in(Arena *Py_UNUSED(self), PyObject *Py_UNUSED(descriptor))
{
    errno = ENOTSUP;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
Arena_leave(Arena *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

#endif

static PyMethodDef Arena_methods[] = {
    {"lie_in", (PyCFunction)Arena_lie_in, METH_O,
     PyDoc_STR("lie_in($self, file, /)\n--\n\n"
               "Move the region into an open file, whose descriptor is the arena's from now "
               "on. Raises OSError.")},
    {"leave", (PyCFunction)Arena_leave, METH_NOARGS,
     PyDoc_STR("leave($self, /)\n--\n\n"
               "Go on in memory, and close the file, if there is one.")},
    {NULL, NULL, 0, NULL},
};

#endif
