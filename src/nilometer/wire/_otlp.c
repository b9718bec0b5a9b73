/* Batches as OTLP protobuf: the twin of otlp_pure.py, byte for byte.

   One growing buffer, written forwards. The length of a message is not known before it is
   written, so one byte is left for it; what turns out longer than 127 bytes is moved up, which
   for a span costs some ten nanoseconds. What is rare (resources, odd attribute values, buckets
   too far apart) is done by the specification itself, called from here. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "sources.h"

typedef struct {
    PyObject *distribution;        /* the class */
    PyObject *counter;             /* Kind.COUNTER */
    PyObject *resource_attributes; /* what otlp_pure does for both */
    PyObject *dense_enough;
    PyObject *text_of_any;
    PyObject *zero;
} State;

typedef struct {
    State *state;
    uint8_t *data;
    size_t size;
    size_t room;
} Out;

/* Fields of the model's tuples, in their order. */
enum { BATCH_RESOURCE, BATCH_READINGS, BATCH_SPANS, BATCH_EVENTS, BATCH_DELIVERY,
       BATCH_REJECTED, BATCH_FIELDS };
enum {
    SPAN_TRACE, SPAN_ID, SPAN_PARENT, SPAN_NAME, SPAN_KIND, SPAN_STARTED, SPAN_ENDED,
    SPAN_ATTRIBUTES, SPAN_STATUS, SPAN_MESSAGE, SPAN_EVENTS, SPAN_LINKS, SPAN_SCOPE, SPAN_FIELDS
};
enum {
    EVENT_NAME, EVENT_AT, EVENT_ATTRIBUTES, EVENT_TRACE, EVENT_SPAN, EVENT_SEVERITY, EVENT_BODY,
    EVENT_SCOPE, EVENT_FIELDS
};
enum { LINK_TRACE, LINK_SPAN, LINK_ATTRIBUTES, LINK_FIELDS };
enum {
    READING_NAME, READING_KIND, READING_DIMENSIONS, READING_VALUE, READING_STARTED,
    READING_ENDED, READING_UNIT, READING_DESCRIPTION, READING_SCOPE, READING_CUMULATIVE,
    READING_FIELDS
};
enum {
    DIST_SAMPLES, DIST_TOTAL, DIST_MINIMUM, DIST_MAXIMUM, DIST_BUCKETS, DIST_ZEROS,
    DIST_NEGATIVES, DIST_SCALE, DIST_BOUNDS, DIST_FIELDS
};

#define DENSE_MAX (2 * 1075 * 32) /* as in otlp_pure.py */

/* The item of a tuple whose length `checked` has verified. */
#define ITEM(tuple, index) PyTuple_GET_ITEM((tuple), (index))

static int
checked(PyObject *row, Py_ssize_t fields, const char *what)
{
    if (PyTuple_Check(row) && PyTuple_GET_SIZE(row) == fields) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s expected, not %.100s", what, Py_TYPE(row)->tp_name);
    return -1;
}

/* --- the buffer --- */

static int
grow(Out *out, size_t more)
{
    size_t room = out->room * 2;
    if (more > (size_t)PY_SSIZE_T_MAX - out->size) {
        PyErr_NoMemory();
        return -1;
    }
    if (room < out->size + more) {
        room = out->size + more + 4096;
    }
    uint8_t *data = PyMem_Realloc(out->data, room);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    out->data = data;
    out->room = room;
    return 0;
}

static inline int
ensure(Out *out, size_t more)
{
    return out->room - out->size >= more ? 0 : grow(out, more);
}

static inline uint8_t *
put_varint(uint8_t *at, uint64_t n)
{
    while (n >= 128) {
        *at++ = (uint8_t)(n & 127) | 128;
        n >>= 7;
    }
    *at++ = (uint8_t)n;
    return at;
}

static inline uint8_t *
put_fixed64(uint8_t *at, uint64_t n)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (uint8_t)(n >> (8 * i));
    }
    return at + 8;
}

#define NUMBER_BYTES_MAX 11 /* a key of one byte and ten of a varint, or eight of a fixed64 */

static int
add_varint(Out *out, uint8_t key, uint64_t n)
{
    if (ensure(out, NUMBER_BYTES_MAX) < 0) {
        return -1;
    }
    out->data[out->size] = key;
    out->size = (size_t)(put_varint(out->data + out->size + 1, n) - out->data);
    return 0;
}

static int
add_fixed64(Out *out, uint8_t key, uint64_t n)
{
    if (ensure(out, NUMBER_BYTES_MAX) < 0) {
        return -1;
    }
    out->data[out->size] = key;
    put_fixed64(out->data + out->size + 1, n);
    out->size += 9;
    return 0;
}

