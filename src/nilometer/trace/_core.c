/* Spans: the fast twin of pure.py, ring_pure.py and wrap_pure.py.
 *
 * The Python files are the specification: same names, same order, same errors. tests/trace runs
 * every test on both. Change them together or not at all.
 *
 * Rules for this file:
 *   1. No policy. Limits and the making of text are limits.py's, which is called when a span is
 *      drained, and when an exception leaves one; plain and short values are taken as they are.
 *   2. On the hot path: one object per span, no dict, no call into Python. The names of keyword
 *      arguments stay the tuple of the call, their values references.
 *   3. The GIL is the lock: nothing here releases it between a check and what depends on it.
 *   4. One interpreter per process: what all spans share lies in one static struct.
 *
 * Spans are not tracked by the garbage collector: 16 bytes and about 20 ns each. What a span is
 * given may refer back to it; such a circle ends when the span is drained, or lost.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdint.h>
#include <time.h>

#define TEXT_CHARS_MAX 4096 /* limits.py's; compared when the module is loaded */
#define NAME_CHARS_MAX 256
#define ATTRIBUTES_MAX 64
#define EVENTS_MAX 32
#define SPANS_RING_MAX 16384
#define SPANS_PER_TRACE_MAX 2000
#define RECORD_FIELDS 13

typedef struct {
    PyObject *current;  /* the context variable */
    PyObject *bounded, *name_of, *message_of, *described, *urandom, *awaited;
    PyObject *clock_class, *clock;
    PyTypeObject *record_type;
    PyObject *event_class, *status_class;
    PyObject *internal, *server, *unset, *error; /* members of SpanKind and Status */
    PyObject *error_type_name, *exception_name, *exception_type_name, *exception_message_name;
    PyObject *empty_text, *empty_bytes, *empty_tuple;
    PyObject *untraced, *ring;
    PyObject *str_throw, *str_close, *str_trace_id, *str_qualname;
    PyTypeObject *Span, *Trace, *Ring, *Untraced, *Traced, *Awaited;
    uint64_t random[4];
    int loaded;
} Core;

static Core core;

/* === Clock, ids, the current span === */

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What a test's clock says; 0 if it fails, for a clock must not fail the application. */
static int64_t
asked_ns(PyObject *clock)
{
    PyObject *answer = PyObject_CallNoArgs(clock);
    int64_t ns = answer == NULL ? 0 : PyLong_AsLongLong(answer);

    Py_XDECREF(answer);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return ns;
}

static inline uint64_t
rotated(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* xoshiro256** of Blackman and Vigna, https://prng.di.unimi.it: 1 ns, period 2**256 - 1. */
static uint64_t
new_id(void)
{
    uint64_t *s = core.random;
    uint64_t id;

    do {
        uint64_t t = s[1] << 17;
        id = rotated(s[1] * 5, 7) * 9;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotated(s[3], 45);
    } while (id == 0);
    return id;
}

/* The current span, a Joined or None; a new reference, never NULL. */
static inline PyObject *
get_current(void)
{
    PyObject *value = NULL;

    if (PyContextVar_Get(core.current, NULL, &value) < 0 || value == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return value;
}

static inline void
set_current(PyObject *value)
{
    PyObject *token = PyContextVar_Set(core.current, value);

    if (token == NULL)
        PyErr_Clear(); /* no memory for a context: the span is recorded all the same */
    else
        Py_DECREF(token);
}

/* The exception being raised, taken away; NULL if there is none. */
static PyObject *
taken_error(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Raise it again, the same object; takes the reference. */
static void
raise_again(PyObject *error)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(error);
#else
    Py_INCREF(Py_TYPE(error));
    PyErr_Restore((PyObject *)Py_TYPE(error), error, PyException_GetTraceback(error));
#endif
}

/* An error of ours that must not reach the application: forget it, unless it is none of ours
 * (a KeyboardInterrupt that came while we were at work). Returns -1 if it stays raised. */
static int
contained(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    return 0;
}

/* === Ring === */

typedef struct Span Span;

typedef struct {
    PyObject_HEAD
    Span **items; /* owned references, `length` of them; NULL until the first one */
    Py_ssize_t length;
    Py_ssize_t capacity;
    PyObject *clock;      /* a Clock */
    PyObject *elapsed_ns; /* its function, or NULL: ask the kernel */
    PyObject *wall_ns;
    PyObject *on_half_full;
    PyObject *lost; /* dict: (what, reason) -> number */
    int woken;
} Ring;

static int
Ring_lose(Ring *self, PyObject *key, Py_ssize_t number)
{
    PyObject *old = PyDict_GetItemWithError(self->lost, key);
    PyObject *sum = PyLong_FromSsize_t(number + (old == NULL ? 0 : PyLong_AsSsize_t(old)));
    int failed = sum == NULL || PyDict_SetItem(self->lost, key, sum) < 0;

    Py_XDECREF(sum);
    return failed ? -1 : 0;
}

/* Count a loss on the application's path: never fails. */
static void
Ring_count(Ring *self, const char *what, const char *reason, Py_ssize_t number)
{
    PyObject *key = Py_BuildValue("(ss)", what, reason);

    if (key == NULL || Ring_lose(self, key, number) < 0)
        PyErr_Clear();
    Py_XDECREF(key);
}

static void
Ring_wake(Ring *self)
{
    PyObject *hook = self->on_half_full;

    self->woken = 1;
    if (hook == NULL || hook == Py_None)
        return;
    Py_INCREF(hook);
    PyObject *answer = PyObject_CallNoArgs(hook);
    Py_DECREF(hook);
    if (answer != NULL) {
        Py_DECREF(answer);
        return;
    }
    PyErr_Clear();
    Py_CLEAR(self->on_half_full);
    Ring_count(self, "wake_ups", "raised", 1);
}

static void Span_forget(Span *self);

static void
Ring_take(Ring *self, Span *finished)
{
    if (self->items == NULL && self->length == 0)
        self->items = PyMem_Calloc((size_t)self->capacity, sizeof(Span *));
    if (self->items == NULL || self->length >= self->capacity) {
        Ring_count(self, "spans", "ring_full", 1);
        Span_forget(finished);
        return;
    }
    Py_INCREF(finished);
    self->items[self->length++] = finished;
    if (self->length * 2 >= self->capacity && !self->woken)
        Ring_wake(self);
}

static inline int64_t
Ring_now(Ring *self)
{
    return self->elapsed_ns == NULL ? clock_ns(CLOCK_MONOTONIC) : asked_ns(self->elapsed_ns);
}

/* === Trace === */

typedef struct {
    PyObject_HEAD
    PyObject *trace_id;
    PyObject *parent_id;
    PyObject *base_id;
    PyObject *signer;
    PyObject *attributes;
    Ring *ring;
    uint64_t parent; /* parent_id as a number, 0 for none */
    Py_ssize_t spans_max;
    Py_ssize_t spans; /* made so far, those beyond the budget included */
    int64_t wall_minus_elapsed_ns;
} Trace;

static uint64_t
number_of(const unsigned char *bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | bytes[i];
    return number;
}

static PyObject *
bytes_of(uint64_t number)
{
    unsigned char bytes[8];

    for (int i = 7; i >= 0; i--, number >>= 8)
        bytes[i] = (unsigned char)number;
    return PyBytes_FromStringAndSize((char *)bytes, 8);
}

static int
is_bytes(PyObject *value, Py_ssize_t size)
{
    return PyBytes_Check(value) && PyBytes_GET_SIZE(value) == size;
}

static PyObject *
Trace_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"trace_id", "parent_id", "base_id",   "signer",
                            "attributes", "spans_max", "ring", NULL};
    PyObject *trace_id, *parent_id = core.empty_bytes, *base_id = core.empty_text;
    PyObject *signer = Py_None, *attributes = Py_None, *ring = Py_None;
    Py_ssize_t spans_max = SPANS_PER_TRACE_MAX;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OOOnO:Trace", names, &trace_id, &parent_id,
                                     &base_id, &signer, &attributes, &spans_max, &ring))
        return NULL;
    if (!is_bytes(trace_id, 16) || !(is_bytes(parent_id, 0) || is_bytes(parent_id, 8))) {
        PyErr_SetString(PyExc_ValueError, "a trace id has 16 bytes, a parent id 8 or none");
        return NULL;
    }
    if (ring == Py_None)
        ring = core.ring;
    if (!PyObject_TypeCheck(ring, core.Ring)) {
        PyErr_SetString(PyExc_TypeError, "ring must be a Ring");
        return NULL;
    }
    Trace *self = (Trace *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->trace_id = Py_NewRef(trace_id);
    self->parent_id = Py_NewRef(parent_id);
    self->base_id = Py_NewRef(base_id);
    self->signer = Py_NewRef(signer);
    self->attributes = Py_NewRef(attributes);
    self->ring = (Ring *)Py_NewRef(ring);
    self->spans_max = spans_max;
    if (PyBytes_GET_SIZE(parent_id) == 8)
        self->parent = number_of((unsigned char *)PyBytes_AS_STRING(parent_id));
    int64_t wall = self->ring->wall_ns == NULL ? clock_ns(CLOCK_REALTIME)
                                               : asked_ns(self->ring->wall_ns);
    self->wall_minus_elapsed_ns = wall - Ring_now(self->ring);
    return (PyObject *)self;
}

