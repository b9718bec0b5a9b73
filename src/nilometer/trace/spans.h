/* Traces and their spans, from making to ending: the C twin of pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_SPANS_H
#define NILOMETER_TRACE_SPANS_H

#include "native.h"
#include <structmember.h>

#define TEXT_CHARS_MAX 4096 /* limits.py's; compared when the module is loaded */
#define NAME_CHARS_MAX 256
#define ATTRIBUTES_MAX 64
#define EVENTS_MAX 32
#define SPANS_RING_MAX 16384
#define SPANS_PER_TRACE_MAX 2000
#define SPAN_BYTES 256
#define ATTRIBUTE_BYTES 96
#define EVENT_BYTES 352
#define RECORD_FIELDS 13
#define TRACE_NAMES 7
#define ROOT_NAMES 3

typedef struct {
    PyObject *current;  /* the context variable */
    PyObject *held, *held_name, *held_attributes; /* what held.py makes of things */
    PyObject *bounded, *name_of, *message_of, *described, *urandom, *awaited, *perf_counter_ns;
    PyObject *clock_class, *clock;
    PyTypeObject *record_type;
    PyObject *event_class, *status_class;
    PyObject *internal, *server, *unset, *error; /* members of SpanKind and Status */
    PyObject *error_type_name, *exception_name, *exception_type_name, *exception_message_name;
    PyObject *empty_text, *empty_bytes, *empty_tuple;
    PyObject *untraced, *ring;
    PyObject *str_throw, *str_close, *str_trace_id, *str_qualname, *no_trace_id;
    PyObject *str_factory, *str_record, *str_init;
    PyObject *str_headers, *str_onward, *str_wall_ns, *str_mac_sha256, *str_traceparent;
    PyObject *time_ns, *str_tracestate, *osprofiler_keyword; /* a tuple of one name */
    PyObject *str_mac_sha1, *str_info, *str_hmac;
    PyTypeObject *Span, *Trace, *Ring, *Untraced, *Traced, *Awaited, *Budget, *Key;
    PyTypeObject *Identified, *Nonces;
    PyObject *trace_names[TRACE_NAMES]; /* of Trace's arguments, interned */
    PyObject *root_names[ROOT_NAMES];   /* of start_root's keywords */
    uint64_t random[4];
    int loaded;
} Core;

static Core core;

/* === Clock, ids, the current span === */

/* time.time_ns() without the call. */
static int64_t
wall_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
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

/* === Ring === */

typedef struct Span Span;

#define ANY_BYTES PY_SSIZE_T_MAX /* held.py's: nobody counts them */

typedef struct Ring {
    PyObject_HEAD
    Span **items; /* owned references, `length` of them; NULL until the first one */
    Py_ssize_t length;
    Py_ssize_t capacity; /* 0 once it is closed */
    struct Ring *onward; /* where all goes that comes after that, or NULL */
    PyObject *clock;      /* a Clock */
    PyObject *elapsed_ns; /* its function, or NULL: ask the kernel */
    PyObject *wall_ns;
    PyObject *on_half_full;
    PyObject *lost; /* dict: (what, reason) -> number */
    Py_ssize_t bytes_left; /* for what is set on spans that end in it, or ANY_BYTES */
    int woken;
} Ring;

