/* Handles: counters, gauges and timers with one set of dimensions, and what they share.
 *
 * The C of pure.py: same names, same order, same errors.
 */

#ifndef NILOMETER_MEASURE_HANDLES_H
#define NILOMETER_MEASURE_HANDLES_H

#include "measure/arena_file.h"

#include <structmember.h>

/* As many as threads or greenlets are usually inside of a `with` at once; 72 bytes each. */
#define LAPS_KEPT 16

typedef struct {
    PyTypeObject *arena, *family, *counter, *gauge, *timer, *lap;
    PyTypeObject *function, *coroutine;
    PyObject *perf_counter_ns; /* the clock that needs no call */
    PyObject *laps[LAPS_KEPT]; /* done with, to be used again; owned, but without references */
    int laps_kept;
} State;

typedef struct {
    PyObject_HEAD
    char on;
    char clock_is_native;
    PyObject *owner; /* an Instrument of family.py */
    PyObject *clock;
    PyObject *bindings; /* dict: what bind() was asked -> child */
    PyObject *name, *unit, *level, *description;
    Arena *arena;
} Family;

/* A counter, gauge or timer with one set of dimensions. */
typedef struct {
    PyObject_HEAD
    Family *family;
    Arena *arena; /* the family's, borrowed: one step less to the values */
    PyObject *dimensions;
    PyObject *local; /* thread-local holder of children; NULL where values are our own */
    PyObject *read;  /* gauges: what a collect calls; NULL elsewhere */
    PyObject *errors; /* timers: dict of class -> counter of errors; NULL until one is met */
    PyObject *weakrefs;
    unsigned long long calls;
    uint32_t offset; /* of our values in the arena; 0 is its sink */
    uint32_t bytes;  /* of our values */
} Handle;

typedef struct {
    PyObject_HEAD
    Handle *timer; /* NULL while off */
    int64_t started_ns;
    char started;
} Lap;

static inline State *
state_of(PyTypeObject *type)
{
    return PyType_GetModuleState(type); /* our types cannot be subclassed: this is the type */
}

/* === Arena === */

static PyObject *
Arena_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"bytes_max", NULL};
    unsigned int bytes_max = ARENA_BYTES_MAX;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|I:Arena", names, &bytes_max))
        return NULL;
    if (bytes_max < sizeof(Distribution))
        return PyErr_Format(PyExc_ValueError, "bytes_max must be at least %zu",
                            sizeof(Distribution));
    Arena *self = (Arena *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->bytes_max = bytes_max;
    self->file = -1;
    if (arena_grow(self, sizeof(Distribution)) < 0) { /* the sink */
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    memset(self->base, 0, sizeof(Distribution));
    self->bytes_used = DISTRIBUTION_BYTES;
    return (PyObject *)self;
}

static void
Arena_dealloc(Arena *self)
{
    arena_let_go(self);
    nilo_free((PyObject *)self);
}

static PyMemberDef Arena_members[] = {
    {"bytes_used", T_UINT, offsetof(Arena, bytes_used), READONLY, NULL},
    {"file", T_INT, offsetof(Arena, file), 0, NULL},
    {"refused", T_ULONGLONG, offsetof(Arena, refused), 0, NULL},
    {"errors_missed", T_ULONGLONG, offsetof(Arena, errors_missed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Arena_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One region that holds the values of all series.")},
    {Py_tp_new, Arena_new},
    {Py_tp_dealloc, Arena_dealloc},
    {Py_tp_members, Arena_members},
    {Py_tp_methods, Arena_methods},
    {0, NULL},
};

/* === Family === */

static PyObject *
Family_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"owner", "arena", "clock", "name", "unit", "level", "description",
                            NULL};
    PyObject *owner, *arena, *clock, *name, *unit, *level, *description;
    State *state = state_of(type);

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!OUUOU:Family", names, &owner,
                                     state->arena, &arena, &clock, &name, &unit, &level,
                                     &description))
        return NULL;
    Family *self = (Family *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->owner = Py_NewRef(owner);
    self->arena = (Arena *)Py_NewRef(arena);
    self->clock = Py_NewRef(clock);
    self->clock_is_native = clock == state->perf_counter_ns;
    self->name = Py_NewRef(name);
    self->unit = Py_NewRef(unit);
    self->level = Py_NewRef(level);
    self->description = Py_NewRef(description);
    self->bindings = PyDict_New();
    if (self->bindings == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
Family_traverse(Family *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->clock);
    Py_VISIT(self->bindings);
    Py_VISIT(self->level);
    return 0;
}

static int
Family_clear(Family *self)
{
    Py_CLEAR(self->owner);
    Py_CLEAR(self->bindings);
    return 0; /* clock, names and arena stay: a handle that outlives the cycle may use them */
}

static void
Family_dealloc(Family *self)
{
    PyObject_GC_UnTrack(self);
    Family_clear(self);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->name);
    Py_CLEAR(self->unit);
    Py_CLEAR(self->level);
    Py_CLEAR(self->description);
    Py_CLEAR(self->arena);
    nilo_free((PyObject *)self);
}