static void
Trace_dealloc(Trace *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(self->trace_id);
    Py_XDECREF(self->parent_id);
    Py_XDECREF(self->base_id);
    Py_XDECREF(self->signer);
    Py_XDECREF(self->attributes);
    Py_XDECREF(self->ring);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef Trace_members[] = {
    {"trace_id", T_OBJECT, offsetof(Trace, trace_id), READONLY, NULL},
    {"parent_id", T_OBJECT, offsetof(Trace, parent_id), READONLY, NULL},
    {"base_id", T_OBJECT, offsetof(Trace, base_id), READONLY, NULL},
    {"signer", T_OBJECT, offsetof(Trace, signer), READONLY, NULL},
    {"attributes", T_OBJECT, offsetof(Trace, attributes), READONLY, NULL},
    {"spans_max", T_PYSSIZET, offsetof(Trace, spans_max), READONLY, NULL},
    {"ring", T_OBJECT, offsetof(Trace, ring), READONLY, NULL},
    {NULL},
};

static PyType_Slot Trace_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One traced request as this process sees it; see pure.py.")},
    {Py_tp_new, Trace_new},
    {Py_tp_dealloc, Trace_dealloc},
    {Py_tp_members, Trace_members},
    {0, NULL},
};

static PyType_Spec Trace_spec = {
    .name = "nilometer.trace._core.Trace",
    .basicsize = sizeof(Trace),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Trace_slots,
};

/* === Span === */

enum { SPAN_NEW, SPAN_OPEN, SPAN_DISOWNED, SPAN_ENDED };

struct Span {
    PyObject_VAR_HEAD
    Trace *trace;
    PyObject *previous; /* what was current before; NULL until started */
    PyObject *name;
    PyObject *kind;
    PyObject *names;    /* tuple: names of values[], or NULL once there is a dict */
    PyObject *mapping;  /* dict of all attributes, or NULL while they are in values[] */
    PyObject *events;   /* list of (name, elapsed_ns, dict), or NULL */
    PyObject *status;   /* NULL: unset */
    PyObject *message;  /* NULL: empty */
    uint64_t id;
    uint64_t parent; /* 0: none */
    int64_t started_ns;
    int64_t ended_ns;
    int state;
    PyObject *values[1];
};

static void
Span_dealloc(Span *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *previous = self->previous;

    Py_XDECREF(self->trace);
    Py_XDECREF(self->name);
    Py_XDECREF(self->kind);
    Py_XDECREF(self->names);
    Py_XDECREF(self->mapping);
    Py_XDECREF(self->events);
    Py_XDECREF(self->status);
    Py_XDECREF(self->message);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++)
        Py_XDECREF(self->values[i]);
    type->tp_free(self);
    Py_DECREF(type);
    /* Spans within spans within spans: let go of them in a loop, the stack is not that deep. */
    while (previous != NULL && Py_IS_TYPE(previous, core.Span) && Py_REFCNT(previous) == 1) {
        Span *outer = (Span *)previous;
        previous = outer->previous;
        outer->previous = NULL;
        Py_DECREF(outer);
    }
    Py_XDECREF(previous);
}

/* Let go of what the span was given, which may hold the span itself. */
static void
Span_forget(Span *self)
{
    Py_CLEAR(self->mapping);
    Py_CLEAR(self->events);
    Py_CLEAR(self->message);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++)
        Py_CLEAR(self->values[i]);
}

/* A span that is not started; with `count` values named by `names`. NULL without memory. */
static Span *
Span_make(Trace *trace, uint64_t parent, PyObject *name, PyObject *kind, PyObject *names,
          PyObject *const *values, Py_ssize_t count)
{
    Span *self = PyObject_NewVar(Span, core.Span, count);

    if (self == NULL)
        return NULL;
    self->trace = (Trace *)Py_NewRef(trace);
    self->previous = NULL;
    self->name = Py_NewRef(name);
    self->kind = Py_NewRef(kind);
    self->names = count ? Py_NewRef(names) : NULL;
    self->mapping = self->events = self->status = self->message = NULL;
    self->id = new_id();
    self->parent = parent;
    self->started_ns = self->ended_ns = 0;
    self->state = SPAN_NEW;
    for (Py_ssize_t i = 0; i < count; i++)
        self->values[i] = Py_NewRef(values[i]);
    return self;
}