static int
add_double(Out *out, uint8_t key, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return add_fixed64(out, key, bits);
}

static int
add_content(Out *out, uint8_t key, const char *content, size_t length)
{
    if (length > (size_t)PY_SSIZE_T_MAX / 2 || ensure(out, NUMBER_BYTES_MAX + length) < 0) {
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        return -1;
    }
    out->data[out->size] = key;
    uint8_t *at = put_varint(out->data + out->size + 1, length);
    memcpy(at, content, length);
    out->size = (size_t)(at - out->data) + length;
    return 0;
}

/* Begin a message of unknown length; `*start` is where its content begins. */
static int
open_message(Out *out, uint8_t key, size_t *start)
{
    if (ensure(out, 2) < 0) {
        return -1;
    }
    out->data[out->size] = key;
    out->data[out->size + 1] = 0;
    out->size += 2;
    *start = out->size;
    return 0;
}

static int
close_message(Out *out, size_t start)
{
    size_t length = out->size - start;
    if (length < 128) {
        out->data[start - 1] = (uint8_t)length;
        return 0;
    }
    uint8_t prefix[10];
    size_t prefix_length = (size_t)(put_varint(prefix, length) - prefix);
    if (ensure(out, prefix_length) < 0) {
        return -1;
    }
    memmove(out->data + start - 1 + prefix_length, out->data + start, length);
    memcpy(out->data + start - 1, prefix, prefix_length);
    out->size += prefix_length - 1;
    return 0;
}

/* --- values --- */

static int
add_utf8(Out *out, uint8_t key, PyObject *text)
{
    Py_ssize_t length;
    const char *content = PyUnicode_AsUTF8AndSize(text, &length);
    if (content != NULL) {
        return add_content(out, key, content, (size_t)length);
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        return -1;
    }
    PyErr_Clear();
    PyObject *encoded = PyUnicode_AsEncodedString(text, "utf-8", "replace");
    if (encoded == NULL) {
        return -1;
    }
    int failed = add_content(
        out, key, PyBytes_AS_STRING(encoded), (size_t)PyBytes_GET_SIZE(encoded));
    Py_DECREF(encoded);
    return failed;
}

static int
add_any_text(Out *out, uint8_t key, PyObject *value)
{
    if (PyUnicode_Check(value)) {
        return add_utf8(out, key, value);
    }
    PyObject *text = PyObject_CallOneArg(out->state->text_of_any, value);
    if (text == NULL) {
        return -1;
    }
    int failed = add_utf8(out, key, text);
    Py_DECREF(text);
    return failed;
}

/* A string field; nothing if empty. */
static int
add_text(Out *out, uint8_t key, PyObject *text)
{
    int filled = PyUnicode_Check(text) ? PyUnicode_GET_LENGTH(text) > 0 : PyObject_IsTrue(text);
    return filled <= 0 ? filled : add_any_text(out, key, text);
}

static int
add_bytes(Out *out, uint8_t key, PyObject *content)
{
    if (!PyBytes_Check(content)) {
        PyErr_Format(PyExc_TypeError, "an id is bytes, not %.100s", Py_TYPE(content)->tp_name);
        return -1;
    }
    size_t length = (size_t)PyBytes_GET_SIZE(content);
    return length == 0 ? 0 : add_content(out, key, PyBytes_AS_STRING(content), length);
}

/* What no unsigned field can hold becomes the nearest that it can. */
static int
as_unsigned(PyObject *number, uint64_t *value)
{
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow == 0) {
        if (n == -1 && PyErr_Occurred()) {
            return -1;
        }
        *value = n < 0 ? 0 : (uint64_t)n;
    }
    else if (overflow < 0) {
        *value = 0;
    }
    else {
        *value = PyLong_AsUnsignedLongLong(number);
        if (*value == (uint64_t)-1 && PyErr_Occurred()) {
            if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
                return -1;
            }
            PyErr_Clear(); /* and the value is the largest there is */
        }
    }
    return 0;
}

static int
add_unsigned(Out *out, uint8_t key, PyObject *number)
{
    uint64_t value;
    return as_unsigned(number, &value) < 0 ? -1 : add_fixed64(out, key, value);
}

/* An enum or another number that is left out when zero. */
static int
add_number(Out *out, uint8_t key, PyObject *number)
{
    int filled = PyObject_IsTrue(number);
    if (filled <= 0) {
        return filled;
    }
    uint64_t value;
    return as_unsigned(number, &value) < 0 ? -1 : add_varint(out, key, value);
}

