/* Coroutines and functions inside spans: the C twin of wrap_pure.py and steps.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_WRAPPERS_H
#define NILOMETER_TRACE_WRAPPERS_H

#include "stack.h"
#include "trace/spans.h"

/* === Awaited: a coroutine inside a span === */

typedef struct {
    PyObject_HEAD
    PyObject *coroutine;
    Span *span; /* NULL once it has ended, or if the budget was spent */
    PyObject *weakrefs;
    int is_started;
} Awaited;

static PyObject *
Awaited_make(PyObject *coroutine, Span *span)
{
    Awaited *self = PyObject_GC_New(Awaited, core.Awaited);

    if (self == NULL)
        return NULL;
    self->coroutine = Py_NewRef(coroutine);
    self->span = (Span *)Py_XNewRef(span);
    self->weakrefs = NULL;
    self->is_started = 0;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* The coroutine has ended; `error` is what it was left by, or NULL. -1 if anything is raised. */
static int
Awaited_end(Awaited *self, PyObject *error)
{
    Span *span = self->span;
    int status = 0;

    self->span = NULL;
    if (span != NULL) {
        status = Span_end(span, error);
        Py_DECREF(span);
    }
    return status;
}

/* The coroutine has ended by the exception now raised, which stays raised. */
static void
Awaited_fail(Awaited *self)
{
    PyObject *error = taken_error();
    int is_return = error == NULL || PyObject_TypeCheck(error, (PyTypeObject *)PyExc_StopIteration);

    if (Awaited_end(self, is_return ? NULL : error) < 0)
        Py_XDECREF(error); /* an interrupt came meanwhile and takes its place */
    else if (error != NULL)
        raise_again(error);
}

static PySendResult
Awaited_am_send(Awaited *self, PyObject *argument, PyObject **result)
{
    *result = NULL;
    if (nilo_stack_check() < 0)
        return PYGEN_ERROR;
    if (!self->is_started) {
        self->is_started = 1;
        if (self->span != NULL)
            Span_begin(self->span);
    }
    PySendResult status = PyIter_Send(self->coroutine, argument, result);
    if (status == PYGEN_RETURN) {
        if (Awaited_end(self, NULL) < 0) {
            Py_CLEAR(*result);
            return PYGEN_ERROR;
        }
    }
    else if (status == PYGEN_ERROR) {
        Awaited_fail(self);
    }
    return status;
}

static PyObject *
Awaited_send(Awaited *self, PyObject *argument)
{
    PyObject *result = NULL;
    PySendResult status = Awaited_am_send(self, argument, &result);

    return nilo_sent(status, result);
}

static PyObject *
Awaited_next(Awaited *self)
{
    return Awaited_send(self, Py_None);
}

static PyObject *
Awaited_throw(Awaited *self, PyObject *args)
{
    if (nilo_stack_check() < 0)
        return NULL;
    PyObject *method = PyObject_GetAttr(self->coroutine, core.str_throw);
    if (method == NULL)
        return NULL;
    PyObject *result = PyObject_Call(method, args, NULL);
    Py_DECREF(method);
    if (result == NULL)
        Awaited_fail(self);
    return result;
}

static PyObject *
Awaited_close(Awaited *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *result = PyObject_CallMethodNoArgs(self->coroutine, core.str_close);

    if (result == NULL)
        Awaited_fail(self);
    else if (Awaited_end(self, NULL) < 0)
        Py_CLEAR(result);
    return result;
}

/* Forgotten half-way: the body's `finally` runs, then the span ends, as when it is closed. */
static void
Awaited_finalize(Awaited *self)
{
    if (!self->is_started || self->span == NULL)
        return;
    PyObject *error = taken_error();
    PyObject *result = Awaited_close(self, NULL);
    if (result == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(result);
    if (error != NULL)
        raise_again(error);
}

/* No tp_clear: a circle through here is broken in the coroutine, which `finalize` closes. */
static int
Awaited_traverse(Awaited *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->coroutine);
    return 0;
}

static void
Awaited_dealloc(Awaited *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->span);
    type->tp_free(self);
    Py_DECREF(type);
}

/* cr_frame and its like are the coroutine's. */
static PyObject *
Awaited_getattro(Awaited *self, PyObject *name)
{
    return nilo_getattr_through((PyObject *)self, self->coroutine, name);
}

static PyObject *
Awaited_repr(Awaited *self)
{
    return PyUnicode_FromFormat("<traced %R>", self->coroutine);
}

static PyMethodDef Awaited_methods[] = {
    {"send", (PyCFunction)Awaited_send, METH_O, NULL},
    {"throw", (PyCFunction)Awaited_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)Awaited_close, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef Awaited_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Awaited, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot Awaited_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A coroutine inside a span; see steps.py.")},
    {Py_tp_dealloc, Awaited_dealloc},
    {Py_tp_finalize, Awaited_finalize},
    {Py_tp_traverse, Awaited_traverse},
    {Py_tp_getattro, Awaited_getattro},
    {Py_tp_repr, Awaited_repr},
    {Py_tp_iternext, Awaited_next},
    {Py_tp_methods, Awaited_methods},
    {Py_tp_members, Awaited_members},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, Awaited_am_send},
    {0, NULL},
};

static PyType_Spec Awaited_spec = {
    .name = "nilometer.trace._core.Awaited",
    .basicsize = sizeof(Awaited),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Awaited_slots,
};

/* === Traced: a function with a span around each run === */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;
    PyObject *name;
    PyObject *kind;
    PyObject *names;  /* tuple: of the attributes that each span gets */
    PyObject *values; /* tuple of as many */
    PyObject *driver; /* what runs steps, or NULL */
    PyObject *dict;
    PyObject *weakrefs;
} Traced;

