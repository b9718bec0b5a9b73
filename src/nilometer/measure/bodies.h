/* Bodies that a timer times: `with` blocks, functions, coroutines.
 *
 * The C of timed.py, of which generators are run by it: many libraries ask for the very types of
 * Python's own. A body is timed from its first start to its end. What the wrappers do not know
 * themselves, they ask of what they wrap, so that `inspect` sees through them.
 */

#ifndef NILOMETER_MEASURE_BODIES_H
#define NILOMETER_MEASURE_BODIES_H

#include "measure/handles.h"
#include "stack.h"

typedef struct {
    PyObject_HEAD
    Handle *timer;
    PyObject *function;
    PyObject *runner; /* what runs the generators that it makes, else NULL */
    PyObject *dict;
    PyObject *weakrefs;
    vectorcallfunc vectorcall;
} TimedFunction;

/* A coroutine on its way. */
typedef struct {
    PyObject_HEAD
    Handle *timer;
    PyObject *inner;
    PyObject *weakrefs;
    int64_t started_ns;
    char started, running, done;
} Body;

/* === Lap === */

static PyObject *
Lap_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timer", NULL};
    PyObject *timer;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Lap", names, state_of(type)->timer,
                                     &timer))
        return NULL;
    return (PyObject *)lap_of(state_of(type), (Handle *)timer);
}

static int
Lap_traverse(Lap *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->timer);
    return 0;
}

static int
Lap_clear(Lap *self)
{
    Py_CLEAR(self->timer);
    return 0;
}

static void
Lap_dealloc(Lap *self)
{
    State *state = state_of(Py_TYPE(self));

    PyObject_GC_UnTrack(self);
    Lap_clear(self);
    if (state == NULL)
        PyErr_Clear(); /* the interpreter ends and has taken the module from its types */
    if (state == NULL || state->lap == NULL || state->laps_kept == LAPS_KEPT) {
        nilo_free((PyObject *)self);
        return;
    }
    state->laps[state->laps_kept++] = (PyObject *)self;
    Py_DECREF(Py_TYPE(self));
}

static PyObject *
Lap_enter(Lap *self, PyObject *Py_UNUSED(ignored))
{
    if (self->timer != NULL) {
        self->started = 1;
        self->started_ns = family_now_ns(self->timer->family);
    }
    Py_RETURN_NONE;
}

static PyObject *
Lap_exit(Lap *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "__exit__() takes 3 arguments (%zd given)", nargs);
    if (!self->started || self->timer == NULL)
        Py_RETURN_FALSE;
    int64_t elapsed_ns = family_now_ns(self->timer->family) - self->started_ns;
    if (timer_keep(self->timer, elapsed_ns) < 0) {
        PyErr_Clear();
        self->timer->arena->refused++;
    }
    if (PyExceptionClass_Check(args[0]))
        timer_failed(self->timer, args[0]);
    Py_RETURN_FALSE;
}

static PyMethodDef Lap_methods[] = {
    {"__enter__", (PyCFunction)Lap_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))Lap_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Lap_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One use of a timer in a `with`. Made per use, so a timer "
                                  "may nest and be shared.")},
    {Py_tp_new, Lap_new},
    {Py_tp_dealloc, Lap_dealloc},
    {Py_tp_traverse, Lap_traverse},
    {Py_tp_clear, Lap_clear},
    {Py_tp_methods, Lap_methods},
    {0, NULL},
};

/* === Coroutines on their way === */

static PyObject *
body_new(PyTypeObject *type, Handle *timer, PyObject *inner)
{
    Body *self = (Body *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->timer = (Handle *)Py_NewRef(timer);
        self->inner = Py_NewRef(inner);
    }
    return (PyObject *)self;
}

static int
Body_traverse(Body *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->timer);
    Py_VISIT(self->inner);
    return 0;
}

static int
Body_clear(Body *self)
{
    self->done = 1; /* without what it wraps there is nothing left to time */
    Py_CLEAR(self->inner);
    return 0;
}