/* Whether the trace may have one more span. */
static inline int
Trace_spend(Trace *self)
{
    if (self->spans++ < self->spans_max)
        return 1;
    Ring_count(self->ring, "spans", "budget_spans", 1);
    return 0;
}

static void
Span_begin(Span *self)
{
    if (self->state != SPAN_NEW)
        return;
    self->state = SPAN_OPEN;
    self->previous = get_current();
    set_current((PyObject *)self);
    self->started_ns = Ring_now(self->trace->ring);
}

/* All attributes as one dict, which set_attribute changes. Borrowed; NULL with an error. */
static PyObject *
Span_mapping(Span *self)
{
    if (self->mapping != NULL)
        return self->mapping;
    PyObject *mapping = PyDict_New();
    if (mapping == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        if (PyDict_SetItem(mapping, PyTuple_GET_ITEM(self->names, i), self->values[i]) < 0) {
            Py_DECREF(mapping);
            return NULL;
        }
    }
    self->mapping = mapping;
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++)
        Py_CLEAR(self->values[i]); /* only after nothing can fail any more */
    Py_CLEAR(self->names);
    return mapping;
}

/* Note the exception that leaves the span. -1 if something that is not ours is raised. */
static int
Span_fail(Span *self, PyObject *error)
{
    PyObject *told = PyObject_CallOneArg(core.described, error); /* (class, text) */

    if (told == NULL) { /* no stack left to describe it */
        if (contained() < 0)
            return -1;
        told = Py_BuildValue("(sO)", Py_TYPE(error)->tp_name, core.empty_text);
    }
    PyObject *mapping = told == NULL ? NULL : Span_mapping(self);
    if (mapping == NULL ||
        PyDict_SetItem(mapping, core.error_type_name, PyTuple_GET_ITEM(told, 0)) < 0) {
        Py_XDECREF(told);
        return contained();
    }
    Py_XSETREF(self->message, Py_NewRef(PyTuple_GET_ITEM(told, 1)));
    Py_XSETREF(self->status, Py_NewRef(core.error));
    Py_DECREF(told);
    return 0;
}

static void
Span_restore(Span *self)
{
    PyObject *current = get_current();

    if (current == (PyObject *)self) {
        PyObject *previous = self->previous;
        while (previous != NULL && Py_IS_TYPE(previous, core.Span) &&
               ((Span *)previous)->state == SPAN_ENDED)
            previous = ((Span *)previous)->previous;
        set_current(previous == NULL ? Py_None : previous);
    }
    Py_DECREF(current);
}

/* End the span; `error` may be NULL. -1 if something that is not ours is raised. No exception
 * may be set when this is called. */
static int
Span_end(Span *self, PyObject *error)
{
    int64_t now = Ring_now(self->trace->ring);
    int is_ours = self->state == SPAN_OPEN;

    if (!is_ours && self->state != SPAN_DISOWNED)
        return 0;
    if (error != NULL && !PyObject_TypeCheck(error, (PyTypeObject *)PyExc_GeneratorExit) &&
        Span_fail(self, error) < 0)
        return -1;
    self->ended_ns = now;
    self->state = SPAN_ENDED;
    Span_restore(self);
    if (is_ours)
        Ring_take(self->trace->ring, self);
    return 0;
}

static PyObject *
Span_start(Span *self, PyObject *Py_UNUSED(ignored))
{
    Span_begin(self);
    return Py_NewRef(self);
}

static PyObject *
Span_exit(Span *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *error = nargs < 2 || args[1] == Py_None ? NULL : args[1];

    if (nargs != 3) {
        PyErr_Format(PyExc_TypeError, "__exit__() takes 3 arguments, got %zd", nargs);
        return NULL;
    }
    if (Span_end(self, error) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The argument of finish(error=None), borrowed; NULL with an error set if the call is wrong. */
static PyObject *
finish_argument(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);

    if (nargs + named > 1) {
        PyErr_Format(PyExc_TypeError, "finish() takes at most 1 argument, got %zd", nargs + named);
        return NULL;
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "error")) {
        PyErr_Format(PyExc_TypeError, "finish() got an unexpected keyword argument '%U'",
                     PyTuple_GET_ITEM(kwnames, 0));
        return NULL;
    }
    return nargs + named == 1 ? args[0] : Py_None;
}