static int
as_double(PyObject *number, double *value)
{
    *value = PyFloat_AsDouble(number);
    if (*value != -1.0 || !PyErr_Occurred()) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
        return -1;
    }
    PyErr_Clear();
    int above = PyObject_RichCompareBool(number, Py_False, Py_GT); /* False is zero */
    if (above < 0) {
        return -1;
    }
    *value = above ? Py_HUGE_VAL : -Py_HUGE_VAL;
    return 0;
}

static int
add_float(Out *out, uint8_t key, PyObject *number)
{
    double value;
    return as_double(number, &value) < 0 ? -1 : add_double(out, key, value);
}

/* The content of an AnyValue. */
static int
add_value(Out *out, PyObject *value)
{
    if (PyUnicode_Check(value)) {
        return add_utf8(out, 0x0a, value);
    }
    if (PyBool_Check(value)) {
        return add_varint(out, 0x10, value == Py_True);
    }
    if (PyLong_Check(value)) {
        int overflow;
        long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (n == -1 && PyErr_Occurred()) {
            return -1;
        }
        return overflow ? add_any_text(out, 0x0a, value) : add_varint(out, 0x18, (uint64_t)n);
    }
    if (PyFloat_Check(value)) {
        return add_double(out, 0x21, PyFloat_AS_DOUBLE(value));
    }
    return add_any_text(out, 0x0a, value);
}

static int
add_pair(Out *out, uint8_t key, PyObject *name, PyObject *value)
{
    size_t pair, any_value;
    int failed = -1;
    /* Odd values run Python code, which may take them out of their dict. */
    Py_INCREF(name);
    Py_INCREF(value);
    if (open_message(out, key, &pair) == 0 && add_any_text(out, 0x0a, name) == 0 &&
        open_message(out, 0x12, &any_value) == 0 && add_value(out, value) == 0 &&
        close_message(out, any_value) == 0) {
        failed = close_message(out, pair);
    }
    Py_DECREF(value);
    Py_DECREF(name);
    return failed;
}

static int
add_pairs(Out *out, uint8_t key, PyObject *pairs)
{
    PyObject *fast = PySequence_Fast(pairs, "pairs expected");
    if (fast == NULL) {
        return -1;
    }
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(fast); i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(fast, i);
        failed = checked(pair, 2, "a pair");
        if (!failed) {
            failed = add_pair(out, key, ITEM(pair, 0), ITEM(pair, 1));
        }
    }
    Py_DECREF(fast);
    return failed;
}

static int
add_attributes(Out *out, uint8_t key, PyObject *mapping)
{
    if (PyDict_CheckExact(mapping)) {
        Py_ssize_t position = 0;
        PyObject *name, *value;
        while (PyDict_Next(mapping, &position, &name, &value)) {
            if (add_pair(out, key, name, value) < 0) {
                return -1;
            }
        }
        return 0;
    }
    PyObject *items = PyMapping_Items(mapping);
    if (items == NULL) {
        return -1;
    }
    int failed = add_pairs(out, key, items);
    Py_DECREF(items);
    return failed;
}

/* --- spans --- */

typedef int (*RowWriter)(Out *, PyObject *);

/* Each row of a sequence as one message under `key`. */
static int
add_rows(Out *out, uint8_t key, PyObject *rows, RowWriter write)
{
    PyObject *fast = PySequence_Fast(rows, "rows expected");
    if (fast == NULL) {
        return -1;
    }
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(fast); i++) {
        size_t start;
        /* Odd attribute values run Python code, which may change a list that is iterated. */
        PyObject *row = Py_NewRef(PySequence_Fast_GET_ITEM(fast, i));
        failed = open_message(out, key, &start);
        if (!failed) {
            failed = write(out, row);
        }
        if (!failed) {
            failed = close_message(out, start);
        }
        Py_DECREF(row);
    }
    Py_DECREF(fast);
    return failed;
}

static int
write_span_event(Out *out, PyObject *event)
{
    if (checked(event, EVENT_FIELDS, "an Event") < 0 ||
        add_unsigned(out, 0x09, ITEM(event, EVENT_AT)) < 0 ||
        add_text(out, 0x12, ITEM(event, EVENT_NAME)) < 0) {
        return -1;
    }
    return add_attributes(out, 0x1a, ITEM(event, EVENT_ATTRIBUTES));
}

static int
write_link(Out *out, PyObject *link)
{
    if (checked(link, LINK_FIELDS, "a Link") < 0 ||
        add_bytes(out, 0x0a, ITEM(link, LINK_TRACE)) < 0 ||
        add_bytes(out, 0x12, ITEM(link, LINK_SPAN)) < 0) {
        return -1;
    }
    return add_attributes(out, 0x22, ITEM(link, LINK_ATTRIBUTES));
}