static int
Ring_lose(Ring *self, PyObject *key, Py_ssize_t number)
{
    if (self->onward != NULL)
        return Ring_lose(self->onward, key, number);
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

static void Ring_take(Ring *self, Span *finished);

static void
Ring_refuse(Ring *self, Span *finished)
{
    if (self->onward != NULL) {
        Ring_take(self->onward, finished);
        return;
    }
    if (self->capacity)
        Ring_count(self, "spans", "ring_full", 1);
    Span_forget(finished);
}

static void
Ring_take(Ring *self, Span *finished)
{
    if (self->items == NULL && self->capacity)
        self->items = PyMem_New(Span *, self->capacity); /* not zeroed: 131 kB take 5 us */
    if (self->items == NULL || self->length >= self->capacity) {
        Ring_refuse(self, finished);
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
    return self->elapsed_ns == NULL ? nilo_now_ns() : asked_ns(self->elapsed_ns);
}

/* === Trace === */

typedef struct {
    PyObject_HEAD
    PyObject *trace_id;
    PyObject *hex; /* its text, made when it is asked for, as each line of a log does; or NULL */
    PyObject *parent_id;
    PyObject *base_id;
    PyObject *signer;
    PyObject *attributes;
    PyObject *more; /* asked whether there may be more than spans_max; NULL or None: no */
    Ring *ring;
    uint64_t parent; /* parent_id as a number, 0 for none */
    Py_ssize_t spans_max;
    Py_ssize_t spans; /* made so far, those beyond the budget included */
    Py_ssize_t open;  /* roots that have not ended */
    char lasting;
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

/* A trace; `given` are Trace's arguments in the order of their names, NULL where left out. */
static PyObject *
Trace_make(PyTypeObject *type, PyObject *const *given, Py_ssize_t spans_max)
{
    PyObject *trace_id = given[0], *parent_id = given[1] ? given[1] : core.empty_bytes;
    PyObject *ring = given[6] == NULL || given[6] == Py_None ? core.ring : given[6];

    if (!is_bytes(trace_id, 16) || !(is_bytes(parent_id, 0) || is_bytes(parent_id, 8))) {
        PyErr_SetString(PyExc_ValueError, "a trace id has 16 bytes, a parent id 8 or none");
        return NULL;
    }
    if (!PyObject_TypeCheck(ring, core.Ring)) {
        PyErr_SetString(PyExc_TypeError, "ring must be a Ring");
        return NULL;
    }
    Trace *self = (Trace *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->trace_id = Py_NewRef(trace_id);
    self->parent_id = Py_NewRef(parent_id);
    self->base_id = Py_NewRef(given[2] ? given[2] : core.empty_text);
    self->signer = Py_NewRef(given[3] ? given[3] : Py_None);
    self->attributes = Py_NewRef(given[4] ? given[4] : Py_None);
    self->ring = (Ring *)Py_NewRef(ring);
    self->spans_max = spans_max;
    if (PyBytes_GET_SIZE(parent_id) == 8)
        self->parent = number_of((unsigned char *)PyBytes_AS_STRING(parent_id));
    int64_t wall = self->ring->wall_ns == NULL ? wall_now_ns()
                                               : asked_ns(self->ring->wall_ns);
    self->wall_minus_elapsed_ns = wall - Ring_now(self->ring);
    return (PyObject *)self;
}

static PyObject *
Trace_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"trace_id", "parent_id", "base_id",   "signer",
                            "attributes", "spans_max", "ring", NULL};
    PyObject *given[TRACE_NAMES] = {NULL};
    Py_ssize_t spans_max = SPANS_PER_TRACE_MAX;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OOOnO:Trace", names, &given[0], &given[1],
                                     &given[2], &given[3], &given[4], &spans_max, &given[6]))
        return NULL;
    return Trace_make(type, given, spans_max);
}

/* Put each keyword's value where its name stands; 0 if a name is not found by identity. */
static int
by_names(PyObject *const *names, int count, PyObject *kwnames, PyObject *const *values,
         PyObject **given)
{
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        int at = 0;
        while (at < count && names[at] != PyTuple_GET_ITEM(kwnames, i))
            at++;
        if (at == count || given[at] != NULL)
            return 0;
        given[at] = values[i];
    }
    return 1;
}

/* The arguments of a vectorcall as a tuple and a dict, for what parses these; 0 if it fails. */
static int
as_tuple_and_dict(PyObject *const *values, Py_ssize_t count, PyObject *kwnames, PyObject **tuple,
                  PyObject **dict)
{
    *dict = keywords(values + count, kwnames);
    *tuple = *dict == NULL ? NULL : PyTuple_New(count);
    for (Py_ssize_t i = 0; *tuple != NULL && i < count; i++)
        PyTuple_SET_ITEM(*tuple, i, Py_NewRef(values[i]));
    if (*tuple == NULL)
        Py_CLEAR(*dict);
    return *tuple != NULL;
}