/* The clock's time; a clock that fails (only a test's can) stands still and says so. */
static int64_t
family_now_ns(Family *family)
{
    if (family->clock_is_native)
        return nilo_now_ns();
    NiloError passing = nilo_error_save();
    PyObject *now = PyObject_CallNoArgs(family->clock);
    int64_t now_ns = now == NULL ? -1 : PyLong_AsLongLong(now);
    if (now_ns == -1 && PyErr_Occurred())
        PyErr_WriteUnraisable(family->clock);
    Py_XDECREF(now);
    nilo_error_restore(passing);
    return now_ns;
}

static PyMemberDef Family_members[] = {
    {"on", T_BOOL, offsetof(Family, on), 0, NULL},
    {"owner", T_OBJECT, offsetof(Family, owner), READONLY, NULL},
    {"clock", T_OBJECT, offsetof(Family, clock), READONLY, NULL},
    {"bindings", T_OBJECT, offsetof(Family, bindings), READONLY, NULL},
    {"name", T_OBJECT, offsetof(Family, name), READONLY, NULL},
    {"unit", T_OBJECT, offsetof(Family, unit), READONLY, NULL},
    {"level", T_OBJECT, offsetof(Family, level), READONLY, NULL},
    {"description", T_OBJECT, offsetof(Family, description), READONLY, NULL},
    {"arena", T_OBJECT, offsetof(Family, arena), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Family_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What the series of one instrument share; a registry makes "
                                  "it, and flips `on`.")},
    {Py_tp_new, Family_new},
    {Py_tp_dealloc, Family_dealloc},
    {Py_tp_traverse, Family_traverse},
    {Py_tp_clear, Family_clear},
    {Py_tp_members, Family_members},
    {0, NULL},
};

/* === What counters, gauges and timers have in common === */

static Handle *
handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs, uint32_t size)
{
    static char *names[] = {"family", "dimensions", "local", NULL};
    PyObject *family, *dimensions, *local = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!|O:Handle", names,
                                     state_of(type)->family, &family, &PyTuple_Type,
                                     &dimensions, &local))
        return NULL;
    Handle *self = (Handle *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->family = (Family *)Py_NewRef(family);
    self->arena = self->family->arena;
    self->dimensions = Py_NewRef(dimensions);
    self->local = local == Py_None ? NULL : Py_NewRef(local);
    self->bytes = size;
    if (self->local == NULL)
        self->offset = arena_allocate(self->arena, size);
    return self;
}

static int
Handle_traverse(Handle *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->family);
    Py_VISIT(self->dimensions);
    Py_VISIT(self->local);
    Py_VISIT(self->read);
    Py_VISIT(self->errors);
    return 0;
}

static int
Handle_clear(Handle *self)
{
    Py_CLEAR(self->read);
    Py_CLEAR(self->errors);
    return 0; /* the family clears what made the cycle; ours stays usable until the end */
}

