/* Finished spans as values, and the ring they wait in: the C twin of ring_pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_RECORDS_H
#define NILOMETER_TRACE_RECORDS_H

#include "trace/spans.h"

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
    PyObject *kept = PyDict_New(), *names = Py_XNewRef(self->names);
    Py_ssize_t count = Py_SIZE(self);
    if (count > ATTRIBUTES_MAX) {
        *excess += count - ATTRIBUTES_MAX;
        count = ATTRIBUTES_MAX;
    }
    for (Py_ssize_t i = 0; kept != NULL && i < count && self->values[i] != NULL; i++) {
        PyObject *value = Py_NewRef(self->values[i]); /* making text may let go of them */
        if (keep(kept, PyTuple_GET_ITEM(names, i), value) < 0)
            Py_CLEAR(kept);
        Py_DECREF(value);
    }
    Py_XDECREF(names);
    return kept;
}

static PyObject *
Span_events(Span *self, Py_ssize_t *excess)
{
    if (self->events == NULL)
        return Py_NewRef(core.empty_tuple);
    PyObject *id = bytes_of(self->id), *all = Py_NewRef(self->events);
    Py_ssize_t count = PyList_GET_SIZE(all);
    PyObject *events = id == NULL ? NULL : PyTuple_New(count);
    for (Py_ssize_t i = 0; events != NULL && i < count; i++) {
        PyObject *given = PyList_GET_ITEM(all, i);
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
    Py_DECREF(all);
    Py_XDECREF(id);
    return events;
}

/* What was assigned last, unless somebody has deleted it. */
static PyObject *
there(PyObject *value, const char *name)
{
    if (value == NULL)
        PyErr_SetString(PyExc_AttributeError, name);
    return value;
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
        return there(self->name, "name") == NULL ? NULL : named(self->name);
    case 4:
        return Py_XNewRef(there(self->kind, "kind"));
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

/* The trace's id as text: a new reference. */
static PyObject *
Trace_hex(Trace *self)
{
    if (self->hex == NULL)
        self->hex = hex_of(self->trace_id);
    return Py_XNewRef(self->hex);
}

static PyObject *
Span_get_trace_id(Span *self, void *Py_UNUSED(closure))
{
    return Trace_hex(self->trace);
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
     PyDoc_STR("Keep a value under a name. The value is not looked at before the span has "
               "ended.")},
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

static PyObject *
Span_get_over(Span *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(Span_is_over(self));
}

static PyObject *
Span_get_name(Span *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(there(self->name, "name"));
}

/* Once it has ended it is held, and its bytes are counted. */
static int
Span_set_name(Span *self, PyObject *name, void *Py_UNUSED(closure))
{
    if (self->state != SPAN_ENDED)
        Py_XSETREF(self->name, Py_XNewRef(name));
    return 0;
}

static PyMemberDef Span_members[] = {
    {"kind", T_OBJECT_EX, offsetof(Span, kind), 0, NULL},
    {NULL},
};

static PyGetSetDef Span_getset[] = {
    {"name", (getter)Span_get_name, (setter)Span_set_name,
     PyDoc_STR("What it does; once it has ended it keeps what it had."), NULL},
    {"trace", (getter)Span_get_trace, NULL,
     PyDoc_STR("The request this span belongs to."), NULL},
    {"trace_id", (getter)Span_get_trace_id, NULL, PyDoc_STR("32 hexadecimal digits."), NULL},
    {"span_id", (getter)Span_get_span_id, NULL, PyDoc_STR("16 hexadecimal digits."), NULL},
    {"recording", get_true, NULL, NULL, NULL},
    {"over", (getter)Span_get_over, NULL,
     PyDoc_STR("Whether it and its request have ended, so that nothing can be inside it any "
               "more."),
     NULL},
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
    static char *names[] = {"capacity", "bytes_max", "clock", NULL};
    Py_ssize_t capacity = SPANS_RING_MAX, bytes_max = ANY_BYTES;
    PyObject *clock = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|nn$O:Ring", names, &capacity, &bytes_max,
                                     &clock))
        return NULL;
    if (capacity < 1) {
        PyErr_Format(PyExc_ValueError, "capacity must be at least 1, got %zd", capacity);
        return NULL;
    }
    Ring *self = (Ring *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->capacity = capacity;
    self->bytes_left = bytes_max;
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
    Py_VISIT(self->onward);
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
    Py_CLEAR(self->onward);
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
Ring_grow(Ring *self, PyObject *args)
{
    Py_ssize_t capacity, more_bytes = 0;

    if (!PyArg_ParseTuple(args, "n|n:grow", &capacity, &more_bytes))
        return NULL;
    if (self->capacity && capacity > self->capacity) {
        Span **items = self->items;
        if (items != NULL && PyMem_Resize(items, Span *, capacity) == NULL)
            return PyErr_NoMemory();
        self->items = items;
        self->capacity = capacity;
    }
    if (self->capacity && self->bytes_left != ANY_BYTES)
        self->bytes_left += Py_MIN(more_bytes, ANY_BYTES - 1 - Py_MAX(0, self->bytes_left));
    Py_RETURN_NONE;
}

/* Hand everything on, the losses too. */
static int
Ring_pour(Ring *onward, Span **items, Py_ssize_t length, PyObject *lost)
{
    PyObject *key, *number;
    Py_ssize_t at = 0;

    for (Py_ssize_t i = 0; i < length; i++)
        Ring_take(onward, items[i]);
    while (PyDict_Next(lost, &at, &key, &number))
        if (Ring_lose(onward, key, PyLong_AsSsize_t(number)) < 0)
            return -1;
    return 0;
}

static PyObject *
Ring_close(Ring *self, PyObject *onward)
{
    int status = 0;

    if (onward != Py_None && !PyObject_TypeCheck(onward, core.Ring)) {
        PyErr_SetString(PyExc_TypeError, "a ring is closed onto another ring, or None");
        return NULL;
    }
    for (Ring *last = onward == Py_None ? NULL : (Ring *)onward; last != NULL; last = last->onward)
        if (last == self) {
            PyErr_SetString(PyExc_ValueError, "a ring cannot be closed onto itself");
            return NULL;
        }
    if (!self->capacity)
        Py_RETURN_NONE;
    Span **items = self->items;
    Py_ssize_t length = self->length;
    self->items = NULL; /* what ends while we are at work goes onward by itself */
    self->length = self->capacity = 0;
    self->bytes_left = ANY_BYTES;
    if (onward != Py_None) {
        self->onward = (Ring *)Py_NewRef(onward);
        status = Ring_pour(self->onward, items, length, self->lost);
        PyDict_Clear(self->lost);
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        if (onward == Py_None)
            Span_forget(items[i]);
        Py_DECREF(items[i]);
    }
    PyMem_Free(items);
    if (status < 0)
        return NULL;
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
    {"grow", (PyCFunction)Ring_grow, METH_VARARGS,
     PyDoc_STR("Have room for so many spans from now on; never for fewer, and not once "
               "closed.")},
    {"close", (PyCFunction)Ring_close, METH_O,
     PyDoc_STR("Take nothing any more: spans and losses, here or to come, go onward, or "
               "nowhere.")},
    {"drain", (PyCFunction)Ring_drain, METH_NOARGS,
     PyDoc_STR("Take out all finished spans, oldest first. Spans that cannot be read are "
               "counted.")},
    {NULL},
};

static PyMemberDef Ring_members[] = {
    {"capacity", T_PYSSIZET, offsetof(Ring, capacity), READONLY, NULL},
    {"bytes_left", T_PYSSIZET, offsetof(Ring, bytes_left), READONLY, NULL},
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

#endif
