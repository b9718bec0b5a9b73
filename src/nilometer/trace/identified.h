/* Records of log lines with the id of the request that they were logged in: the C twin of
 * identified_pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_IDENTIFIED_H
#define NILOMETER_TRACE_IDENTIFIED_H

#include "stack.h"
#include "trace/spans.h"
#include "trace/wrappers.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original;
    PyObject *names; /* dict: the names that original finds, or NULL: nobody knows them */
    PyObject *plain; /* of these, the class whose records have no id of their own, or NULL */
    char on;
} Identified;

/* Where Logger.makeRecord's arguments stand, and how many go on to the factory of records. */
enum { LINE_NAME = 1, LINE_EXTRA = 9, LINE_SINFO = 10, LINE_ARGS = 11, RECORD_ARGS = 9 };

static PyObject *core_current_trace_id(PyObject *module, PyObject *ignored);

static int
attribute_if_any(PyObject *self, PyObject *name, PyObject **found)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(self, name, found);
#else
    return _PyObject_LookupAttr(self, name, found);
#endif
}

/* Give a record its id unless it has one; -1 if something that is not ours is raised. */
static int
identify(PyObject *record, int is_plain_record)
{
    PyObject *own = NULL;
    int has = is_plain_record ? 0 : attribute_if_any(record, core.str_trace_id, &own);

    Py_XDECREF(own);
    if (has != 0)
        return has > 0 ? 0 : contained();
    PyObject *id = core_current_trace_id(NULL, NULL);
    int status = id == NULL ? -1
                            : PyObject_SetAttr(record, core.str_trace_id,
                                               id == Py_None ? core.no_trace_id : id);
    Py_XDECREF(id);
    return status < 0 ? contained() : 0;
}

/* ``plain(...)`` as Python does it, but with no tuple of the arguments, of which `given` has room
 * for one more in front: 50 ns of 2 us. NULL without an exception if the class is not made so. */
static PyObject *
plain_record(PyObject *plain, PyObject **given)
{
    PyTypeObject *type = (PyTypeObject *)plain;

    if (!PyType_CheckExact(plain) || type->tp_new != PyBaseObject_Type.tp_new)
        return NULL;
    PyObject *init = PyObject_GetAttr(plain, core.str_init);
    if (init == NULL || !PyFunction_Check(init)) {
        Py_XDECREF(init);
        return NULL;
    }
    PyObject *none = NULL, *record = type->tp_new(type, core.empty_tuple, NULL);
    if (record != NULL) {
        given[0] = record;
        none = PyObject_Vectorcall(init, given, RECORD_ARGS + 1, NULL);
    }
    if (none != NULL && none != Py_None)
        PyErr_Format(PyExc_TypeError, "__init__() should return None, not '%.200s'",
                     Py_TYPE(none)->tp_name);
    if (none != Py_None)
        Py_CLEAR(record);
    Py_XDECREF(none);
    Py_DECREF(init);
    return record;
}

/* What makeRecord does for a line without `extra`, without a frame for it: it calls the factory
 * that was set last. */
static PyObject *
Identified_made(Identified *self, PyObject *const *args, size_t nargsf, PyObject *kwnames,
                int *is_plain_record)
{
    PyObject *factory = NULL, *given[RECORD_ARGS + 1];

    if (self->names != NULL && kwnames == NULL && PyVectorcall_NARGS(nargsf) == LINE_ARGS &&
        args[LINE_EXTRA] == Py_None)
        factory = PyDict_GetItemWithError(self->names, core.str_factory);
    if (factory == NULL)
        return PyErr_Occurred() ? NULL
                                : PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    memcpy(given + 1, args + LINE_NAME, (RECORD_ARGS - 1) * sizeof(PyObject *));
    given[RECORD_ARGS] = args[LINE_SINFO];
    Py_INCREF(factory); /* who is called may set another one */
    *is_plain_record = factory == self->plain;
    PyObject *record = *is_plain_record ? plain_record(factory, given) : NULL;
    if (record == NULL && !PyErr_Occurred())
        record = PyObject_Vectorcall(factory, given + 1,
                                     RECORD_ARGS | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(factory);
    return record;
}

static PyObject *
Identified_call(Identified *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (nilo_stack_check() < 0)
        return NULL;
    if (!self->on)
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    int is_plain_record = 0;
    PyObject *record = Identified_made(self, args, nargsf, kwnames, &is_plain_record);
    if (record != NULL && identify(record, is_plain_record) < 0)
        Py_CLEAR(record);
    return record;
}

/* No tp_clear: who still holds us may call the function, which breaks circles by itself. */
static int
Identified_traverse(Identified *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->original);
    Py_VISIT(self->names);
    Py_VISIT(self->plain);
    return 0;
}

static void
Identified_dealloc(Identified *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->original);
    Py_XDECREF(self->names);
    Py_XDECREF(self->plain);
    type->tp_free(self);
    Py_DECREF(type);
}

/* In a class of loggers it is a method. */
static PyObject *
Identified_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    return instance == NULL ? Py_NewRef(self) : PyMethod_New(self, instance);
}

static PyObject *
Identified_getattro(PyObject *self, PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "__module__") == 0) /* the type has one, too */
        return PyObject_GetAttr(((Identified *)self)->original, name);
    return nilo_getattr_through(self, ((Identified *)self)->original, name);
}

static PyObject *
Identified_end(Identified *self, PyObject *Py_UNUSED(ignored))
{
    self->on = 0;
    Py_RETURN_NONE;
}

static PyObject *
core_identified(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !(args[1] == Py_None || PyDict_CheckExact(args[1]))) {
        PyErr_SetString(PyExc_TypeError, "identified() takes a function, and a dict or None");
        return NULL;
    }
    Identified *self = (Identified *)core.Identified->tp_alloc(core.Identified, 0);
    if (self == NULL)
        return NULL;
    self->vectorcall = (vectorcallfunc)(void (*)(void))Identified_call;
    self->original = Py_NewRef(args[0]);
    self->names = args[1] == Py_None ? NULL : Py_NewRef(args[1]);
    if (self->names != NULL)
        self->plain = Py_XNewRef(PyDict_GetItemWithError(self->names, core.str_record));
    if (PyErr_Occurred())
        Py_CLEAR(self);
    else
        self->on = 1;
    return (PyObject *)self;
}

static PyMethodDef Identified_methods[] = {
    {"end", (PyCFunction)Identified_end, METH_NOARGS,
     PyDoc_STR("Only pass calls on from now on.")},
    {"__reduce__", Traced_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef Identified_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Identified, vectorcall), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(Identified, original), READONLY, NULL},
    {NULL},
};

static PyType_Slot Identified_slots[] = {
    {Py_tp_dealloc, Identified_dealloc},
    {Py_tp_traverse, Identified_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, Identified_get},
    {Py_tp_getattro, Identified_getattro},
    {Py_tp_methods, Identified_methods},
    {Py_tp_members, Identified_members},
    {0, NULL},
};

static PyType_Spec Identified_spec = {
    .name = "nilometer.trace._core.Identified",
    .basicsize = sizeof(Identified),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Identified_slots,
};

#endif
