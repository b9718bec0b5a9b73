/* What a function makes, with the id of the request that it was made in: the C twin of
 * identified_pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_IDENTIFIED_H
#define NILOMETER_TRACE_IDENTIFIED_H

#include "stack.h"
#include "trace/spans.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;
} Identified;

static PyObject *core_current_trace_id(PyObject *module, PyObject *ignored);

static PyObject *
Identified_call(Identified *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (nilo_stack_check() < 0)
        return NULL;
    PyObject *made = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    PyObject *id = made == NULL ? NULL : core_current_trace_id(NULL, NULL);

    if (id == NULL) {
        Py_XDECREF(made);
        return NULL;
    }
    if (PyObject_SetAttr(made, core.str_trace_id, id == Py_None ? core.no_trace_id : id) < 0)
        Py_CLEAR(made);
    Py_DECREF(id);
    return made;
}

/* No tp_clear: who still holds us may call the function, which breaks circles by itself. */
static int
Identified_traverse(Identified *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    return 0;
}

static void
Identified_dealloc(Identified *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_DECREF(self->function);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
core_identified(PyObject *Py_UNUSED(module), PyObject *function)
{
    Identified *self = (Identified *)core.Identified->tp_alloc(core.Identified, 0);

    if (self == NULL)
        return NULL;
    self->vectorcall = (vectorcallfunc)(void (*)(void))Identified_call;
    self->function = Py_NewRef(function);
    return (PyObject *)self;
}

static PyMemberDef Identified_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Identified, vectorcall), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(Identified, function), READONLY, NULL},
    {NULL},
};

static PyType_Slot Identified_slots[] = {
    {Py_tp_dealloc, Identified_dealloc},
    {Py_tp_traverse, Identified_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, Identified_members},
    {0, NULL},
};

static PyType_Spec Identified_spec = {
    .name = "nilometer.trace._core.Identified",
    .basicsize = sizeof(Identified),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Identified_slots,
};

#endif
