/* Nonces seen, each until it expires: the C twin of budget.py's `Nonces`, which needs no lock: a
 * nonce is among those seen before anything else can run; see _core.c.
 */

#ifndef NILOMETER_TRACE_NONCES_H
#define NILOMETER_TRACE_NONCES_H

#include "trace/spans.h"

typedef struct {
    int64_t expiry_s;
    PyObject *nonce;
} Spent;

typedef struct {
    PyObject_HEAD
    PyObject *alive; /* a set */
    Spent *heap;     /* of the same, whose first expires first */
    Py_ssize_t size, capacity, most;
} Nonces;

static PyObject *
Nonces_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"most", NULL};
    Py_ssize_t most;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:Nonces", names, &most))
        return NULL;
    Nonces *self = (Nonces *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->most = most;
    self->alive = PySet_New(NULL);
    if (self->alive == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
Nonces_dealloc(Nonces *self)
{
    PyTypeObject *type = Py_TYPE(self);

    for (Py_ssize_t i = 0; i < self->size; i++)
        Py_DECREF(self->heap[i].nonce);
    PyMem_Free(self->heap);
    Py_XDECREF(self->alive);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Take the first out of the heap. */
static Spent
Nonces_pop(Nonces *self)
{
    Spent *heap = self->heap, first = heap[0], moved = heap[--self->size];
    Py_ssize_t at = 0, below;

    while ((below = 2 * at + 1) < self->size) {
        if (below + 1 < self->size && heap[below + 1].expiry_s < heap[below].expiry_s)
            below++;
        if (moved.expiry_s <= heap[below].expiry_s)
            break;
        heap[at] = heap[below];
        at = below;
    }
    heap[at] = moved;
    return first;
}

/* Put one into the heap; -1 without memory. */
static int
Nonces_push(Nonces *self, int64_t expiry_s, PyObject *nonce)
{
    if (self->size == self->capacity) {
        Spent *heap = self->heap;
        Py_ssize_t capacity = self->capacity ? 2 * self->capacity : 16;
        if (PyMem_Resize(heap, Spent, capacity) == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->heap = heap;
        self->capacity = capacity;
    }
    Py_ssize_t at = self->size++;
    while (at && self->heap[(at - 1) / 2].expiry_s > expiry_s) {
        self->heap[at] = self->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    self->heap[at] = (Spent){expiry_s, Py_NewRef(nonce)};
    return 0;
}

/* Forget what has expired, two at a time; -1 with an exception. */
static int
Nonces_forget(Nonces *self, int64_t now_s)
{
    for (int i = 0; i < 2 && self->size && self->heap[0].expiry_s < now_s; i++) {
        Spent gone = Nonces_pop(self);
        int status = PySet_Discard(self->alive, gone.nonce);
        Py_DECREF(gone.nonce);
        if (status < 0)
            return -1;
    }
    return 0;
}

/* Ask whether there may be one more, and keep what was seen already if so. */
static PyObject *
Nonces_ask(Nonces *self, int64_t expiry_s, PyObject *nonce, PyObject *may)
{
    PyObject *answer = PyObject_CallNoArgs(may);
    int is = answer == NULL ? -1 : PyObject_IsTrue(answer);

    Py_XDECREF(answer);
    if (is > 0 && Nonces_push(self, expiry_s, nonce) == 0)
        Py_RETURN_NONE;
    if (is != 0) {
        NiloError raised = nilo_error_save();
        PySet_Discard(self->alive, nonce);
        nilo_error_restore(raised);
        return NULL;
    }
    return PySet_Discard(self->alive, nonce) < 0 ? NULL
                                                 : PyUnicode_FromString("budget_requests");
}

static PyObject *
Nonces_spend(Nonces *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !PyUnicode_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "spend() takes a nonce, its expiry, the time and may()");
        return NULL;
    }
    int64_t expiry_s = PyLong_AsLongLong(args[1]), now_s = PyLong_AsLongLong(args[2]);
    if ((expiry_s == -1 || now_s == -1) && PyErr_Occurred())
        return NULL;
    int seen = PySet_Contains(self->alive, args[0]);
    if (seen)
        return seen < 0 ? NULL : PyUnicode_FromString("replayed");
    if (Nonces_forget(self, now_s) < 0)
        return NULL;
    if (PySet_GET_SIZE(self->alive) >= self->most)
        return PyUnicode_FromString("nonces_full");
    if (PySet_Add(self->alive, args[0]) < 0)
        return NULL;
    return Nonces_ask(self, expiry_s, args[0], args[3]);
}

static PyObject *
Nonces_reset_after_fork(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE; /* there is no lock */
}

static Py_ssize_t
Nonces_length(Nonces *self)
{
    return PySet_GET_SIZE(self->alive);
}

static PyMethodDef Nonces_methods[] = {
    {"spend", (PyCFunction)(void (*)(void))Nonces_spend, METH_FASTCALL,
     PyDoc_STR("Remember one until it expires, if ``may()`` says so; else why it is refused.")},
    {"reset_after_fork", Nonces_reset_after_fork, METH_NOARGS,
     PyDoc_STR("The lock may be held by a thread that did not survive.")},
    {NULL},
};

static PyType_Slot Nonces_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Nonces seen, each until it expires; see budget.py.")},
    {Py_tp_new, Nonces_new},
    {Py_tp_dealloc, Nonces_dealloc},
    {Py_tp_methods, Nonces_methods},
    {Py_sq_length, Nonces_length},
    {0, NULL},
};

static PyType_Spec Nonces_spec = {
    .name = "nilometer.trace._core.Nonces",
    .basicsize = sizeof(Nonces),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Nonces_slots,
};

#endif