/* A child of the current span, if that is one and its trace may have one more; else NULL. */
static Span *
Traced_span(Traced *self, PyObject *current)
{
    if (!is_recorded(current))
        return NULL;
    Span *outer = (Span *)current;
    if (!Trace_spend(outer->trace))
        return NULL;
    Span *span = Span_make(outer->trace, outer->id, self->name, self->kind, self->names,
                           &PyTuple_GET_ITEM(self->values, 0), PyTuple_GET_SIZE(self->values));
    if (span == NULL)
        PyErr_Clear(); /* no memory: untraced */
    return span;
}

static PyObject *
Traced_call_function(Traced *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (nilo_stack_check() < 0)
        return NULL;
    PyObject *current = get_current();
    Span *span = current == Py_None ? NULL : Traced_span(self, current);
    Py_DECREF(current);
    if (span == NULL)
        return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    Span_begin(span);
    PyObject *result = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    if (result != NULL) {
        if (Span_end(span, NULL) < 0)
            Py_CLEAR(result);
    }
    else {
        PyObject *error = taken_error();
        if (Span_end(span, error) < 0)
            Py_XDECREF(error); /* an interrupt came meanwhile and takes its place */
        else if (error != NULL)
            raise_again(error);
    }
    Py_DECREF(span);
    return result;
}

static int
is_awaitable(PyObject *made)
{
    PyAsyncMethods *async = Py_TYPE(made)->tp_as_async;

    return async != NULL && (async->am_send != NULL || async->am_await != NULL);
}

/* What steps an awaitable: a coroutine does by itself, a future by its iterator. Takes the
 * reference. */
static PyObject *
stepped(PyObject *awaitable)
{
    PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;

    if (async->am_send != NULL)
        return awaitable;
    PyObject *iterator = async->am_await(awaitable);
    Py_DECREF(awaitable);
    return iterator;
}

/* What cannot be awaited is handed on as it is: whoever awaits it is told so by Python. */
static PyObject *
Traced_call_steps(Traced *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *made = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    PyObject *current = made == NULL ? NULL : get_current();

    if (current == NULL || !is_recorded(current) ||
        (self->driver == core.awaited && !is_awaitable(made))) {
        Py_XDECREF(current);
        return made;
    }
    Span *span = Traced_span(self, current);
    Py_DECREF(current);
    PyObject *driven;
    if (self->driver == core.awaited) {
        made = stepped(made);
        driven = made == NULL ? NULL : Awaited_make(made, span);
    }
    else {
        PyObject *pair[2] = {made, span == NULL ? core.untraced : (PyObject *)span};
        driven = PyObject_Vectorcall(self->driver, pair, 2, NULL);
    }
    Py_XDECREF(span);
    Py_XDECREF(made);
    return driven;
}

/* Of one that is at rest for good. */
static PyObject *
Traced_call_passing(Traced *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (nilo_stack_check() < 0)
        return NULL;
    return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
}

static PyObject *
Traced_rest(Traced *self, PyObject *Py_UNUSED(ignored))
{
    self->vectorcall = (vectorcallfunc)Traced_call_passing;
    Py_RETURN_NONE;
}

static int
Traced_traverse(Traced *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->values);
    Py_VISIT(self->driver);
    Py_VISIT(self->dict);
    return 0;
}

static int
Traced_clear(Traced *self)
{
    Py_CLEAR(self->dict); /* the function stays: who still holds us may call it */
    return 0;
}

static void
Traced_dealloc(Traced *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->values);
    Py_CLEAR(self->driver);
    Py_CLEAR(self->function);
    Py_CLEAR(self->name);
    Py_CLEAR(self->kind);
    Py_CLEAR(self->names);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Traced_descr_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(owner))
{
    if (instance == NULL || instance == Py_None)
        return Py_NewRef(self);
    return PyMethod_New(self, instance);
}

/* __code__ and its like are the function's, so that inspect says the same of both. */
static PyObject *
Traced_getattro(Traced *self, PyObject *name)
{
    return nilo_getattr_through((PyObject *)self, self->function, name);
}

static PyObject *
Traced_repr(Traced *self)
{
    return PyUnicode_FromFormat("<traced %R>", self->function);
}

/* Pickled as a function is: by its name. */
static PyObject *
Traced_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *name = PyObject_GetAttr(self, core.str_qualname);
    PyObject *text = name == NULL ? NULL : PyObject_Str(name);

    Py_XDECREF(name);
    return text;
}

static PyMethodDef Traced_methods[] = {
    {"__reduce__", Traced_reduce, METH_NOARGS, NULL},
    {"__nilometer_rest__", (PyCFunction)Traced_rest, METH_NOARGS, NULL},
    {"__set_name__", (PyCFunction)(void (*)(void))nilo_set_name, METH_FASTCALL, NULL},
    {NULL},
};

static PyMemberDef Traced_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Traced, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(Traced, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Traced, weakrefs), READONLY, NULL},
    {NULL},
};

static PyGetSetDef Traced_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL},
};

static PyType_Slot Traced_slots[] = {
    {Py_tp_dealloc, Traced_dealloc},
    {Py_tp_traverse, Traced_traverse},
    {Py_tp_clear, Traced_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, Traced_descr_get},
    {Py_tp_getattro, Traced_getattro},
    {Py_tp_repr, Traced_repr},
    {Py_tp_methods, Traced_methods},
    {Py_tp_members, Traced_members},
    {Py_tp_getset, Traced_getset},
    {0, NULL},
};

static PyType_Spec Traced_spec = {
    .name = "nilometer.trace._core.Traced",
    .basicsize = sizeof(Traced),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Traced_slots,
};

#endif