static void
Handle_dealloc(Handle *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Handle_clear(self);
    if (self->bytes == DISTRIBUTION_BYTES)
        distribution_release(self->arena, self->offset);
    else
        arena_release(self->arena, self->offset, self->bytes);
    Py_CLEAR(self->family);
    Py_CLEAR(self->dimensions);
    Py_CLEAR(self->local);
    nilo_free((PyObject *)self);
}

static PyObject *
owner_of(Handle *self)
{
    if (self->family->owner == NULL)
        PyErr_SetString(PyExc_ReferenceError, "the registry of this instrument is gone");
    return self->family->owner;
}

/* The child of the thread that calls, a new reference; threads keep theirs. */
static Handle *
handle_here(Handle *self)
{
    PyObject *child = PyObject_GetAttrString(self->local, "child");

    if (child == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        PyObject *owner = owner_of(self);
        if (owner != NULL)
            child = PyObject_CallMethod(owner, "thread_child", "(O)", self);
        if (child != NULL && PyObject_SetAttrString(self->local, "child", child) < 0)
            Py_CLEAR(child);
    }
    if (child != NULL && !Py_IS_TYPE(child, Py_TYPE(self))) {
        PyErr_SetString(PyExc_TypeError, "thread_child() returned another kind");
        Py_CLEAR(child);
    }
    return (Handle *)child;
}

/* What stands for a value whose __str__ failed; only an Exception is ours to swallow. */
static PyObject *
text_of_failed(PyObject *value)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    NiloError failure = nilo_error_save();
    PyObject *text = NULL;
    PyObject *value_name = PyType_GetName(Py_TYPE(value));
    PyObject *error_name = PyType_GetName((PyTypeObject *)nilo_error_class(&failure));
    if (value_name != NULL && error_name != NULL)
        text = PyUnicode_FromFormat("<%U: %U in str>", value_name, error_name);
    Py_XDECREF(value_name);
    Py_XDECREF(error_name);
    nilo_error_drop(failure);
    return text;
}

static PyObject *
text_of(PyObject *value)
{
    if (PyUnicode_CheckExact(value))
        return Py_NewRef(value);
    if (PyBool_Check(value))
        return PyUnicode_FromString(value == Py_True ? "true" : "false");
    PyObject *text = PyObject_Str(value);
    return text != NULL ? text : text_of_failed(value);
}

static PyObject *
Handle_bind(Handle *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t pairs = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);

    if (nargs != 0)
        return PyErr_Format(PyExc_TypeError,
                            "bind() takes dimensions by name (%zd given without)", nargs);
    if (pairs == 0)
        return Py_NewRef(self);
    PyObject *bound = PyTuple_New(1 + 2 * pairs);
    if (bound == NULL)
        return NULL;
    PyTuple_SET_ITEM(bound, 0, Py_NewRef(self));
    for (Py_ssize_t i = 0; i < pairs; i++) {
        PyObject *text = text_of(args[i]);
        if (text == NULL) {
            Py_DECREF(bound);
            return NULL;
        }
        PyTuple_SET_ITEM(bound, 1 + 2 * i, Py_NewRef(PyTuple_GET_ITEM(kwnames, i)));
        PyTuple_SET_ITEM(bound, 2 + 2 * i, text);
    }
    PyObject *child = NULL;
    PyObject *owner = owner_of(self);
    if (owner != NULL) {
        child = Py_XNewRef(PyDict_GetItemWithError(self->family->bindings, bound));
        if (child == NULL && !PyErr_Occurred())
            child = PyObject_CallMethod(owner, "child", "(O)", bound);
    }
    Py_DECREF(bound);
    return child;
}

static PyObject *
Handle_repr(Handle *self)
{
    PyObject *type_name = PyType_GetName(Py_TYPE(self));
    PyObject *text = type_name == NULL ? NULL
                                       : PyUnicode_FromFormat("<%U %U", type_name,
                                                              self->family->name);
    Py_XDECREF(type_name);
    for (Py_ssize_t i = 0; text != NULL && i < PyTuple_GET_SIZE(self->dimensions); i++) {
        PyObject *pair = PyTuple_GET_ITEM(self->dimensions, i);
        PyObject *key = PySequence_GetItem(pair, 0);
        PyObject *value = key == NULL ? NULL : PySequence_GetItem(pair, 1);
        PyObject *more = value == NULL ? NULL
                                       : PyUnicode_FromFormat("%U %S=%S", text, key, value);
        Py_XDECREF(key);
        Py_XDECREF(value);
        Py_SETREF(text, more);
    }
    if (text != NULL)
        Py_SETREF(text, PyUnicode_FromFormat("%U %s>", text, self->family->on ? "on" : "off"));
    return text;
}