static int
add_status(Out *out, PyObject *status, PyObject *message)
{
    int told = PyObject_IsTrue(status);
    if (told == 0) {
        told = PyObject_IsTrue(message);
    }
    if (told <= 0) {
        return told;
    }
    size_t start;
    if (open_message(out, 0x7a, &start) < 0 || add_text(out, 0x12, message) < 0 ||
        add_number(out, 0x18, status) < 0) {
        return -1;
    }
    return close_message(out, start);
}

static int
write_span(Out *out, PyObject *span)
{
    if (checked(span, SPAN_FIELDS, "a SpanRecord") < 0 ||
        add_bytes(out, 0x0a, ITEM(span, SPAN_TRACE)) < 0 ||
        add_bytes(out, 0x12, ITEM(span, SPAN_ID)) < 0 ||
        add_bytes(out, 0x22, ITEM(span, SPAN_PARENT)) < 0 ||
        add_text(out, 0x2a, ITEM(span, SPAN_NAME)) < 0 ||
        add_number(out, 0x30, ITEM(span, SPAN_KIND)) < 0 ||
        add_unsigned(out, 0x39, ITEM(span, SPAN_STARTED)) < 0 ||
        add_unsigned(out, 0x41, ITEM(span, SPAN_ENDED)) < 0 ||
        add_attributes(out, 0x4a, ITEM(span, SPAN_ATTRIBUTES)) < 0 ||
        add_rows(out, 0x5a, ITEM(span, SPAN_EVENTS), write_span_event) < 0 ||
        add_rows(out, 0x6a, ITEM(span, SPAN_LINKS), write_link) < 0) {
        return -1;
    }
    return add_status(out, ITEM(span, SPAN_STATUS), ITEM(span, SPAN_MESSAGE));
}

/* --- events --- */

static int
write_log_record(Out *out, PyObject *event)
{
    if (checked(event, EVENT_FIELDS, "an Event") < 0) {
        return -1;
    }
    uint64_t at_ns;
    if (as_unsigned(ITEM(event, EVENT_AT), &at_ns) < 0 || add_fixed64(out, 0x09, at_ns) < 0 ||
        add_number(out, 0x10, ITEM(event, EVENT_SEVERITY)) < 0) {
        return -1;
    }
    int has_body = PyObject_IsTrue(ITEM(event, EVENT_BODY));
    size_t body;
    if (has_body < 0 ||
        (has_body && (open_message(out, 0x2a, &body) < 0 ||
                      add_any_text(out, 0x0a, ITEM(event, EVENT_BODY)) < 0 ||
                      close_message(out, body) < 0))) {
        return -1;
    }
    if (add_attributes(out, 0x32, ITEM(event, EVENT_ATTRIBUTES)) < 0 ||
        add_bytes(out, 0x4a, ITEM(event, EVENT_TRACE)) < 0 ||
        add_bytes(out, 0x52, ITEM(event, EVENT_SPAN)) < 0 ||
        add_fixed64(out, 0x59, at_ns) < 0) {
        return -1;
    }
    return add_text(out, 0x62, ITEM(event, EVENT_NAME));
}

/* --- readings --- */

static int
add_times(Out *out, PyObject *reading)
{
    uint64_t started;
    if (as_unsigned(ITEM(reading, READING_STARTED), &started) < 0 ||
        (started && add_fixed64(out, 0x11, started) < 0)) {
        return -1;
    }
    return add_unsigned(out, 0x19, ITEM(reading, READING_ENDED));
}