static void
Body_dealloc(Body *self)
{
    if (self->started && !self->done && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
        return; /* a finalizer brought it back to life */
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Body_clear(self);
    Py_CLEAR(self->timer);
    nilo_free((PyObject *)self);
}

static PyObject *
Body_getattro(Body *self, PyObject *name)
{
    return nilo_getattr_through((PyObject *)self, self->inner, name);
}

static PyObject *
Body_repr(Body *self)
{
    return PyUnicode_FromFormat("<%R timed by %R>", self->inner, self->timer);
}

static inline void
body_start(Body *self)
{
    if (!self->started) {
        self->started = 1;
        self->started_ns = family_now_ns(self->timer->family);
    }
}

/* The body ended; if `failed`, by the exception that is set, which stays set. */
static void
body_end(Body *self, int failed)
{
    self->done = 1;
    if (self->started)
        timer_ended(self->timer, family_now_ns(self->timer->family) - self->started_ns, failed);
}

static PyObject *
body_gone(void)
{
    PyErr_SetString(PyExc_RuntimeError, "the timed body is gone");
    return NULL;
}

/* A send into a body that runs, has ended, or would refuse it is passed on untimed: what it
 * answers then is not the body's end. */
static PySendResult
Body_send(Body *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (self->inner == NULL) {
        body_gone();
        return PYGEN_ERROR;
    }
    if (nilo_stack_check() < 0)
        return PYGEN_ERROR;
    if (self->running || self->done || (!self->started && value != Py_None))
        return PyIter_Send(self->inner, value, result);
    body_start(self);
    self->running = 1;
    PySendResult status = PyIter_Send(self->inner, value, result);
    self->running = 0;
    if (status != PYGEN_NEXT)
        body_end(self, status == PYGEN_ERROR);
    return status;
}

static PyObject *
Body_send_method(Body *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = Body_send(self, value, &result);

    return nilo_sent(status, result);
}

static PyObject *
Body_iternext(Body *self)
{
    return Body_send_method(self, Py_None);
}

/* throw() and close() of a body; a body that never started is not timed. */
static PyObject *
body_interrupt(Body *self, const char *method, PyObject *const *args, Py_ssize_t nargs)
{
    if (self->inner == NULL)
        return body_gone();
    if (nilo_stack_check() < 0)
        return NULL;
    PyObject *bound = PyObject_GetAttrString(self->inner, method);
    if (bound == NULL)
        return NULL;
    int timed = self->started && !self->running && !self->done;
    if (!self->started)
        self->done = 1;
    self->running |= timed;
    PyObject *result = PyObject_Vectorcall(bound, args, (size_t)nargs, NULL);
    Py_DECREF(bound);
    if (timed) {
        self->running = 0;
        if (result == NULL)
            body_end(self, !PyErr_ExceptionMatches(PyExc_StopIteration));
        else if (method[0] == 'c')
            body_end(self, 0);
    }
    return result;
}

static PyObject *
Body_throw(Body *self, PyObject *const *args, Py_ssize_t nargs)
{
    return body_interrupt(self, "throw", args, nargs);
}

static PyObject *
Body_close(Body *self, PyObject *Py_UNUSED(ignored))
{
    return body_interrupt(self, "close", NULL, 0);
}

/* Dropped on its way: close it, as Python does, and keep the time. */
static void
Body_finalize(Body *self)
{
    if (!self->started || self->done || self->running || self->inner == NULL)
        return;
    NiloError passing = nilo_error_save();
    PyObject *closed = Body_close(self, NULL);
    if (closed == NULL)
        PyErr_WriteUnraisable((PyObject *)self->timer);
    Py_XDECREF(closed);
    nilo_error_restore(passing);
}

static PyMethodDef Body_methods[] = {
    {"send", (PyCFunction)Body_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))Body_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)Body_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Body_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Body, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Coroutine_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A coroutine whose body is timed.")},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, Body_send},
    {Py_tp_iternext, Body_iternext}, /* not iterable: it has no __iter__ */
    {Py_tp_finalize, Body_finalize},
    {Py_tp_methods, Body_methods},
    {Py_tp_dealloc, Body_dealloc},
    {Py_tp_traverse, Body_traverse},
    {Py_tp_clear, Body_clear},
    {Py_tp_repr, Body_repr},
    {Py_tp_getattro, Body_getattro},
    {Py_tp_members, Body_members},
    {0, NULL},
};

/* === Functions === */