/* Where its values lie; 0 for nowhere, as those of handles that only lead to others. */
static PyObject *
Handle_lie(Handle *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(self->offset);
}

/* __copy__ and __deepcopy__: an instrument stays what it is in a copy of what holds it. */
static PyObject *
Handle_copy(PyObject *self, PyObject *Py_UNUSED(memo))
{
    return Py_NewRef(self);
}

#define FAMILY_GETTER(attribute)                                                               \
    static PyObject *Handle_get_##attribute(Handle *self, void *Py_UNUSED(closure))            \
    {                                                                                          \
        return Py_NewRef(self->family->attribute);                                             \
    }
FAMILY_GETTER(name)
FAMILY_GETTER(unit)
FAMILY_GETTER(level)
FAMILY_GETTER(description)

static PyObject *
Handle_get_on(Handle *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->family->on);
}

static PyGetSetDef Handle_getset[] = {
    {"name", (getter)Handle_get_name, NULL,
     PyDoc_STR("The name under which readings appear."), NULL},
    {"unit", (getter)Handle_get_unit, NULL, PyDoc_STR("What the values count, in UCUM."), NULL},
    {"level", (getter)Handle_get_level, NULL,
     PyDoc_STR("How deep measuring must go for this to be on."), NULL},
    {"description", (getter)Handle_get_description, NULL,
     PyDoc_STR("What the values mean, for people."), NULL},
    {"on", (getter)Handle_get_on, NULL, PyDoc_STR("Whether it measures now."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define HANDLE_MEMBERS                                                                         \
    {"family", T_OBJECT, offsetof(Handle, family), READONLY, NULL},                            \
    {"dimensions", T_OBJECT, offsetof(Handle, dimensions), READONLY, NULL},                    \
    {"calls", T_ULONGLONG, offsetof(Handle, calls), READONLY, NULL},                           \
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Handle, weakrefs), READONLY, NULL}

#define HANDLE_METHODS                                                                         \
    {"__copy__", (PyCFunction)Handle_copy, METH_NOARGS, NULL},                                 \
    {"__deepcopy__", (PyCFunction)Handle_copy, METH_O, NULL},                                  \
    {"lie", (PyCFunction)Handle_lie, METH_NOARGS,                                              \
     PyDoc_STR("lie($self, /)\n--\n\n"                                                         \
               "Return where its values lie in the arena; 0 if they have no place there.")},   \
    {"bind", (PyCFunction)(void (*)(void))Handle_bind, METH_FASTCALL | METH_KEYWORDS,          \
     PyDoc_STR("bind($self, /, **dimensions)\n--\n\n"                                          \
               "Return the child with these dimensions added; values become text.")}

#define HANDLE_SLOTS                                                                           \
    {Py_tp_dealloc, Handle_dealloc}, {Py_tp_traverse, Handle_traverse},                        \
    {Py_tp_clear, Handle_clear}, {Py_tp_repr, Handle_repr}, {Py_tp_getset, Handle_getset}

static PyMemberDef Handle_members[] = {HANDLE_MEMBERS, {NULL, 0, 0, 0, NULL}};

/* A whole number in 0..2**63-1, or -1 with the error that pure.py raises. */
static int64_t
whole_number(PyObject *object, const char *what)
{
    int overflow = 0;
    PyObject *number = PyLong_CheckExact(object) ? Py_NewRef(object) : PyNumber_Index(object);
    int64_t n = number == NULL ? -1 : PyLong_AsLongLongAndOverflow(number, &overflow);

    if (number != NULL && (n < 0 || overflow) && !PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "%s must be in 0..2**63-1, got %S", what, number);
        n = -1;
    }
    Py_XDECREF(number);
    return n;
}