static PyObject *
Span_finish(Span *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *error = finish_argument(args, nargs, kwnames);

    if (error == NULL || Span_end(self, error == Py_None ? NULL : error) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Keep one attribute; -1 if something that is not ours is raised. */
static int
Span_keep(Span *self, PyObject *key, PyObject *value)
{
    PyObject *plain = NULL;

    if (self->state == SPAN_ENDED)
        return 0; /* it may be being read by another thread */
    if (!PyUnicode_Check(key)) {
        Ring_count(self->trace->ring, "attributes", "key_not_text", 1);
        return 0;
    }
    PyObject *mapping = Span_mapping(self);
    if (mapping == NULL)
        return contained();
    if (!PyUnicode_CheckExact(key)) {
        plain = PyUnicode_FromObject(key); /* a StrEnum becomes its text */
        if (plain == NULL)
            return contained();
        key = plain;
    }
    int status = 0;
    if (PyDict_GET_SIZE(mapping) < ATTRIBUTES_MAX || PyDict_Contains(mapping, key) > 0)
        status = PyDict_SetItem(mapping, key, value);
    else
        Ring_count(self->trace->ring, "attributes", "limit", 1);
    Py_XDECREF(plain);
    return status < 0 ? contained() : 0;
}

static PyObject *
Span_set_attribute(Span *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "set_attribute() takes 2 arguments, got %zd", nargs);
        return NULL;
    }
    if (Span_keep(self, args[0], args[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Span_set_attributes(Span *self, PyObject *attributes)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    int status = 0;
    PyObject *given = PyObject_CallOneArg((PyObject *)&PyDict_Type, attributes);

    if (given == NULL) {
        if (contained() < 0)
            return NULL;
        Ring_count(self->trace->ring, "attributes", "unreadable", 1);
        Py_RETURN_NONE;
    }
    while (status == 0 && PyDict_Next(given, &at, &key, &value))
        status = Span_keep(self, key, value);
    Py_DECREF(given);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Keep that something happened now. `attributes` is a new dict. -1 without memory. */
static int
Span_happened(Span *self, PyObject *name, PyObject *attributes)
{
    if (self->state == SPAN_ENDED)
        return 0;
    if (self->events == NULL && (self->events = PyList_New(0)) == NULL)
        return -1;
    if (PyList_GET_SIZE(self->events) >= EVENTS_MAX) {
        Ring_count(self->trace->ring, "span_events", "limit", 1);
        return 0;
    }
    PyObject *event = Py_BuildValue("(OLO)", name, (long long)Ring_now(self->trace->ring),
                                    attributes);
    int status = event == NULL ? -1 : PyList_Append(self->events, event);
    Py_XDECREF(event);
    return status;
}

/* The keyword arguments of a vectorcall as a dict. */
static PyObject *
keywords(PyObject *const *values, PyObject *names)
{
    Py_ssize_t count = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    PyObject *mapping = PyDict_New();

    for (Py_ssize_t i = 0; mapping != NULL && i < count; i++)
        if (PyDict_SetItem(mapping, PyTuple_GET_ITEM(names, i), values[i]) < 0)
            Py_CLEAR(mapping);
    return mapping;
}

static int
one_name(const char *function, Py_ssize_t nargs)
{
    if (nargs == 1)
        return 0;
    if (nargs == 0)
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: 'name'",
                     function);
    else
        PyErr_Format(PyExc_TypeError, "%s() takes 1 positional argument but %zd were given",
                     function, nargs);
    return -1;
}

static PyObject *
Span_add_event(Span *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (one_name("add_event", nargs) < 0)
        return NULL;
    PyObject *attributes = keywords(args + nargs, kwnames);
    if (attributes == NULL || Span_happened(self, args[0], attributes) < 0)
        PyErr_Clear();
    Py_XDECREF(attributes);
    Py_RETURN_NONE;
}

static PyObject *
Span_record_exception(Span *self, PyObject *error)
{
    PyObject *told = PyObject_CallOneArg(core.described, error);
    PyObject *attributes = told == NULL ? NULL : PyDict_New();

    if (attributes == NULL ||
        PyDict_SetItem(attributes, core.exception_type_name, PyTuple_GET_ITEM(told, 0)) < 0 ||
        PyDict_SetItem(attributes, core.exception_message_name, PyTuple_GET_ITEM(told, 1)) < 0 ||
        Span_happened(self, core.exception_name, attributes) < 0) {
        Py_XDECREF(told);
        Py_XDECREF(attributes);
        if (contained() < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    Py_DECREF(told);
    Py_DECREF(attributes);
    Py_RETURN_NONE;
}

static PyObject *
Span_set_status(Span *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"status", "message", NULL};
    PyObject *status, *message = core.empty_text;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:set_status", names, &status, &message))
        return NULL;
    if (self->state == SPAN_ENDED)
        Py_RETURN_NONE;
    PyObject *known = PyObject_CallOneArg(core.status_class, status);
    if (known == NULL) {
        if (contained() < 0)
            return NULL;
        Ring_count(self->trace->ring, "attributes", "status_unknown", 1);
        Py_RETURN_NONE;
    }
    Py_XSETREF(self->status, known);
    Py_XSETREF(self->message, Py_NewRef(message));
    Py_RETURN_NONE;
}

static PyObject *
Span_disown(Span *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *inner = (PyObject *)self;

    while (inner != NULL && Py_IS_TYPE(inner, core.Span)) {
        Span *span = (Span *)inner;
        if (span->state == SPAN_OPEN)
            span->state = SPAN_DISOWNED;
        inner = span->previous;
    }
    Py_RETURN_NONE;
}

/* === Finished spans as values === */

/* Whether an attribute is taken as it is; anything else goes through limits.bounded. */
static int
is_plain(PyObject *value)
{
    if (PyUnicode_CheckExact(value))
        return PyUnicode_IS_READY(value) && PyUnicode_IS_ASCII(value) &&
               PyUnicode_GET_LENGTH(value) <= TEXT_CHARS_MAX;
    if (PyLong_CheckExact(value)) {
        int overflow;
        PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow == 0;
    }
    return PyFloat_CheckExact(value) || PyBool_Check(value);
}

/* Text as a name: itself if plain and short. New reference. */
static PyObject *
named(PyObject *name)
{
    if (PyUnicode_CheckExact(name) && is_plain(name) &&
        PyUnicode_GET_LENGTH(name) <= NAME_CHARS_MAX)
        return Py_NewRef(name);
    return PyObject_CallOneArg(core.name_of, name);
}

static int
keep(PyObject *kept, PyObject *key, PyObject *value)
{
    PyObject *name = named(key);
    PyObject *plain = name == NULL       ? NULL
                      : is_plain(value) ? Py_NewRef(value)
                                        : PyObject_CallOneArg(core.bounded, value);
    int status = plain == NULL ? -1 : PyDict_SetItem(kept, name, plain);

    Py_XDECREF(name);
    Py_XDECREF(plain);
    return status;
}

/* The attributes of a dict that are kept; adds to *excess how many are not. */
static PyObject *
kept_of(PyObject *mapping, Py_ssize_t *excess)
{
    PyObject *kept = PyDict_New();
    PyObject *given = kept == NULL ? NULL : PyDict_Copy(mapping); /* repr may change it */
    PyObject *key, *value;
    Py_ssize_t at = 0, count = 0;

    if (given == NULL)
        goto failed;
    while (PyDict_Next(given, &at, &key, &value)) {
        if (++count > ATTRIBUTES_MAX)
            ++*excess;
        else if (keep(kept, key, value) < 0)
            goto failed;
    }
    Py_DECREF(given);
    return kept;
failed:
    Py_XDECREF(given);
    Py_XDECREF(kept);
    return NULL;
}

static PyObject *
Span_attributes(Span *self, Py_ssize_t *excess)
{
    if (self->mapping != NULL)
        return kept_of(self->mapping, excess);
    PyObject *kept = PyDict_New();
    Py_ssize_t count = Py_SIZE(self);
    if (count > ATTRIBUTES_MAX) {
        *excess += count - ATTRIBUTES_MAX;
        count = ATTRIBUTES_MAX;
    }
    for (Py_ssize_t i = 0; kept != NULL && i < count; i++)
        if (keep(kept, PyTuple_GET_ITEM(self->names, i), self->values[i]) < 0)
            Py_CLEAR(kept);
    return kept;
}

static PyObject *
Span_events(Span *self, Py_ssize_t *excess)
{
    if (self->events == NULL)
        return Py_NewRef(core.empty_tuple);
    PyObject *id = bytes_of(self->id);
    Py_ssize_t count = PyList_GET_SIZE(self->events);
    PyObject *events = id == NULL ? NULL : PyTuple_New(count);
    for (Py_ssize_t i = 0; events != NULL && i < count; i++) {
        PyObject *given = PyList_GET_ITEM(self->events, i);
        int64_t at = PyLong_AsLongLong(PyTuple_GET_ITEM(given, 1));
        PyObject *name = named(PyTuple_GET_ITEM(given, 0));
        PyObject *kept = name == NULL ? NULL : kept_of(PyTuple_GET_ITEM(given, 2), excess);
        PyObject *event = kept == NULL
                              ? NULL
                              : PyObject_CallFunction(
                                    core.event_class, "OLOOO", name,
                                    (long long)(self->trace->wall_minus_elapsed_ns + at), kept,
                                    self->trace->trace_id, id);
        Py_XDECREF(name);
        Py_XDECREF(kept);
        if (event == NULL)
            Py_CLEAR(events);
        else
            PyTuple_SET_ITEM(events, i, event);
    }
    Py_XDECREF(id);
    return events;
}

/* One field of the record, in the order of SpanRecord; a new reference. */
static PyObject *
Span_field(Span *self, int field, Py_ssize_t *excess)
{
    Trace *trace = self->trace;

    switch (field) {
    case 0:
        return Py_NewRef(trace->trace_id);
    case 1:
        return bytes_of(self->id);
    case 2:
        return self->parent ? bytes_of(self->parent) : Py_NewRef(core.empty_bytes);
    case 3:
        return named(self->name);
    case 4:
        return Py_NewRef(self->kind);
    case 5:
        return PyLong_FromLongLong(trace->wall_minus_elapsed_ns + self->started_ns);
    case 6:
        return PyLong_FromLongLong(trace->wall_minus_elapsed_ns + self->ended_ns);
    case 7:
        return Span_attributes(self, excess);
    case 8:
        return Py_NewRef(self->status == NULL ? core.unset : self->status);
    case 9:
        return self->message == NULL ? Py_NewRef(core.empty_text)
                                     : PyObject_CallOneArg(core.message_of, self->message);
    case 10:
        return Span_events(self, excess);
    case 11:
        return Py_NewRef(core.empty_tuple);
    default:
        return Py_NewRef(core.empty_text);
    }
}

static PyObject *
Span_record(Span *self, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t excess = 0;
    PyObject *record = core.record_type->tp_alloc(core.record_type, RECORD_FIELDS);

    for (int i = 0; record != NULL && i < RECORD_FIELDS; i++) {
        PyObject *field = Span_field(self, i, &excess);
        if (field == NULL)
            Py_CLEAR(record);
        else
            PyTuple_SET_ITEM(record, i, field);
    }
    if (record != NULL && excess)
        Ring_count(self->trace->ring, "attributes", "limit", excess);
    return record;
}

static PyObject *
Span_get_trace(Span *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->trace);
}

static PyObject *
hex_of(PyObject *bytes)
{
    static const char digits[] = "0123456789abcdef";
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    const unsigned char *from = (const unsigned char *)PyBytes_AS_STRING(bytes);
    PyObject *text = PyUnicode_New(2 * size, 127);

    if (text == NULL)
        return NULL;
    Py_UCS1 *to = PyUnicode_1BYTE_DATA(text);
    for (Py_ssize_t i = 0; i < size; i++) {
        *to++ = (Py_UCS1)digits[from[i] >> 4];
        *to++ = (Py_UCS1)digits[from[i] & 15];
    }
    return text;
}

static PyObject *
Span_get_trace_id(Span *self, void *Py_UNUSED(closure))
{
    return hex_of(self->trace->trace_id);
}

static PyObject *
Span_get_span_id(Span *self, void *Py_UNUSED(closure))
{
    PyObject *bytes = bytes_of(self->id);
    PyObject *text = bytes == NULL ? NULL : hex_of(bytes);

    Py_XDECREF(bytes);
    return text;
}

static PyObject *
get_true(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_TRUE;
}

static PyMethodDef Span_methods[] = {
    {"__enter__", (PyCFunction)Span_start, METH_NOARGS, NULL},
    {"start", (PyCFunction)Span_start, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))Span_exit, METH_FASTCALL, NULL},
    {"finish", (PyCFunction)(void (*)(void))Span_finish, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("End the span: an ERROR if by an exception, other than closing a generator.")},
    {"set_attribute", (PyCFunction)(void (*)(void))Span_set_attribute, METH_FASTCALL,
     PyDoc_STR("Keep a value under a name. The value is not looked at before the span is "
               "drained.")},
    {"set_attributes", (PyCFunction)Span_set_attributes, METH_O,
     PyDoc_STR("Keep several values.")},
    {"add_event", (PyCFunction)(void (*)(void))Span_add_event, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("Keep that something happened now.")},
    {"record_exception", (PyCFunction)Span_record_exception, METH_O,
     PyDoc_STR("Keep an exception that was dealt with; the span's status stays what it is.")},
    {"set_status", (PyCFunction)(void (*)(void))Span_set_status, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Say how it ended. An exception that leaves the span has the last word.")},
    {"record", (PyCFunction)Span_record, METH_NOARGS,
     PyDoc_STR("The finished span as a value; text is made here, not where the span ended.")},
    {"disown", (PyCFunction)Span_disown, METH_NOARGS,
     PyDoc_STR("In a fork's child: the parent process records this span and what it lies in.")},
    {NULL},
};

static PyMemberDef Span_members[] = {
    {"name", T_OBJECT, offsetof(Span, name), 0, NULL},
    {"kind", T_OBJECT, offsetof(Span, kind), 0, NULL},
    {NULL},
};

static PyGetSetDef Span_getset[] = {
    {"trace", (getter)Span_get_trace, NULL,
     PyDoc_STR("The request this span belongs to."), NULL},
    {"trace_id", (getter)Span_get_trace_id, NULL, PyDoc_STR("32 hexadecimal digits."), NULL},
    {"span_id", (getter)Span_get_span_id, NULL, PyDoc_STR("16 hexadecimal digits."), NULL},
    {"recording", get_true, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot Span_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A timed piece of a traced request; see pure.py.")},
    {Py_tp_dealloc, Span_dealloc},
    {Py_tp_methods, Span_methods},
    {Py_tp_members, Span_members},
    {Py_tp_getset, Span_getset},
    {0, NULL},
};

static PyType_Spec Span_spec = {
    .name = "nilometer.trace._core.Span",
    .basicsize = offsetof(Span, values),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Span_slots,
};

/* === Methods of Ring === */

static void
Ring_empty(Ring *self)
{
    Span **items = self->items;
    Py_ssize_t length = self->length;

    self->items = NULL;
    self->length = 0;
    for (Py_ssize_t i = 0; i < length; i++)
        Py_DECREF(items[i]);
    PyMem_Free(items);
}

static int
Ring_reset(Ring *self)
{
    PyObject *lost = PyDict_New();

    if (lost == NULL)
        return -1;
    Py_XSETREF(self->lost, lost);
    self->woken = 0;
    Ring_empty(self);
    return 0;
}

static PyObject *
Ring_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"capacity", "clock", NULL};
    Py_ssize_t capacity = SPANS_RING_MAX;
    PyObject *clock = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n$O:Ring", names, &capacity, &clock))
        return NULL;
    if (capacity < 1) {
        PyErr_Format(PyExc_ValueError, "capacity must be at least 1, got %zd", capacity);
        return NULL;
    }
    Ring *self = (Ring *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->capacity = capacity;
    if (clock == Py_None) {
        self->clock = PyObject_CallNoArgs(core.clock_class);
    }
    else {
        self->clock = Py_NewRef(clock);
        self->elapsed_ns = PyObject_GetAttrString(clock, "elapsed_ns");
        self->wall_ns = PyObject_GetAttrString(clock, "wall_ns");
        if (self->elapsed_ns == NULL || self->wall_ns == NULL) {
            Py_DECREF(self);
            return NULL;
        }
    }
    if (self->clock == NULL || Ring_reset(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
Ring_traverse(Ring *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->clock);
    Py_VISIT(self->elapsed_ns);
    Py_VISIT(self->wall_ns);
    Py_VISIT(self->on_half_full);
    Py_VISIT(self->lost);
    return 0;
}

static int
Ring_clear(Ring *self)
{
    Py_CLEAR(self->on_half_full);
    return 0;
}

static void
Ring_dealloc(Ring *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Ring_empty(self);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->elapsed_ns);
    Py_CLEAR(self->wall_ns);
    Py_CLEAR(self->on_half_full);
    Py_CLEAR(self->lost);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Ring_reset_after_fork(Ring *self, PyObject *Py_UNUSED(ignored))
{
    if (Ring_reset(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Ring_lose_method(Ring *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"what", "reason", "number", NULL};
    PyObject *what, *reason;
    Py_ssize_t number = 1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UU|n:lose", names, &what, &reason, &number))
        return NULL;
    PyObject *key = PyTuple_Pack(2, what, reason);
    int status = key == NULL ? -1 : Ring_lose(self, key, number);
    Py_XDECREF(key);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Ring_take_losses(Ring *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *fresh = PyDict_New();

    if (fresh == NULL)
        return NULL;
    PyObject *lost = self->lost;
    self->lost = fresh;
    return lost;
}

static PyObject *
Ring_put(Ring *self, PyObject *finished)
{
    if (!Py_IS_TYPE(finished, core.Span)) {
        PyErr_Format(PyExc_TypeError, "a ring takes spans, not %s", Py_TYPE(finished)->tp_name);
        return NULL;
    }
    Ring_take(self, (Span *)finished);
    Py_RETURN_NONE;
}

static PyObject *
Ring_drain(Ring *self, PyObject *Py_UNUSED(ignored))
{
    Span **items = self->items;
    Py_ssize_t length = self->length, kept = 0;
    PyObject *records = PyList_New(0);

    if (records == NULL)
        return NULL;
    self->items = NULL; /* what ends while we are at work goes to the next drain */
    self->length = 0;
    self->woken = 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *record = PyErr_Occurred() ? NULL : Span_record(items[i], NULL);
        if (!PyErr_Occurred())
            Span_forget(items[i]);
        Py_DECREF(items[i]);
        if (record != NULL && PyList_Append(records, record) == 0)
            kept++;
        else if (!PyErr_Occurred() || contained() == 0)
            Ring_count(self, "spans", "unreadable", 1);
        Py_XDECREF(record);
    }
    PyMem_Free(items);
    if (PyErr_Occurred()) { /* an interrupt: what was read must not be lost in silence */
        PyObject *interrupt = taken_error();
        Ring_count(self, "spans", "interrupted", length - kept);
        raise_again(interrupt);
        Py_DECREF(records);
        return NULL;
    }
    PyObject *drained = PyList_AsTuple(records);
    Py_DECREF(records);
    return drained;
}

static Py_ssize_t
Ring_length(Ring *self)
{
    return self->length;
}

static PyMethodDef Ring_methods[] = {
    {"reset_after_fork", (PyCFunction)Ring_reset_after_fork, METH_NOARGS,
     PyDoc_STR("Forget everything: what the parent recorded, the parent sends.")},
    {"lose", (PyCFunction)(void (*)(void))Ring_lose_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Count a loss, to be told by `take_losses`.")},
    {"take_losses", (PyCFunction)Ring_take_losses, METH_NOARGS,
     PyDoc_STR("What was lost since the last time, by (what, reason).")},
    {"put", (PyCFunction)Ring_put, METH_O,
     PyDoc_STR("Take a finished span, or count it as lost when there is no room.")},
    {"drain", (PyCFunction)Ring_drain, METH_NOARGS,
     PyDoc_STR("Take out all finished spans, oldest first. Spans that cannot be read are "
               "counted.")},
    {NULL},
};

static PyMemberDef Ring_members[] = {
    {"capacity", T_PYSSIZET, offsetof(Ring, capacity), READONLY, NULL},
    {"clock", T_OBJECT, offsetof(Ring, clock), READONLY, NULL},
    {"on_half_full", T_OBJECT, offsetof(Ring, on_half_full), 0, NULL},
    {NULL},
};

static PyType_Slot Ring_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Finished spans until the pump takes them; see ring_pure.py.")},
    {Py_tp_new, Ring_new},
    {Py_tp_dealloc, Ring_dealloc},
    {Py_tp_traverse, Ring_traverse},
    {Py_tp_clear, Ring_clear},
    {Py_tp_methods, Ring_methods},
    {Py_tp_members, Ring_members},
    {Py_sq_length, Ring_length},
    {0, NULL},
};

static PyType_Spec Ring_spec = {
    .name = "nilometer.trace._core.Ring",
    .basicsize = sizeof(Ring),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Ring_slots,
};

/* === Untraced === */

static PyObject *
Untraced_self(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self);
}

static PyObject *
Untraced_exit(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(args),
              Py_ssize_t Py_UNUSED(nargs))
{
    Py_RETURN_NONE;
}

static PyObject *
Untraced_finish(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    if (finish_argument(args, nargs, kwnames) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Untraced_set_attribute(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(args),
                       Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "set_attribute() takes 2 arguments, got %zd", nargs);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Untraced_one(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(argument))
{
    Py_RETURN_NONE;
}

static PyObject *
Untraced_add_event(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(args), Py_ssize_t nargs,
                   PyObject *Py_UNUSED(kwnames))
{
    if (one_name("add_event", nargs) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Untraced_set_status(PyObject *Py_UNUSED(self), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"status", "message", NULL};
    PyObject *status, *message;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:set_status", names, &status, &message))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
get_false(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

static PyObject *
get_empty(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef(core.empty_text);
}

#define NOTHING PyDoc_STR("Nothing is recorded.")

static PyMethodDef Untraced_methods[] = {
    {"__enter__", Untraced_self, METH_NOARGS, NULL},
    {"start", Untraced_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))Untraced_exit, METH_FASTCALL, NULL},
    {"finish", (PyCFunction)(void (*)(void))Untraced_finish, METH_FASTCALL | METH_KEYWORDS,
     NOTHING},
    {"set_attribute", (PyCFunction)(void (*)(void))Untraced_set_attribute, METH_FASTCALL, NOTHING},
    {"set_attributes", Untraced_one, METH_O, NOTHING},
    {"add_event", (PyCFunction)(void (*)(void))Untraced_add_event, METH_FASTCALL | METH_KEYWORDS,
     NOTHING},
    {"record_exception", Untraced_one, METH_O, NOTHING},
    {"set_status", (PyCFunction)(void (*)(void))Untraced_set_status, METH_VARARGS | METH_KEYWORDS,
     NOTHING},
    {NULL},
};

static PyGetSetDef Untraced_getset[] = {
    {"trace_id", get_empty, NULL, NULL, NULL},
    {"span_id", get_empty, NULL, NULL, NULL},
    {"recording", get_false, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot Untraced_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What `span` answers outside a traced request; see pure.py.")},
    {Py_tp_methods, Untraced_methods},
    {Py_tp_getset, Untraced_getset},
    {0, NULL},
};

static PyType_Spec Untraced_spec = {
    .name = "nilometer.trace._core.Untraced",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Untraced_slots,
};

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

/* What a step gave, as an iterator tells it: a value, or StopIteration with the result. */
static PyObject *
told_as_iterator(PySendResult status, PyObject *result)
{
    if (status == PYGEN_NEXT)
        return result;
    if (status == PYGEN_RETURN) {
        /* Made here: PyErr_SetObject would take a tuple for the arguments. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop != NULL)
            PyErr_SetObject(PyExc_StopIteration, stop);
        Py_XDECREF(stop);
        Py_DECREF(result);
    }
    return NULL;
}

static PyObject *
Awaited_send(Awaited *self, PyObject *argument)
{
    PyObject *result = NULL;
    PySendResult status = Awaited_am_send(self, argument, &result);

    return told_as_iterator(status, result);
}

static PyObject *
Awaited_next(Awaited *self)
{
    return Awaited_send(self, Py_None);
}

static PyObject *
Awaited_throw(Awaited *self, PyObject *args)
{
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
    PyObject *value = PyObject_GenericGetAttr((PyObject *)self, name);

    if (value != NULL || self->coroutine == NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(self->coroutine, name);
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
    if (!Py_IS_TYPE(current, core.Span))
        return NULL;
    Span *outer = (Span *)current;
    if (!Trace_spend(outer->trace))
        return NULL;
    Span *span = Span_make(outer->trace, outer->id, self->name, core.internal, self->names,
                           &PyTuple_GET_ITEM(self->values, 0), PyTuple_GET_SIZE(self->values));
    if (span == NULL)
        PyErr_Clear(); /* no memory: untraced */
    return span;
}

static PyObject *
Traced_call_function(Traced *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
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

static PyObject *
Traced_call_steps(Traced *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *made = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    PyObject *current = made == NULL ? NULL : get_current();

    if (current == NULL || !Py_IS_TYPE(current, core.Span)) {
        Py_XDECREF(current);
        return made;
    }
    Span *span = Traced_span(self, current);
    Py_DECREF(current);
    PyObject *driven;
    if (self->driver == core.awaited) {
        driven = Awaited_make(made, span);
    }
    else {
        PyObject *pair[2] = {made, span == NULL ? core.untraced : (PyObject *)span};
        driven = PyObject_Vectorcall(self->driver, pair, 2, NULL);
    }
    Py_XDECREF(span);
    Py_DECREF(made);
    return driven;
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
    PyObject *value = PyObject_GenericGetAttr((PyObject *)self, name);

    if (value != NULL || self->function == NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(self->function, name);
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

/* === Functions === */

static PyObject *
core_span(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (one_name("span", nargs) < 0)
        return NULL;
    PyObject *current = get_current();
    Span *outer = (Span *)current, *span = NULL;
    if (Py_IS_TYPE(current, core.Span) && Trace_spend(outer->trace)) {
        span = Span_make(outer->trace, outer->id, args[0], core.internal, kwnames, args + 1,
                         kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
        if (span == NULL)
            PyErr_Clear(); /* no memory: untraced */
    }
    Py_DECREF(current);
    return span == NULL ? Py_NewRef(core.untraced) : (PyObject *)span;
}

static PyObject *
core_start_root(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "kind", "request", NULL};
    PyObject *name, *kind = core.server, *request = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OO:start_root", names, &name, &kind,
                                     &request))
        return NULL;
    if (request == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "start_root() missing 1 required keyword-only argument: 'request'");
        return NULL;
    }
    if (!PyObject_TypeCheck(request, core.Trace))
        return Py_NewRef(request);
    Trace *trace = (Trace *)request;
    if (!Trace_spend(trace))
        return Py_NewRef(core.untraced);
    Span *span = Span_make(trace, trace->parent, name, kind, NULL, NULL, 0);
    if (span == NULL)
        return NULL;
    if (trace->attributes != Py_None) {
        PyObject *none = Span_set_attributes(span, trace->attributes);
        if (none == NULL) {
            Py_DECREF(span);
            return NULL;
        }
        Py_DECREF(none);
    }
    return (PyObject *)span;
}

static PyObject *
core_current_span(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *current = get_current();

    if (current != Py_None)
        return current;
    Py_DECREF(current);
    return Py_NewRef(core.untraced);
}

static PyObject *
core_current_trace_id(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *current = get_current();

    if (current == Py_None)
        return current;
    PyObject *id = Py_IS_TYPE(current, core.Span) ? hex_of(((Span *)current)->trace->trace_id)
                                                  : PyObject_GetAttr(current, core.str_trace_id);
    Py_DECREF(current);
    return id;
}

static PyObject *
core_new_id(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLongLong(new_id());
}

static PyObject *
core_reseed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *seed = PyObject_CallFunction(core.urandom, "n", (Py_ssize_t)sizeof(core.random));

    if (seed == NULL)
        return NULL;
    if (!is_bytes(seed, sizeof(core.random))) {
        Py_DECREF(seed);
        PyErr_SetString(PyExc_SystemError, "os.urandom did not give 32 bytes");
        return NULL;
    }
    memcpy(core.random, PyBytes_AS_STRING(seed), sizeof(core.random));
    core.random[0] |= 1; /* the generator stays at zero if all of it is zero */
    Py_DECREF(seed);
    Py_RETURN_NONE;
}

static PyObject *
core_wrapped(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "name", "attributes", "driver", NULL};
    PyObject *function, *name, *attributes, *driver = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO!|O:wrapped", names, &function, &name,
                                     &PyDict_Type, &attributes, &driver))
        return NULL;
    Traced *self = (Traced *)core.Traced->tp_alloc(core.Traced, 0);
    if (self == NULL)
        return NULL;
    PyObject *keys = PyDict_Keys(attributes), *values = PyDict_Values(attributes);
    self->names = keys == NULL ? NULL : PyList_AsTuple(keys);
    self->values = values == NULL ? NULL : PyList_AsTuple(values);
    Py_XDECREF(keys);
    Py_XDECREF(values);
    self->function = Py_NewRef(function);
    self->name = Py_NewRef(name);
    self->driver = driver == Py_None ? NULL : Py_NewRef(driver);
    self->vectorcall = (vectorcallfunc)(driver == Py_None ? (void (*)(void))Traced_call_function
                                                          : (void (*)(void))Traced_call_steps);
    if (self->names == NULL || self->values == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef core_functions[] = {
    {"span", (PyCFunction)(void (*)(void))core_span, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("A span for a ``with`` statement; outside a traced request one that does "
               "nothing.")},
    {"start_root", (PyCFunction)(void (*)(void))core_start_root, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("The first span of a request in this process, not yet started; a `Joined` comes "
               "back.")},
    {"current_span", core_current_span, METH_NOARGS,
     PyDoc_STR("The span we are in, or one that does nothing.")},
    {"current_trace_id", core_current_trace_id, METH_NOARGS,
     PyDoc_STR("The id of the request we are in, 32 hexadecimal digits; None outside any.")},
    {"new_id", core_new_id, METH_NOARGS,
     PyDoc_STR("A random number of 64 bits, never 0. Unique, not secret.")},
    {"reseed", core_reseed, METH_NOARGS,
     PyDoc_STR("Seed the generator of ids by the kernel; done at import and in every fork's "
               "child.")},
    {"wrapped", (PyCFunction)(void (*)(void))core_wrapped, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("The function with a span around each run of its body; `driver` if it runs in "
               "steps.")},
    {NULL},
};

/* === Module === */

static PyObject *
imported(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module);
    PyObject *value = from == NULL ? NULL : PyObject_GetAttrString(from, name);

    Py_XDECREF(from);
    return value;
}

/* A limit here must be the one that limits.py explains. */
static int
check_limit(const char *name, long expected)
{
    PyObject *value = imported("nilometer.trace.limits", name);
    long actual = value == NULL ? -1 : PyLong_AsLong(value);

    Py_XDECREF(value);
    if (PyErr_Occurred())
        return -1;
    if (actual != expected) {
        PyErr_Format(PyExc_ImportError, "nilometer.trace.limits.%s is %ld, the C twin's %ld", name,
                     actual, expected);
        return -1;
    }
    return 0;
}

static int
check_record(void)
{
    PyObject *fields = PyObject_GetAttrString((PyObject *)core.record_type, "_fields");
    Py_ssize_t count = fields == NULL ? -1 : PyObject_Length(fields);

    Py_XDECREF(fields);
    if (count != RECORD_FIELDS) {
        PyErr_Format(PyExc_ImportError, "a SpanRecord has %zd fields, the C twin's %d", count,
                     RECORD_FIELDS);
        return -1;
    }
    return 0;
}

static int
import_specification(void)
{
    PyObject *kinds = NULL, *record = NULL;

    if (!(core.current = imported("nilometer.trace.current", "CURRENT")) ||
        !(core.bounded = imported("nilometer.trace.limits", "bounded")) ||
        !(core.name_of = imported("nilometer.trace.limits", "name_of")) ||
        !(core.message_of = imported("nilometer.trace.limits", "message_of")) ||
        !(core.described = imported("nilometer.trace.limits", "described")) ||
        !(core.awaited = imported("nilometer.trace.steps", "awaited")) ||
        !(core.urandom = imported("os", "urandom")) ||
        !(core.clock_class = imported("nilometer.clock", "Clock")) ||
        !(core.event_class = imported("nilometer.model.event", "Event")) ||
        !(core.status_class = imported("nilometer.model.span", "Status")) ||
        !(core.unset = PyObject_GetAttrString(core.status_class, "UNSET")) ||
        !(core.error = PyObject_GetAttrString(core.status_class, "ERROR")) ||
        !(kinds = imported("nilometer.model.span", "SpanKind")) ||
        !(core.internal = PyObject_GetAttrString(kinds, "INTERNAL")) ||
        !(core.server = PyObject_GetAttrString(kinds, "SERVER")) ||
        !(record = imported("nilometer.model.span", "SpanRecord"))) {
        Py_XDECREF(kinds);
        return -1;
    }
    Py_DECREF(kinds);
    core.record_type = (PyTypeObject *)record;
    if (check_limit("TEXT_CHARS_MAX", TEXT_CHARS_MAX) < 0 ||
        check_limit("NAME_CHARS_MAX", NAME_CHARS_MAX) < 0 ||
        check_limit("ATTRIBUTES_MAX", ATTRIBUTES_MAX) < 0 ||
        check_limit("EVENTS_MAX", EVENTS_MAX) < 0 ||
        check_limit("SPANS_RING_MAX", SPANS_RING_MAX) < 0 ||
        check_limit("SPANS_PER_TRACE_MAX", SPANS_PER_TRACE_MAX) < 0)
        return -1;
    return check_record();
}

static int
make_constants(void)
{
    if (!(core.error_type_name = PyUnicode_InternFromString("error.type")) ||
        !(core.exception_name = PyUnicode_InternFromString("exception")) ||
        !(core.exception_type_name = PyUnicode_InternFromString("exception.type")) ||
        !(core.exception_message_name = PyUnicode_InternFromString("exception.message")) ||
        !(core.str_throw = PyUnicode_InternFromString("throw")) ||
        !(core.str_close = PyUnicode_InternFromString("close")) ||
        !(core.str_trace_id = PyUnicode_InternFromString("trace_id")) ||
        !(core.str_qualname = PyUnicode_InternFromString("__qualname__")) ||
        !(core.empty_text = PyUnicode_FromString("")) ||
        !(core.empty_bytes = PyBytes_FromString("")) || !(core.empty_tuple = PyTuple_New(0)))
        return -1;
    return 0;
}

static int
make_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int
core_exec(PyObject *module)
{
    if (core.loaded) {
        PyErr_SetString(PyExc_ImportError, "the C twin serves one interpreter per process");
        return -1;
    }
    if (import_specification() < 0 || make_constants() < 0 ||
        make_type(module, &Ring_spec, &core.Ring) < 0 ||
        make_type(module, &Trace_spec, &core.Trace) < 0 ||
        make_type(module, &Span_spec, &core.Span) < 0 ||
        make_type(module, &Untraced_spec, &core.Untraced) < 0 ||
        make_type(module, &Awaited_spec, &core.Awaited) < 0 ||
        make_type(module, &Traced_spec, &core.Traced) < 0)
        return -1;
    PyObject *seeded = core_reseed(NULL, NULL);
    Py_XDECREF(seeded);
    if (seeded == NULL ||
        !(core.untraced = core.Untraced->tp_alloc(core.Untraced, 0)) ||
        !(core.ring = PyObject_CallNoArgs((PyObject *)core.Ring)) ||
        PyModule_AddObjectRef(module, "UNTRACED", core.untraced) < 0 ||
        PyModule_AddObjectRef(module, "RING", core.ring) < 0)
        return -1;
    core.loaded = 1;
    return 0;
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.trace._core",
    .m_doc = PyDoc_STR("The C twin of nilometer.trace.pure."),
    .m_methods = core_functions,
    .m_slots = core_slots,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