static PyObject *
function_vectorcall(TimedFunction *self, PyObject *const *args, size_t nargsf,
                    PyObject *kwnames)
{
    Family *family = self->timer->family;

    if (nilo_stack_check() < 0)
        return NULL;
    if (!family->on)
        return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    int64_t started_ns = family_now_ns(family);
    PyObject *result = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    timer_ended(self->timer, family_now_ns(family) - started_ns, result == NULL);
    return result;
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
coroutine_vectorcall(TimedFunction *self, PyObject *const *args, size_t nargsf,
                     PyObject *kwnames)
{
    PyObject *made = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    PyAsyncMethods *async = made == NULL ? NULL : Py_TYPE(made)->tp_as_async;

    if (!self->timer->family->on || async == NULL
        || (async->am_send == NULL && async->am_await == NULL))
        return made;
    made = stepped(made);
    if (made == NULL)
        return NULL;
    PyObject *body = body_new(state_of(Py_TYPE(self))->coroutine, self->timer, made);
    Py_DECREF(made);
    return body;
}

static PyObject *
generator_vectorcall(TimedFunction *self, PyObject *const *args, size_t nargsf,
                     PyObject *kwnames)
{
    PyObject *made = PyObject_Vectorcall(self->function, args, nargsf, kwnames);

    if (made == NULL || !self->timer->family->on)
        return made;
    PyObject *run = PyObject_CallOneArg(self->runner, made);
    Py_DECREF(made);
    return run;
}

/* Of one that is at rest for good. */
static PyObject *
passing_vectorcall(TimedFunction *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (nilo_stack_check() < 0)
        return NULL;
    return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
}

static PyObject *
Function_rest(TimedFunction *self, PyObject *Py_UNUSED(ignored))
{
    self->vectorcall = (vectorcallfunc)passing_vectorcall;
    Py_RETURN_NONE;
}

static vectorcallfunc
vectorcall_for(const char *kind)
{
    if (strcmp(kind, "coroutine") == 0)
        return (vectorcallfunc)coroutine_vectorcall;
    if (strcmp(kind, "function") == 0)
        return (vectorcallfunc)function_vectorcall;
    return (vectorcallfunc)generator_vectorcall;
}

/* What runs the generators that a function makes, of Python's own types. */
static PyObject *
runner_for(PyObject *timer, PyObject *function, const char *kind)
{
    PyObject *timed = PyImport_ImportModule("nilometer.measure.timed");
    PyObject *made = timed == NULL
                         ? NULL
                         : PyObject_CallMethod(timed, "runner", "OOs", timer, function, kind);

    Py_XDECREF(timed);
    return made;
}

static PyObject *
wrap(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *timer, *function;
    const char *kind;

    if (!PyArg_ParseTuple(args, "O!Os:wrap", state->timer, &timer, &function, &kind))
        return NULL;
    TimedFunction *self = (TimedFunction *)state->function->tp_alloc(state->function, 0);
    if (self == NULL)
        return NULL;
    self->timer = (Handle *)Py_NewRef(timer);
    self->function = Py_NewRef(function);
    self->vectorcall = vectorcall_for(kind);
    self->dict = PyDict_New();
    if (self->vectorcall == (vectorcallfunc)generator_vectorcall)
        self->runner = runner_for(timer, function, kind);
    if (PyErr_Occurred())
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
Function_traverse(TimedFunction *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->timer);
    Py_VISIT(self->function);
    Py_VISIT(self->runner);
    Py_VISIT(self->dict);
    return 0;
}

static int
Function_clear(TimedFunction *self)
{
    Py_CLEAR(self->dict); /* timer and function stay: it may still be called */
    return 0;
}

static void
Function_dealloc(TimedFunction *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Function_clear(self);
    Py_CLEAR(self->timer);
    Py_CLEAR(self->function);
    Py_CLEAR(self->runner);
    nilo_free((PyObject *)self);
}

static PyObject *
Function_getattro(TimedFunction *self, PyObject *name)
{
    return nilo_getattr_through((PyObject *)self, self->function, name);
}

static PyObject *
Function_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    if (instance == NULL || instance == Py_None)
        return Py_NewRef(self);
    return PyMethod_New(self, instance);
}

static PyObject *
Function_repr(TimedFunction *self)
{
    return PyUnicode_FromFormat("<%R timed by %R>", self->function, self->timer);
}

/* Pickled as functions are: by the name under which they are found. */
static PyObject *
Function_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyObject_GetAttrString(self, "__qualname__");
}

static PyMethodDef Function_methods[] = {
    {"__reduce__", (PyCFunction)Function_reduce, METH_NOARGS, NULL},
    {"__nilometer_rest__", (PyCFunction)Function_rest, METH_NOARGS, NULL},
    {"__set_name__", (PyCFunction)(void (*)(void))nilo_set_name, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(TimedFunction, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(TimedFunction, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TimedFunction, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Function_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Function_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A function whose body is timed.")},
    {Py_tp_dealloc, Function_dealloc},
    {Py_tp_traverse, Function_traverse},
    {Py_tp_clear, Function_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, Function_get},
    {Py_tp_getattro, Function_getattro},
    {Py_tp_repr, Function_repr},
    {Py_tp_methods, Function_methods},
    {Py_tp_members, Function_members},
    {Py_tp_getset, Function_getset},
    {0, NULL},
};

#endif