/* === Counter === */

static PyObject *
Counter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return (PyObject *)handle_new(type, args, kwargs, sizeof(Sum));
}

static PyObject *
Counter_add(Handle *self, PyObject *const *args, Py_ssize_t nargs)
{
    int64_t n = 1;

    if (nargs > 1)
        return PyErr_Format(PyExc_TypeError, "add() takes one number (%zd given)", nargs);
    if (!self->family->on)
        Py_RETURN_NONE;
    if (self->local != NULL) {
        Handle *child = handle_here(self);
        PyObject *added = child == NULL ? NULL : Counter_add(child, args, nargs);
        Py_XDECREF(child);
        return added;
    }
    if (nargs == 1 && (n = whole_number(args[0], "n")) < 0)
        return NULL;
    sum_add(arena_at(self->arena, self->offset), (uint64_t)n);
    self->calls++;
    Py_RETURN_NONE;
}

static PyObject *
Counter_take(Handle *self, PyObject *Py_UNUSED(ignored))
{
    Sum *sum = arena_at(self->arena, self->offset);

    if (self->offset == 0 || (sum->low == 0 && sum->high == 0))
        Py_RETURN_NONE;
    PyObject *moved = sum_object(sum);
    if (moved != NULL)
        *sum = (Sum){0, 0};
    return moved;
}

static PyObject *
Counter_reset(Handle *self, PyObject *Py_UNUSED(ignored))
{
    if (self->offset != 0)
        *(Sum *)arena_at(self->arena, self->offset) = (Sum){0, 0};
    self->calls = 0;
    Py_RETURN_NONE;
}

static PyMethodDef Counter_methods[] = {
    HANDLE_METHODS,
    {"add", (PyCFunction)(void (*)(void))Counter_add, METH_FASTCALL,
     PyDoc_STR("add($self, n=1, /)\n--\n\nCount n more, a whole number from 0 to 2**63-1.")},
    {"take", (PyCFunction)Counter_take, METH_NOARGS,
     PyDoc_STR("take($self, /)\n--\n\n"
               "Return how far it moved since it was last taken; None if it did not.")},
    {"reset", (PyCFunction)Counter_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\n"
               "Forget what was counted: a child process starts from zero.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Counter_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Counts up; a reading is how far it moved in the interval.")},
    {Py_tp_new, Counter_new},
    {Py_tp_methods, Counter_methods},
    {Py_tp_members, Handle_members},
    HANDLE_SLOTS,
    {0, NULL},
};

/* === Gauge === */

static PyObject *
Gauge_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Handle *self = handle_new(type, args, kwargs, sizeof(GaugeValue));

    if (self != NULL)
        self->read = Py_NewRef(Py_None);
    return (PyObject *)self;
}

static int
not_finite(double real)
{
    PyObject *number = PyFloat_FromDouble(real);

    if (number != NULL)
        PyErr_Format(PyExc_ValueError, "x must be finite, got %S", number);
    Py_XDECREF(number);
    return -1;
}

/* pure.py's number_of() */
static int
gauge_number(PyObject *object, GaugeValue *value)
{
    if (PyFloat_CheckExact(object) || (!PyIndex_Check(object) && Py_TYPE(object)->tp_as_number
                                       && Py_TYPE(object)->tp_as_number->nb_float)) {
        value->kind = VALUE_REAL;
        value->real = PyFloat_AsDouble(object);
        if (value->real == -1.0 && PyErr_Occurred())
            return -1;
        return value->real - value->real == 0 ? 0 : not_finite(value->real);
    }
    if (!PyIndex_Check(object)) {
        PyObject *type_name = PyType_GetName(Py_TYPE(object));
        if (type_name != NULL)
            PyErr_Format(PyExc_TypeError, "x must be a number, not %U", type_name);
        Py_XDECREF(type_name);
        return -1;
    }
    int overflow = 0;
    PyObject *number = PyNumber_Index(object);
    if (number == NULL)
        return -1;
    value->kind = VALUE_INTEGER;
    value->integer = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow)
        PyErr_Format(PyExc_ValueError, "x must be in -2**63..2**63-1, got %S", number);
    Py_DECREF(number);
    return overflow || (value->integer == -1 && PyErr_Occurred()) ? -1 : 0;
}