/* Trace(...) without a tuple and a dict of its arguments: a third of the time. */
static PyObject *
Trace_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf), spans_max = SPANS_PER_TRACE_MAX;
    PyObject *given[TRACE_NAMES] = {NULL}, *tuple, *dict;
    int plain = nargs == 1 || nargs == 2;

    for (Py_ssize_t i = 0; plain && i < nargs; i++)
        given[i] = args[i];
    plain = plain && by_names(core.trace_names, TRACE_NAMES, kwnames, args + nargs, given);
    if (plain && given[5] != NULL) {
        int overflow = 1;
        if (PyLong_CheckExact(given[5]))
            spans_max = PyLong_AsLongAndOverflow(given[5], &overflow);
        plain = !overflow;
    }
    if (plain)
        return Trace_make((PyTypeObject *)type, given, spans_max);
    if (!as_tuple_and_dict(args, nargs, kwnames, &tuple, &dict))
        return NULL;
    PyObject *made = Trace_new((PyTypeObject *)type, tuple, dict);
    Py_DECREF(tuple);
    Py_DECREF(dict);
    return made;
}

static void
Trace_dealloc(Trace *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(self->trace_id);
    Py_XDECREF(self->hex);
    Py_XDECREF(self->parent_id);
    Py_XDECREF(self->base_id);
    Py_XDECREF(self->signer);
    Py_XDECREF(self->attributes);
    Py_XDECREF(self->more);
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
    {"spans_max", T_PYSSIZET, offsetof(Trace, spans_max), 0, NULL},
    {"more", T_OBJECT, offsetof(Trace, more), 0, NULL},
    {"ring", T_OBJECT, offsetof(Trace, ring), READONLY, NULL},
    {"lasting", T_BOOL, offsetof(Trace, lasting), 0, NULL},
    {NULL},
};

static PyObject *
Trace_get_served(Trace *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->open < 1);
}

static PyGetSetDef Trace_getset[] = {
    {"served", (getter)Trace_get_served, NULL,
     "Whether no span is open that `start_root` made of it.", NULL},
    {NULL},
};

static PyType_Slot Trace_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One traced request as this process sees it; see pure.py.")},
    {Py_tp_new, Trace_new},
    {Py_tp_dealloc, Trace_dealloc},
    {Py_tp_members, Trace_members},
    {Py_tp_getset, Trace_getset},
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

static inline int
Span_is_root(Span *self)
{
    return self->parent == self->trace->parent;
}

/* Whether it and its request have ended, so that nothing can be inside it any more. */
static inline int
Span_is_over(Span *self)
{
    return self->state == SPAN_ENDED && self->trace->open < 1 && !self->trace->lasting;
}

/* Whether this is a span inside which there may be others. */
static inline int
is_recorded(PyObject *current)
{
    return Py_IS_TYPE(current, core.Span) && !Span_is_over((Span *)current);
}

/* Whether there may be more than was granted. */
static int
Trace_asks_for_more(Trace *self)
{
    PyObject *more = self->more;

    if (more == NULL || more == Py_None)
        return 0;
    Py_INCREF(more);
    PyObject *answer = PyObject_CallNoArgs(more);
    int may = answer == NULL ? 0 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    Py_DECREF(more);
    PyErr_Clear();
    return may > 0;
}

/* Whether a span beyond spans_max may be made all the same; a refusal is counted. */
static int
Trace_may_have_another(Trace *self)
{
    int may = Trace_asks_for_more(self);

    if (!may)
        Ring_count(self->ring, "spans", "budget_spans", 1);
    return may;
}

/* Whether the trace may have one more span. */
static inline int
Trace_spend(Trace *self)
{
    return self->spans++ < self->spans_max || Trace_may_have_another(self);
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
    for (Py_ssize_t i = 0; i < Py_SIZE(self) && self->values[i] != NULL; i++) {
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
               ((Span *)previous)->state == SPAN_ENDED &&
               !(((Span *)previous)->trace->lasting && Span_is_root((Span *)previous)))
            previous = ((Span *)previous)->previous;
        set_current(previous == NULL ? Py_None : previous);
    }
    Py_DECREF(current);
}

static int Ring_receive(Ring *self, Span *finished);

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
    if (Span_is_root(self))
        self->trace->open--;
    Span_restore(self);
    if (!is_ours)
        return 0;
    if (self->trace->ring->bytes_left != ANY_BYTES && !Span_is_root(self))
        return Ring_receive(self->trace->ring, self);
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

#endif
