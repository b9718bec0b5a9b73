/* What a span on the flight recorder holds, and how many bytes; with held.py, which makes the
 * texts; see _core.c.
 */

#ifndef NILOMETER_TRACE_HELD_H
#define NILOMETER_TRACE_HELD_H

#include "trace/spans.h"

/* Whether an int surely has no more than 64 bits: two digits of 30. */
static inline int
is_short(PyObject *whole)
{
#if PY_VERSION_HEX >= 0x030C0000
    return ((PyLongObject *)whole)->long_value.lv_tag >> 3 <= 2;
#else
    return Py_ABS(Py_SIZE(whole)) <= 2;
#endif
}

/* The same for what is neither short nor plain ASCII. */
static Py_ssize_t
rare_bytes(PyObject *value)
{
    int overflow = 1;

    if (PyUnicode_CheckExact(value))
        return PyUnicode_IS_READY(value) && PyUnicode_GET_LENGTH(value) <= TEXT_CHARS_MAX
                   ? PyUnicode_GET_LENGTH(value) * PyUnicode_KIND(value)
                   : -1;
    if (PyLong_CheckExact(value))
        PyLong_AsLongLongAndOverflow(value, &overflow);
    return !overflow || PyBool_Check(value) || value == Py_None ? 0 : -1;
}

/* The bytes of the text of a value that is held as it is, 0 if it is none; -1: held.py decides. */
static inline Py_ssize_t
text_bytes(PyObject *value)
{
    if (PyUnicode_CheckExact(value) && PyUnicode_IS_COMPACT_ASCII(value) &&
        PyUnicode_GET_LENGTH(value) <= TEXT_CHARS_MAX)
        return PyUnicode_GET_LENGTH(value);
    if ((PyLong_CheckExact(value) && is_short(value)) || PyFloat_CheckExact(value))
        return 0;
    return rare_bytes(value);
}

static inline Py_ssize_t
name_bytes(PyObject *name)
{
    Py_ssize_t length = PyUnicode_CheckExact(name) ? PyUnicode_GET_LENGTH(name) : -1;

    return length <= NAME_CHARS_MAX ? length : -1;
}

/* The bytes of an attribute; -1: held.py decides. */
static inline Py_ssize_t
attribute_bytes(PyObject *name, PyObject *value)
{
    Py_ssize_t of_name = name_bytes(name), of_text = text_bytes(value);

    return of_name < 0 || of_text < 0 ? -1 : ATTRIBUTE_BYTES + of_name + of_text;
}

/* Put what `made` makes of a value in its place. -1 if something that is not ours is raised. */
static int
replace(PyObject **place, PyObject *made)
{
    PyObject *given = Py_NewRef(*place);
    PyObject *now = PyObject_CallOneArg(made, given);

    Py_DECREF(given);
    if (now == NULL) {
        if (contained() < 0)
            return -1;
        now = Py_NewRef(core.empty_text); /* no memory for the text */
    }
    Py_XSETREF(*place, now);
    return 0;
}

/* The bytes of what `place` holds, after held.py made something else of it where it must.
 * -1 if something that is not ours is raised. */
static Py_ssize_t
replaced(PyObject **place, PyObject *made, Py_ssize_t (*bytes_of_it)(PyObject *))
{
    Py_ssize_t bytes = bytes_of_it(*place);

    if (bytes >= 0)
        return bytes;
    if (replace(place, made) < 0)
        return -1;
    return *place == NULL ? 0 : Py_MAX(0, bytes_of_it(*place)); /* somebody may have deleted it */
}

static Py_ssize_t
dict_bytes(PyObject *mapping)
{
    PyObject *name, *value;
    Py_ssize_t at = 0, sum = 0;

    if (!PyDict_CheckExact(mapping))
        return -1;
    while (PyDict_Next(mapping, &at, &name, &value)) {
        Py_ssize_t bytes = attribute_bytes(name, value);
        if (bytes < 0)
            return -1;
        sum += bytes;
    }
    return sum;
}

/* Of the values that a span was made with, as long as none was set later. */
static Py_ssize_t
Span_values_bytes(Span *self)
{
    Py_ssize_t sum = 0;

    for (Py_ssize_t i = 0; i < Py_SIZE(self) && self->values[i] != NULL; i++) {
        Py_ssize_t bytes = attribute_bytes(PyTuple_GET_ITEM(self->names, i), self->values[i]);
        if (bytes < 0)
            return -1;
        sum += bytes;
    }
    return sum;
}

static Py_ssize_t
Span_attributes_bytes(Span *self)
{
    Py_ssize_t bytes = self->mapping == NULL ? Span_values_bytes(self) : -1;

    if (bytes >= 0)
        return bytes;
    if (Span_mapping(self) == NULL)
        return contained();
    return replaced(&self->mapping, core.held_attributes, dict_bytes);
}

/* Its tuple is our own, and nobody has seen it yet. */
static Py_ssize_t
event_bytes(PyObject *event)
{
    PyObject **parts = ((PyTupleObject *)Py_NewRef(event))->ob_item;
    Py_ssize_t of_name = replaced(&parts[0], core.held_name, name_bytes);
    Py_ssize_t of_dict = of_name < 0 ? -1
                                     : replaced(&parts[2], core.held_attributes, dict_bytes);

    Py_DECREF(event);
    return of_dict < 0 ? -1 : EVENT_BYTES + of_name + of_dict;
}

/* Let a span hold what it may: its bytes, or -1 if something that is not ours is raised. */
static Py_ssize_t
Span_hold(Span *self)
{
    Py_ssize_t sum = SPAN_BYTES, bytes = Span_attributes_bytes(self);

    if (bytes >= 0 && self->name != NULL) {
        sum += bytes;
        bytes = name_bytes(self->name);
        if (bytes < 0)
            bytes = replaced(&self->name, core.held_name, name_bytes);
    }
    if (bytes >= 0 && self->message != NULL) {
        sum += bytes;
        bytes = replaced(&self->message, core.held, text_bytes);
    }
    for (Py_ssize_t i = 0; bytes >= 0 && self->events != NULL && i < PyList_GET_SIZE(self->events);
         i++) {
        sum += bytes;
        bytes = event_bytes(PyList_GET_ITEM(self->events, i));
    }
    return bytes < 0 ? -1 : sum + bytes;
}

/* Whether a ring that counts bytes has room for so many; a refusal is counted. */
static int
Ring_has_room(Ring *self, Trace *trace, Py_ssize_t bytes)
{
    while (bytes > self->bytes_left) {
        Py_ssize_t had = self->bytes_left;
        if (!Trace_asks_for_more(trace) || self->bytes_left <= had) {
            Ring_count(self, "spans", "budget_bytes", 1);
            return 0;
        }
    }
    if (self->bytes_left != ANY_BYTES) /* it was closed meanwhile */
        self->bytes_left -= bytes;
    return 1;
}

/* Take a span that has just ended into a ring that counts bytes. -1 if something that is not ours
 * is raised. */
static int
Ring_receive(Ring *self, Span *finished)
{
    Py_ssize_t bytes = Span_hold(finished);

    if (bytes < 0) {
        PyObject *interrupt = taken_error();
        Ring_count(self, "spans", "interrupted", 1);
        Span_forget(finished);
        raise_again(interrupt);
        return -1;
    }
    if (Ring_has_room(self, finished->trace, bytes))
        Ring_take(self, finished);
    else
        Span_forget(finished);
    return 0;
}

#endif