static PyObject *
Gauge_set(Handle *self, PyObject *x)
{
    GaugeValue value;

    if (self->local != NULL) {
        Handle *child = handle_here(self);
        PyObject *set = child == NULL ? NULL : Gauge_set(child, x);
        Py_XDECREF(child);
        return set;
    }
    if (gauge_number(x, &value) < 0)
        return NULL;
    *(GaugeValue *)arena_at(self->arena, self->offset) = value;
    self->calls++;
    Py_RETURN_NONE;
}

static int
gauge_move(GaugeValue *value, const GaugeValue *step)
{
    if (value->kind == VALUE_NONE) {
        *value = *step;
        return 0;
    }
    if (value->kind == VALUE_INTEGER && step->kind == VALUE_INTEGER) {
        __int128 sum = (__int128)value->integer + step->integer;
        if (sum >= INT64_MIN && sum <= INT64_MAX)
            value->integer = (int64_t)sum;
        else
            *value = (GaugeValue){.kind = VALUE_REAL, .real = (double)sum};
        return 0;
    }
    double one = value->kind == VALUE_REAL ? value->real : (double)value->integer;
    double other = step->kind == VALUE_REAL ? step->real : (double)step->integer;
    double sum = one + other;
    if (sum - sum != 0)
        return not_finite(sum);
    *value = (GaugeValue){.kind = VALUE_REAL, .real = sum};
    return 0;
}

static PyObject *
Gauge_add(Handle *self, PyObject *const *args, Py_ssize_t nargs)
{
    GaugeValue step = {.kind = VALUE_INTEGER, .integer = 1};

    if (nargs > 1)
        return PyErr_Format(PyExc_TypeError, "add() takes one number (%zd given)", nargs);
    if (self->local != NULL) {
        Handle *child = handle_here(self);
        PyObject *added = child == NULL ? NULL : Gauge_add(child, args, nargs);
        Py_XDECREF(child);
        return added;
    }
    if (nargs == 1 && gauge_number(args[0], &step) < 0)
        return NULL;
    if (gauge_move(arena_at(self->arena, self->offset), &step) < 0)
        return NULL;
    self->calls++;
    Py_RETURN_NONE;
}

static PyObject *
Gauge_take(Handle *self, PyObject *Py_UNUSED(ignored))
{
    const GaugeValue *value = arena_at(self->arena, self->offset);

    if (self->offset == 0 || value->kind == VALUE_NONE)
        Py_RETURN_NONE;
    if (value->kind == VALUE_INTEGER)
        return PyLong_FromLongLong(value->integer);
    return PyFloat_FromDouble(value->real);
}

static PyObject *
Gauge_reset(Handle *self, PyObject *Py_UNUSED(ignored))
{
    if (self->offset != 0)
        *(GaugeValue *)arena_at(self->arena, self->offset) = (GaugeValue){0};
    self->calls = 0;
    Py_RETURN_NONE;
}