static int
write_number_point(Out *out, PyObject *reading)
{
    PyObject *value = ITEM(reading, READING_VALUE);
    if (add_times(out, reading) < 0) {
        return -1;
    }
    int overflow = 1;
    long long n = 0;
    if (PyLong_Check(value)) {
        n = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (n == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    if (overflow ? add_float(out, 0x21, value) < 0 : add_fixed64(out, 0x31, (uint64_t)n) < 0) {
        return -1;
    }
    return add_pairs(out, 0x3a, ITEM(reading, READING_DIMENSIONS));
}

static int
add_extreme(Out *out, uint8_t key, PyObject *value)
{
    return value == Py_None ? 0 : add_float(out, key, value);
}

static PyObject *
as_dict(PyObject *mapping)
{
    if (PyDict_Check(mapping)) {
        return Py_NewRef(mapping);
    }
    PyObject *copy = PyDict_New();
    if (copy != NULL && PyDict_Update(copy, mapping) < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

static int
add_explicit_counts(Out *out, PyObject *buckets, Py_ssize_t bounds)
{
    size_t start;
    if (open_message(out, 0x32, &start) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i <= bounds; i++) {
        PyObject *index = PyLong_FromSsize_t(i);
        if (index == NULL) {
            return -1;
        }
        PyObject *count = PyDict_GetItemWithError(buckets, index); /* borrowed */
        Py_DECREF(index);
        uint64_t n = 0;
        if (count == NULL ? PyErr_Occurred() != NULL : as_unsigned(count, &n) < 0) {
            return -1;
        }
        if (ensure(out, 8) < 0) {
            return -1;
        }
        put_fixed64(out->data + out->size, n);
        out->size += 8;
    }
    return close_message(out, start);
}

static int
add_bounds(Out *out, PyObject *bounds)
{
    size_t start;
    if (open_message(out, 0x3a, &start) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(bounds); i++) {
        double bound;
        uint64_t bits;
        if (as_double(ITEM(bounds, i), &bound) < 0 || ensure(out, 8) < 0) {
            return -1;
        }
        memcpy(&bits, &bound, sizeof bits);
        put_fixed64(out->data + out->size, bits);
        out->size += 8;
    }
    return close_message(out, start);
}

static int
write_histogram_point(Out *out, PyObject *reading)
{
    PyObject *value = ITEM(reading, READING_VALUE);
    PyObject *bounds = ITEM(value, DIST_BOUNDS);
    if (!PyTuple_Check(bounds)) {
        PyErr_SetString(PyExc_TypeError, "bounds are a tuple");
        return -1;
    }
    if (add_times(out, reading) < 0 ||
        add_unsigned(out, 0x21, ITEM(value, DIST_SAMPLES)) < 0 ||
        add_float(out, 0x29, ITEM(value, DIST_TOTAL)) < 0) {
        return -1;
    }
    PyObject *buckets = as_dict(ITEM(value, DIST_BUCKETS));
    if (buckets == NULL) {
        return -1;
    }
    int failed = add_explicit_counts(out, buckets, PyTuple_GET_SIZE(bounds));
    Py_DECREF(buckets);
    if (failed < 0 || add_bounds(out, bounds) < 0 ||
        add_pairs(out, 0x4a, ITEM(reading, READING_DIMENSIONS)) < 0 ||
        add_extreme(out, 0x59, ITEM(value, DIST_MINIMUM)) < 0) {
        return -1;
    }
    return add_extreme(out, 0x61, ITEM(value, DIST_MAXIMUM));
}

/* The least and the greatest index; 0 if they are too far apart to be written densely. */
static int
extent(PyObject *buckets, int64_t *low, int64_t *high)
{
    Py_ssize_t position = 0;
    PyObject *index, *count;
    *low = INT64_MAX;
    *high = INT64_MIN;
    while (PyDict_Next(buckets, &position, &index, &count)) {
        int overflow;
        long long n = PyLong_AsLongLongAndOverflow(index, &overflow);
        if (n == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (overflow || n < INT32_MIN || n > INT32_MAX) {
            return 0;
        }
        *low = n < *low ? n : *low;
        *high = n > *high ? n : *high;
    }
    return *high < *low || *high - *low < DENSE_MAX;
}

static inline uint64_t
zigzag(int64_t n)
{
    return (((uint64_t)n << 1) ^ (uint64_t)(n < 0 ? -1 : 0)) & 0xFFFFFFFF;
}

static int
add_dense(Out *out, PyObject *buckets, int64_t low, int64_t high)
{
    size_t width = (size_t)(high - low + 1), start;
    uint64_t *counts = PyMem_Calloc(width, sizeof *counts);
    if (counts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t position = 0;
    PyObject *index, *count;
    int failed = 0;
    while (!failed && PyDict_Next(buckets, &position, &index, &count)) {
        failed = as_unsigned(count, &counts[PyLong_AsLongLong(index) - low]);
    }
    if (!failed) {
        failed = open_message(out, 0x12, &start);
    }
    if (!failed) {
        failed = ensure(out, width * 10);
    }
    if (!failed) {
        uint8_t *at = out->data + out->size;
        for (size_t i = 0; i < width; i++) {
            at = put_varint(at, counts[i]);
        }
        out->size = (size_t)(at - out->data);
        failed = close_message(out, start);
    }
    PyMem_Free(counts);
    return failed;
}

static int
add_buckets(Out *out, uint8_t key, PyObject *mapping)
{
    PyObject *buckets = as_dict(mapping);
    if (buckets == NULL) {
        return -1;
    }
    int failed = 0;
    if (PyDict_GET_SIZE(buckets)) {
        int64_t low, high;
        size_t start;
        failed = extent(buckets, &low, &high) <= 0 ? -1 : open_message(out, key, &start);
        if (!failed && low) {
            failed = add_varint(out, 0x08, zigzag(low));
        }
        if (!failed) {
            failed = add_dense(out, buckets, low, high);
        }
        if (!failed) {
            failed = close_message(out, start);
        }
    }
    Py_DECREF(buckets);
    return failed;
}

/* The distribution itself, or a coarser one if its buckets lie too far apart. */
static PyObject *
dense_enough(Out *out, PyObject *value)
{
    const int sides[] = {DIST_BUCKETS, DIST_NEGATIVES};
    for (int i = 0; i < 2; i++) {
        PyObject *buckets = as_dict(ITEM(value, sides[i]));
        if (buckets == NULL) {
            return NULL;
        }
        int64_t low, high;
        int fits = extent(buckets, &low, &high);
        Py_DECREF(buckets);
        if (fits < 0) {
            return NULL;
        }
        if (!fits) {
            PyObject *coarser = PyObject_CallOneArg(out->state->dense_enough, value);
            if (coarser != NULL && checked(coarser, DIST_FIELDS, "a Distribution") < 0) {
                Py_CLEAR(coarser);
            }
            return coarser;
        }
    }
    return Py_NewRef(value);
}

static int
add_scale(Out *out, PyObject *scale)
{
    long long n = PyLong_AsLongLong(scale);
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    return n == 0 ? 0 : add_varint(out, 0x30, zigzag(n));
}

static int
write_exponential_point(Out *out, PyObject *reading)
{
    if (add_pairs(out, 0x0a, ITEM(reading, READING_DIMENSIONS)) < 0 ||
        add_times(out, reading) < 0) {
        return -1;
    }
    PyObject *value = dense_enough(out, ITEM(reading, READING_VALUE));
    if (value == NULL) {
        return -1;
    }
    int zeros = PyObject_IsTrue(ITEM(value, DIST_ZEROS));
    int failed =
        zeros < 0 || add_unsigned(out, 0x21, ITEM(value, DIST_SAMPLES)) < 0 ||
        add_float(out, 0x29, ITEM(value, DIST_TOTAL)) < 0 ||
        add_scale(out, ITEM(value, DIST_SCALE)) < 0 ||
        (zeros && add_unsigned(out, 0x39, ITEM(value, DIST_ZEROS)) < 0) ||
        add_buckets(out, 0x42, ITEM(value, DIST_BUCKETS)) < 0 ||
        add_buckets(out, 0x4a, ITEM(value, DIST_NEGATIVES)) < 0 ||
        add_extreme(out, 0x61, ITEM(value, DIST_MINIMUM)) < 0 ||
        add_extreme(out, 0x69, ITEM(value, DIST_MAXIMUM)) < 0;
    Py_DECREF(value);
    return failed ? -1 : 0;
}

static int
is_distribution(Out *out, PyObject *value)
{
    PyTypeObject *type = (PyTypeObject *)out->state->distribution;
    return PyObject_TypeCheck(value, type) && PyTuple_GET_SIZE(value) == DIST_FIELDS;
}

/* A counter of another system may move down; then it is not said to be monotonic. */
static int
is_monotonic(Out *out, PyObject *readings)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(readings); i++) {
        PyObject *value = ITEM(PyList_GET_ITEM(readings, i), READING_VALUE);
        int negative = PyObject_RichCompareBool(value, out->state->zero, Py_LT);
        if (negative) {
            return negative < 0 ? -1 : 0;
        }
    }
    return 1;
}

static int
add_data(Out *out, uint8_t key, PyObject *readings, RowWriter write, int temporality,
         int monotonic)
{
    size_t start;
    if (open_message(out, key, &start) < 0 || add_rows(out, 0x0a, readings, write) < 0 ||
        (temporality && add_varint(out, 0x10, (uint64_t)temporality) < 0) ||
        (monotonic && add_varint(out, 0x18, 1) < 0)) {
        return -1;
    }
    return close_message(out, start);
}

/* One metric of readings that have the same key; the list holds at least one. */
static int
write_metric(Out *out, PyObject *readings)
{
    PyObject *first = PyList_GET_ITEM(readings, 0);
    PyObject *value = ITEM(first, READING_VALUE);
    int cumulative = PyObject_IsTrue(ITEM(first, READING_CUMULATIVE));
    if (cumulative < 0 || add_text(out, 0x0a, ITEM(first, READING_NAME)) < 0 ||
        add_text(out, 0x12, ITEM(first, READING_DESCRIPTION)) < 0 ||
        add_text(out, 0x1a, ITEM(first, READING_UNIT)) < 0) {
        return -1;
    }
    int temporality = cumulative ? 2 : 1;
    if (is_distribution(out, value)) {
        int explicit_bounds = PyObject_IsTrue(ITEM(value, DIST_BOUNDS));
        if (explicit_bounds < 0) {
            return -1;
        }
        return explicit_bounds
            ? add_data(out, 0x4a, readings, write_histogram_point, temporality, 0)
            : add_data(out, 0x52, readings, write_exponential_point, temporality, 0);
    }
    if (ITEM(first, READING_KIND) != out->state->counter) {
        return add_data(out, 0x2a, readings, write_number_point, 0, 0);
    }
    int monotonic = cumulative ? 1 : is_monotonic(out, readings);
    return monotonic < 0
        ? -1
        : add_data(out, 0x3a, readings, write_number_point, temporality, monotonic);
}

static PyObject *
metric_key(Out *out, PyObject *reading)
{
    if (checked(reading, READING_FIELDS, "a Reading") < 0) {
        return NULL;
    }
    PyObject *value = ITEM(reading, READING_VALUE);
    int cumulative = PyObject_IsTrue(ITEM(reading, READING_CUMULATIVE));
    int distribution = is_distribution(out, value);
    int bounds = distribution ? PyObject_IsTrue(ITEM(value, DIST_BOUNDS)) : 0;
    if (cumulative < 0 || bounds < 0) {
        return NULL;
    }
    return PyTuple_Pack(
        8, ITEM(reading, READING_SCOPE), ITEM(reading, READING_NAME),
        ITEM(reading, READING_KIND) == out->state->counter ? Py_True : Py_False,
        ITEM(reading, READING_UNIT), ITEM(reading, READING_DESCRIPTION),
        cumulative ? Py_True : Py_False, distribution ? Py_True : Py_False,
        bounds ? Py_True : Py_False);
}

/* --- requests --- */

/* Append `row` to the list under `key`, keys being in the order of their first row. */
static int
append_under(PyObject *groups, PyObject *key, PyObject *row)
{
    PyObject *list = PyDict_GetItemWithError(groups, key); /* borrowed */
    if (list != NULL) {
        return PyList_Append(list, row);
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    list = PyList_New(0);
    if (list == NULL) {
        return -1;
    }
    int failed = PyDict_SetItem(groups, key, list) < 0 ? -1 : PyList_Append(list, row);
    Py_DECREF(list);
    return failed;
}

static PyObject *
grouped_by_scope(PyObject *rows, Py_ssize_t fields, Py_ssize_t scope, const char *what)
{
    PyObject *groups = PyDict_New();
    PyObject *fast = PySequence_Fast(rows, "rows expected");
    int failed = groups == NULL || fast == NULL;
    for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(fast); i++) {
        PyObject *row = PySequence_Fast_GET_ITEM(fast, i);
        failed = checked(row, fields, what) < 0 || append_under(groups, ITEM(row, scope), row);
    }
    Py_XDECREF(fast);
    if (failed) {
        Py_CLEAR(groups);
    }
    return groups;
}

static PyObject *
grouped_by_metric(Out *out, PyObject *readings)
{
    PyObject *metrics = PyDict_New(), *scopes = PyDict_New(), *fast, *key, *list;
    fast = PySequence_Fast(readings, "readings expected");
    int failed = metrics == NULL || scopes == NULL || fast == NULL;
    for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(fast); i++) {
        PyObject *reading = PySequence_Fast_GET_ITEM(fast, i);
        key = metric_key(out, reading);
        failed = key == NULL || append_under(metrics, key, reading);
        Py_XDECREF(key);
    }
    Py_ssize_t position = 0;
    while (!failed && PyDict_Next(metrics, &position, &key, &list)) {
        failed = append_under(scopes, ITEM(key, 0), list);
    }
    Py_XDECREF(fast);
    Py_XDECREF(metrics);
    if (failed) {
        Py_CLEAR(scopes);
    }
    return scopes;
}

/* Resource and scopes have the same field numbers for all three kinds. */
static int
write_request(Out *out, PyObject *resource, PyObject *scopes, RowWriter write)
{
    size_t all, one, head;
    PyObject *told = PyObject_CallOneArg(out->state->resource_attributes, resource);
    if (told == NULL) {
        return -1;
    }
    int failed = open_message(out, 0x0a, &all) < 0 ||
        add_content(out, 0x0a, PyBytes_AsString(told), (size_t)PyBytes_Size(told)) < 0;
    Py_DECREF(told);
    Py_ssize_t position = 0;
    PyObject *scope, *rows;
    while (!failed && PyDict_Next(scopes, &position, &scope, &rows)) {
        int named = PyObject_IsTrue(scope);
        failed = named < 0 || open_message(out, 0x12, &one) < 0 ||
            (named && (open_message(out, 0x0a, &head) < 0 || add_text(out, 0x0a, scope) < 0 ||
                       close_message(out, head) < 0)) ||
            add_rows(out, 0x12, rows, write) < 0 || close_message(out, one) < 0;
    }
    return failed || close_message(out, all) < 0 ? -1 : 0;
}

static PyObject *
encoded(PyObject *module, PyObject *batch, Py_ssize_t field, RowWriter write)
{
    if (checked(batch, BATCH_FIELDS, "a Batch") < 0) {
        return NULL;
    }
    PyObject *rows = ITEM(batch, field);
    Py_ssize_t length = PyObject_Length(rows);
    if (length <= 0) {
        return length < 0 ? NULL : PyBytes_FromStringAndSize(NULL, 0);
    }
    Out out = {.state = PyModule_GetState(module)};
    PyObject *scopes =
        field == BATCH_READINGS ? grouped_by_metric(&out, rows)
        : field == BATCH_SPANS  ? grouped_by_scope(rows, SPAN_FIELDS, SPAN_SCOPE, "a SpanRecord")
                                : grouped_by_scope(rows, EVENT_FIELDS, EVENT_SCOPE, "an Event");
    if (scopes == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    if (write_request(&out, ITEM(batch, BATCH_RESOURCE), scopes, write) == 0) {
        result = PyBytes_FromStringAndSize((const char *)out.data, (Py_ssize_t)out.size);
    }
    Py_DECREF(scopes);
    PyMem_Free(out.data);
    return result;
}

static PyObject *
encode_traces(PyObject *module, PyObject *batch)
{
    return encoded(module, batch, BATCH_SPANS, write_span);
}

static PyObject *
encode_metrics(PyObject *module, PyObject *batch)
{
    return encoded(module, batch, BATCH_READINGS, write_metric);
}

static PyObject *
encode_logs(PyObject *module, PyObject *batch)
{
    return encoded(module, batch, BATCH_EVENTS, write_log_record);
}

/* --- the module --- */

static PyMethodDef methods[] = {
    {"encode_traces", encode_traces, METH_O,
     "The spans as an ExportTraceServiceRequest; empty if there are none."},
    {"encode_metrics", encode_metrics, METH_O,
     "The readings as an ExportMetricsServiceRequest; empty if there are none."},
    {"encode_logs", encode_logs, METH_O,
     "The events as an ExportLogsServiceRequest; empty if there are none."},
    {NULL, NULL, 0, NULL},
};

static PyObject *
imported(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *found = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return found;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    const char *pure = "nilometer.wire.otlp_pure";
    PyObject *kind = imported("nilometer.model", "Kind");
    if (kind == NULL || nilo_add_sources(module) < 0) {
        Py_XDECREF(kind);
        return -1;
    }
    state->counter = PyObject_GetAttrString(kind, "COUNTER");
    Py_DECREF(kind);
    state->distribution = imported("nilometer.model", "Distribution");
    state->resource_attributes = imported(pure, "resource_attributes");
    state->dense_enough = imported(pure, "dense_enough");
    state->text_of_any = imported("nilometer.wire.attributes", "text_of_any");
    state->zero = PyLong_FromLong(0);
    if (state->distribution != NULL && !PyType_Check(state->distribution)) {
        PyErr_SetString(PyExc_TypeError, "Distribution is a class");
        return -1;
    }
    return state->counter && state->distribution && state->resource_attributes &&
            state->dense_enough && state->text_of_any && state->zero
        ? 0
        : -1;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->distribution);
    Py_VISIT(state->counter);
    Py_VISIT(state->resource_attributes);
    Py_VISIT(state->dense_enough);
    Py_VISIT(state->text_of_any);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->distribution);
    Py_CLEAR(state->counter);
    Py_CLEAR(state->resource_attributes);
    Py_CLEAR(state->dense_enough);
    Py_CLEAR(state->text_of_any);
    Py_CLEAR(state->zero);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.wire._otlp",
    .m_doc = "OTLP out, in C; otlp_pure.py says what it does.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__otlp(void)
{
    return PyModuleDef_Init(&definition);
}
