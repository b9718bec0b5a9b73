/* How many traced requests a second a process takes on: the C twin of budget.py's `Budget`, which
 * needs no lock since nothing runs between its looking and its taking; see _core.c.
 */

#ifndef NILOMETER_TRACE_BUDGET_H
#define NILOMETER_TRACE_BUDGET_H

#include "trace/spans.h"

typedef struct {
    PyObject_HEAD
    PyObject *elapsed_ns; /* NULL: ask the kernel */
    double rate, level, level_max;
    int64_t seen_ns;
} Budget;

/* The clock's nanoseconds; -1 with an exception if the clock that was given failed. */
static int64_t
Budget_now(Budget *self)
{
    if (self->elapsed_ns == NULL)
        return nilo_now_ns();
    PyObject *answer = PyObject_CallNoArgs(self->elapsed_ns);
    int64_t now = answer == NULL ? -1 : PyLong_AsLongLong(answer);
    Py_XDECREF(answer);
    return now;
}

static PyObject *
Budget_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"rate", "elapsed_ns", NULL};
    PyObject *elapsed_ns;
    double rate;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "dO:Budget", names, &rate, &elapsed_ns))
        return NULL;
    Budget *self = (Budget *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->elapsed_ns = elapsed_ns == core.perf_counter_ns ? NULL : Py_NewRef(elapsed_ns);
    self->rate = rate;
    self->level = self->level_max = rate > 1.0 ? rate : 1.0;
    self->seen_ns = Budget_now(self);
    if (self->seen_ns == -1 && PyErr_Occurred())
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
Budget_dealloc(Budget *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(self->elapsed_ns);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Budget_take(Budget *self, PyObject *Py_UNUSED(ignored))
{
    int64_t now = Budget_now(self);

    if (now == -1 && PyErr_Occurred())
        return NULL;
    double level = self->level + (double)(now - self->seen_ns) * self->rate / 1e9;
    if (level > self->level_max)
        level = self->level_max;
    self->seen_ns = now;
    int may = level >= 1.0;
    self->level = may ? level - 1.0 : level;
    return PyBool_FromLong(may);
}

static PyObject *
Budget_reset_after_fork(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE; /* there is no lock */
}

static PyMethodDef Budget_methods[] = {
    {"take", (PyCFunction)Budget_take, METH_NOARGS,
     PyDoc_STR("Whether one more may start now.")},
    {"reset_after_fork", Budget_reset_after_fork, METH_NOARGS,
     PyDoc_STR("The lock may be held by a thread that did not survive.")},
    {NULL},
};

static PyType_Slot Budget_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Traced requests per second; see budget.py.")},
    {Py_tp_new, Budget_new},
    {Py_tp_dealloc, Budget_dealloc},
    {Py_tp_methods, Budget_methods},
    {0, NULL},
};

static PyType_Spec Budget_spec = {
    .name = "nilometer.trace._core.Budget",
    .basicsize = sizeof(Budget),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Budget_slots,
};

#endif