static PyMemberDef Gauge_members[] = {
    HANDLE_MEMBERS,
    {"read", T_OBJECT, offsetof(Handle, read), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef Gauge_methods[] = {
    HANDLE_METHODS,
    {"set", (PyCFunction)Gauge_set, METH_O,
     PyDoc_STR("set($self, x, /)\n--\n\n"
               "Hold x from now on: an integer of 64 bits or a finite float.")},
    {"add", (PyCFunction)(void (*)(void))Gauge_add, METH_FASTCALL,
     PyDoc_STR("add($self, dx=1, /)\n--\n\n"
               "Move the value up, or down if dx is below zero; it starts from 0.")},
    {"take", (PyCFunction)Gauge_take, METH_NOARGS,
     PyDoc_STR("take($self, /)\n--\n\nReturn the value; None while there is none.")},
    {"reset", (PyCFunction)Gauge_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\n"
               "Forget the value: a child process starts from zero.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Gauge_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR(
        "Holds the last value; a reading is that value, at each collect once there is one.\n"
        "\n"
        "It keeps its value while off, so that ups and downs balance; it is only not "
        "reported.")},
    {Py_tp_new, Gauge_new},
    {Py_tp_methods, Gauge_methods},
    {Py_tp_members, Gauge_members},
    HANDLE_SLOTS,
    {0, NULL},
};

/* === Timer === */

/* A body raises a handful of classes; one that makes classes must not fill memory. */
#define ERROR_CLASSES_MAX 100

static PyObject *
Timer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Handle *self = handle_new(type, args, kwargs, DISTRIBUTION_BYTES);

    if (self != NULL && self->offset != 0)
        distribution_clear(self->arena, self->offset);
    return (PyObject *)self;
}

static inline void
timer_keep_own(Handle *self, int64_t elapsed_ns)
{
    if (elapsed_ns < 0)
        elapsed_ns = 0; /* only a test's clock runs backwards */
    distribution_record(self->arena, self->offset, (uint64_t)elapsed_ns);
}

/* Count a time for the thread that calls. No exception may be set. */
static int
timer_keep(Handle *self, int64_t elapsed_ns)
{
    if (self->local == NULL) {
        timer_keep_own(self, elapsed_ns);
        return 0;
    }
    Handle *child = handle_here(self);
    if (child == NULL)
        return -1;
    timer_keep_own(child, elapsed_ns);
    Py_DECREF(child);
    return 0;
}

/* The counter of this class of errors, a new reference; remembered once it is known. */
static PyObject *
timer_error_counter(Handle *self, PyObject *class)
{
    if (self->errors == NULL && (self->errors = PyDict_New()) == NULL)
        return NULL;
    PyObject *counter = Py_XNewRef(PyDict_GetItemWithError(self->errors, class));
    if (counter != NULL || PyErr_Occurred())
        return counter;
    PyObject *owner = owner_of(self);
    PyObject *name = owner == NULL ? NULL : PyType_GetName((PyTypeObject *)class);
    if (name != NULL)
        counter = PyObject_CallMethod(owner, "error_counter", "(OO)", self, name);
    Py_XDECREF(name);
    if (counter != NULL && self->errors != NULL
        && PyDict_GET_SIZE(self->errors) < ERROR_CLASSES_MAX
        && PyDict_SetItem(self->errors, class, counter) < 0)
        Py_CLEAR(counter);
    return counter;
}

/* Count a body left by an exception; being closed is no error. No exception may be set, and
 * none is left: the body's own is on its way. */
static void
timer_failed(Handle *self, PyObject *class)
{
    if (PyErr_GivenExceptionMatches(class, PyExc_GeneratorExit))
        return;
    PyObject *counter = timer_error_counter(self, class);
    PyObject *added = NULL;
    if (counter != NULL && Py_IS_TYPE(counter, state_of(Py_TYPE(self))->counter))
        added = Counter_add((Handle *)counter, NULL, 0);
    if (added == NULL) {
        PyErr_Clear();
        self->arena->errors_missed++;
    }
    Py_XDECREF(added);
    Py_XDECREF(counter);
}

/* A body ended, with an exception passing through or not: the exception goes on as it was. */
static void
timer_ended(Handle *self, int64_t elapsed_ns, int failed)
{
    if (self->local == NULL && !failed) {
        timer_keep_own(self, elapsed_ns);
        return;
    }
    NiloError passing = nilo_error_save();
    PyObject *class = nilo_error_class(&passing);
    if (timer_keep(self, elapsed_ns) < 0) {
        PyErr_Clear();
        self->arena->refused++;
    }
    if (failed && class != NULL)
        timer_failed(self, class);
    nilo_error_restore(passing);
}

static PyObject *
Timer_record(Handle *self, PyObject *elapsed)
{
    if (!self->family->on)
        Py_RETURN_NONE;
    int64_t elapsed_ns = whole_number(elapsed, "elapsed_ns");
    if (elapsed_ns < 0 || timer_keep(self, elapsed_ns) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Timer_keep(Handle *self, PyObject *elapsed)
{
    int64_t elapsed_ns = PyLong_AsLongLong(elapsed);

    if ((elapsed_ns == -1 && PyErr_Occurred()) || timer_keep(self, elapsed_ns) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
Timer_failed(Handle *self, PyObject *class)
{
    if (!PyExceptionClass_Check(class))
        return PyErr_Format(PyExc_TypeError, "failed() takes a class of exceptions");
    timer_failed(self, class);
    Py_RETURN_NONE;
}

static PyObject *
Timer_take(Handle *self, PyObject *Py_UNUSED(ignored))
{
    const Distribution *values = arena_at(self->arena, self->offset);
    unsigned long long samples = values->samples;

    if (self->offset == 0 || samples == 0)
        Py_RETURN_NONE;
    PyObject *taken = distribution_object(self->arena, self->offset);
    if (taken != NULL) {
        values = arena_at(self->arena, self->offset);
        self->calls += values->samples;
        distribution_clear(self->arena, self->offset);
    }
    return taken;
}

static PyObject *
Timer_reset(Handle *self, PyObject *Py_UNUSED(ignored))
{
    if (self->offset != 0)
        distribution_clear(self->arena, self->offset);
    self->calls = 0;
    Py_RETURN_NONE;
}

/* A lap, one used before if there is any: allocating is a third of what a lap costs. */
static Lap *
lap_of(State *state, Handle *timer)
{
    Lap *lap;

    if (state->laps_kept > 0) {
        lap = (Lap *)PyObject_Init(state->laps[--state->laps_kept], state->lap);
        lap->started = 0;
        PyObject_GC_Track(lap);
    } else {
        lap = (Lap *)state->lap->tp_alloc(state->lap, 0);
    }
    if (lap != NULL)
        lap->timer = timer->family->on ? (Handle *)Py_NewRef(timer) : NULL;
    return lap;
}

static PyObject *
Timer_lap(Handle *self, PyObject *Py_UNUSED(ignored))
{
    return (PyObject *)lap_of(state_of(Py_TYPE(self)), self);
}

static PyObject *
Timer_call(Handle *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", NULL};
    PyObject *function;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Timer", names, &function))
        return NULL;
    PyObject *owner = owner_of(self);
    return owner == NULL ? NULL
                         : PyObject_CallMethod(owner, "decorate", "(OO)", self, function);
}

static PyMethodDef Timer_methods[] = {
    HANDLE_METHODS,
    {"lap", (PyCFunction)Timer_lap, METH_NOARGS,
     PyDoc_STR("lap($self, /)\n--\n\nReturn a context manager that times its block.")},
    {"record", (PyCFunction)Timer_record, METH_O,
     PyDoc_STR("record($self, elapsed_ns, /)\n--\n\n"
               "Count one elapsed time, in nanoseconds, from 0 to 2**63-1.")},
    {"keep", (PyCFunction)Timer_keep, METH_O,
     PyDoc_STR("keep($self, elapsed_ns, /)\n--\n\n"
               "Count a time that our own clock measured: nothing is checked again.")},
    {"failed", (PyCFunction)Timer_failed, METH_O,
     PyDoc_STR("failed($self, kind, /)\n--\n\n"
               "Count a body left by an exception; being closed is no error.")},
    {"take", (PyCFunction)Timer_take, METH_NOARGS,
     PyDoc_STR("take($self, /)\n--\n\n"
               "Return what was recorded since it was last taken; None if nothing was.")},
    {"reset", (PyCFunction)Timer_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\n"
               "Forget what was recorded: a child process starts from zero.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Timer_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Keeps the distribution of elapsed times; is its own decorator.")},
    {Py_tp_new, Timer_new},
    {Py_tp_call, Timer_call},
    {Py_tp_methods, Timer_methods},
    {Py_tp_members, Handle_members},
    HANDLE_SLOTS,
    {0, NULL},
};

#endif
