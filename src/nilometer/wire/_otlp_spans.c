/* Spans out of the bytes of an export request: the twin of otlp_spans_pure.py.

   One walk over the bytes makes the rows; no message stands between. What is rare (a resource,
   groups, fields told twice, values nested deep, whatever is new or broken) is not for this
   file: then nothing of the walk is kept, and the specification decodes the same bytes anew.
   So this file must know all that it takes, and nothing of what it does not; a body is refused
   by protobuf's parser alone, in its words. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "sources.h"

enum { ROW_SPAN, ROW_EVENT, ROW_LINK, ROW_TYPES };
enum { SPAN_FIELDS = 13, EVENT_FIELDS = 8, LINK_FIELDS = 3 };
enum { REFUSED_TRACE, REFUSED_SPAN, REFUSED_PARENT, REFUSED_TIME, REASONS };

static const char *const reasons[REASONS] = {"trace-id", "span-id", "parent-id", "time"};

typedef struct {
    PyTypeObject *types[ROW_TYPES];
    PyObject *kinds;      /* a tuple of all, by their numbers */
    PyObject *statuses;
    PyObject *severity;   /* what an Event has that says none */
    PyObject *osprofiler; /* the scope whose spans `understood` puts in our words */
    PyObject *understood;
    PyObject *json_text;  /* of a value that is nested */
    PyObject *base64_text;
    PyObject *null_text;  /* of a value that is none */
    PyObject *no_text;
    PyObject *no_bytes;
    PyObject *no_rows;
    Py_ssize_t messages_max;
} State;

/* A part of the body. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} Bytes;

/* A text as it was last made of these bytes; most keys and names come again and again. */
typedef struct {
    Bytes bytes;
    PyObject *text;
} Made;

#define MADE_BITS 8
#define MADE_BYTES_MAX 40 /* longer texts rarely come again */

typedef struct {
    State *state;
    int strange; /* this body is for the specification */
    Py_ssize_t messages_left;
    Py_ssize_t rows_left;
    Py_ssize_t refused[REASONS];
    PyObject *found;    /* a list of resources' bytes and their spans */
    PyObject *spans;    /* of this resource, borrowed */
    PyObject *scope;    /* of this scope, borrowed */
    int of_osprofiler;
    PyObject *trace_id; /* the last one made; spans of a trace come together */
    Made names[1 << MADE_BITS];
    Made values[1 << MADE_BITS];
} In;

/* Leave the body to the specification. */
static int
strange(In *in)
{
    in->strange = 1;
    return -1;
}

/* --- protobuf --- */

enum { VARINT, FIXED64, LENGTH, FIXED32 = 5 };

typedef struct {
    uint32_t tag;
    uint64_t number; /* of a varint or fixed field */
    Bytes content;   /* of any other */
} Field;

static inline size_t
length_of(Bytes bytes)
{
    return (size_t)(bytes.end - bytes.at);
}

static int
read_varint(In *in, Bytes *from, uint64_t *number)
{
    *number = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (from->at == from->end) {
            return strange(in);
        }
        uint64_t byte = *from->at++;
        if (shift == 63 && byte > 1) {
            return strange(in); /* beyond 64 bits */
        }
        *number |= (byte & 127) << shift;
        if (byte < 128) {
            return 0;
        }
    }
    return strange(in);
}

static int
read_fixed(In *in, Bytes *from, int size, uint64_t *number)
{
    if (length_of(*from) < (size_t)size) {
        return strange(in);
    }
    *number = 0;
    for (int i = 0; i < size; i++) {
        *number |= (uint64_t)from->at[i] << (8 * i);
    }
    from->at += size;
    return 0;
}

/* Lengths in four bytes at most, 256 MiB: of longer ones parsers take some and refuse others. */
static int
read_content(In *in, Bytes *from, Bytes *content)
{
    size_t size = 0;
    int shift = 0;
    do {
        if (from->at == from->end || shift == 28) {
            return strange(in);
        }
        size |= (size_t)(*from->at & 127) << shift;
        shift += 7;
    } while (*from->at++ >= 128);
    if (size > length_of(*from)) {
        return strange(in);
    }
    content->at = from->at;
    content->end = from->at += size;
    return 0;
}

/* 1 and the next field of a message, 0 at its end; tags of up to 14 bits, and no groups. */
static inline int
next_field(In *in, Bytes *from, Field *field)
{
    if (from->at == from->end) {
        return 0;
    }
    uint32_t tag = *from->at++;
    if (tag >= 128) {
        if (from->at == from->end || *from->at >= 128) {
            return strange(in);
        }
        tag = (tag & 127) | (uint32_t)*from->at++ << 7;
    }
    field->tag = tag;
    if (tag >> 3 == 0) {
        return strange(in);
    }
    int failed;
    switch (tag & 7) {
    case LENGTH:
        failed = read_content(in, from, &field->content);
        break;
    case FIXED64:
        failed = read_fixed(in, from, 8, &field->number);
        break;
    case VARINT:
        failed = read_varint(in, from, &field->number);
        break;
    case FIXED32:
        failed = read_fixed(in, from, 4, &field->number);
        break;
    default:
        failed = strange(in);
    }
    return failed ? -1 : 1;
}

/* A field that no row needs: a number is right whatever it is, while only who knows the field
 * can say whether its content is. */
static int
pass_over(In *in, const Field *field)
{
    return (field->tag & 7) == LENGTH ? strange(in) : 0;
}

/* Each message is counted, as otlp_count does it. */
static inline int
count_message(In *in)
{
    return --in->messages_left < 0 ? strange(in) : 0;
}

/* --- texts and values --- */

static PyObject *
new_text(In *in, Bytes bytes)
{
    PyObject *text =
        PyUnicode_DecodeUTF8((const char *)bytes.at, (Py_ssize_t)length_of(bytes), NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        strange(in);
    }
    return text;
}

/* Where a text of at least one byte has its place: by its length, first and last eight bytes. */
static inline size_t
place_of(Bytes bytes)
{
    size_t length = length_of(bytes), known = length < 8 ? length : 8;
    uint64_t first = 0, last = 0;
    memcpy(&first, bytes.at, known);
    memcpy(&last, bytes.end - known, known);
    uint64_t mixed = (first ^ (last << 29 | last >> 35) ^ length) * 0x9e3779b97f4a7c15u;
    return (size_t)(mixed >> (64 - MADE_BITS));
}

static PyObject *
text_of(In *in, Bytes bytes, Made *made)
{
    size_t length = length_of(bytes);
    if (length == 0) {
        return Py_NewRef(in->state->no_text);
    }
    if (length > MADE_BYTES_MAX) {
        return new_text(in, bytes);
    }
    Made *place = &made[place_of(bytes)];
    if (place->text != NULL && length_of(place->bytes) == length &&
        memcmp(place->bytes.at, bytes.at, length) == 0) {
        return Py_NewRef(place->text);
    }
    PyObject *text = new_text(in, bytes);
    if (text != NULL) {
        Py_XSETREF(place->text, Py_NewRef(text));
        place->bytes = bytes;
    }
    return text;
}

/* The text of a field into `*text`; one that is told twice is strange. */
static int
take_text(In *in, Bytes bytes, Made *made, PyObject **text)
{
    if (*text != NULL) {
        return strange(in);
    }
    *text = text_of(in, bytes, made);
    return *text == NULL ? -1 : 0;
}

/* A text that nobody needs, but UTF-8 it must be. */
static int
check_text(In *in, Bytes bytes)
{
    PyObject *text = new_text(in, bytes);
    Py_XDECREF(text);
    return text == NULL ? -1 : 0;
}

static PyObject *
new_bytes(Bytes bytes)
{
    return PyBytes_FromStringAndSize((const char *)bytes.at, (Py_ssize_t)length_of(bytes));
}

static PyObject *
new_float(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return PyFloat_FromDouble(value);
}

#define NESTED_MAX 16 /* values within values; protobuf allows more, what it allows varies */

static int take_pair(In *in, Bytes from, PyObject *pairs, int depth);

static int
append_owned(PyObject *list, PyObject *item)
{
    int failed = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return failed;
}

static PyObject *value_within(In *in, Bytes from, int depth, int *plain);

/* An ArrayValue as a list, or a KeyValueList as a dict. */
static PyObject *
several(In *in, Bytes from, int depth, int pairs)
{
    PyObject *made = pairs ? PyDict_New() : PyList_New(0);
    Field field;
    int more = made == NULL ? -1 : 0, plain;
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        if (field.tag != (1 << 3 | LENGTH)) {
            more = pass_over(in, &field);
        }
        else if (pairs) {
            more = take_pair(in, field.content, made, depth + 1);
        }
        else {
            PyObject *item = value_within(in, field.content, depth + 1, &plain);
            more = append_owned(made, item);
        }
    }
    if (more < 0) {
        Py_CLEAR(made);
    }
    return made;
}

/* An AnyValue as Python's JSON knows it; `plain` if it is as attributes hold it. */
static PyObject *
value_within(In *in, Bytes from, int depth, int *plain)
{
    Field field;
    int more = next_field(in, &from, &field);
    *plain = 0;
    if (more == 0) {
        return Py_NewRef(Py_None);
    }
    if (more < 0 || from.at != from.end || depth > NESTED_MAX) {
        strange(in); /* one after another would replace it, or be merged into it */
        return NULL;
    }
    *plain = 1;
    switch (field.tag) {
    case 1 << 3 | LENGTH:
        return text_of(in, field.content, in->values);
    case 2 << 3 | VARINT:
        return PyBool_FromLong(field.number != 0);
    case 3 << 3 | VARINT:
        return PyLong_FromLongLong((long long)field.number);
    case 4 << 3 | FIXED64:
        return new_float(field.number);
    }
    *plain = 0;
    PyObject *made = NULL, *content;
    switch (field.tag) {
    case 5 << 3 | LENGTH:
        return several(in, field.content, depth, 0);
    case 6 << 3 | LENGTH:
        return several(in, field.content, depth, 1);
    case 7 << 3 | LENGTH:
        content = new_bytes(field.content);
        if (content != NULL) {
            made = PyObject_CallOneArg(in->state->base64_text, content);
            Py_DECREF(content);
        }
        return made;
    }
    strange(in);
    return NULL;
}

/* The value of an attribute: what is no single value is told as JSON text. */
static PyObject *
attribute_value(In *in, Bytes from)
{
    int plain;
    PyObject *value = value_within(in, from, 0, &plain);
    if (value == NULL || plain) {
        return value;
    }
    PyObject *text = value == Py_None ? Py_NewRef(in->state->null_text)
                                      : PyObject_CallOneArg(in->state->json_text, value);
    Py_DECREF(value);
    return text;
}

/* A KeyValue into a dict; at depth 0 it is an attribute, else within a value. */
static int
take_pair(In *in, Bytes from, PyObject *pairs, int depth)
{
    PyObject *key = NULL, *value = NULL;
    Field field;
    int more, plain;
    while ((more = next_field(in, &from, &field)) > 0) {
        if (field.tag == (1 << 3 | LENGTH)) {
            more = take_text(in, field.content, in->names, &key);
        }
        else if (field.tag == (2 << 3 | LENGTH) && value == NULL) {
            value = depth == 0 ? attribute_value(in, field.content)
                               : value_within(in, field.content, depth, &plain);
            more = value == NULL ? -1 : 0;
        }
        else {
            more = pass_over(in, &field);
        }
        if (more < 0) {
            break;
        }
    }
    if (more == 0) {
        more = PyDict_SetItem(
            pairs, key != NULL ? key : in->state->no_text,
            value != NULL ? value : (depth == 0 ? in->state->null_text : Py_None));
    }
    Py_XDECREF(key);
    Py_XDECREF(value);
    return more;
}

static int
take_attribute(In *in, Bytes from, PyObject *attributes)
{
    return count_message(in) < 0 ? -1 : take_pair(in, from, attributes, 0);
}

/* --- rows --- */

/* A row of these fields, whose references it takes; any of them may be NULL with an error.
 * The garbage collector is not to walk it: nothing in it can lead back to it, and the walks
 * over thousands of rows would take as long as making them. */
static PyObject *
new_row(In *in, int kind, PyObject *const *fields, Py_ssize_t count)
{
    PyTypeObject *type = in->state->types[kind];
    int complete = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        complete &= fields[i] != NULL;
    }
    PyObject *row = complete ? type->tp_alloc(type, count) : NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (row != NULL) {
            PyTuple_SET_ITEM(row, i, fields[i]);
        }
        else {
            Py_XDECREF(fields[i]);
        }
    }
    if (row != NULL) {
        PyObject_GC_UnTrack(row);
    }
    return row;
}

static int
is_id(Bytes bytes, size_t length)
{
    static const uint8_t zeros[16];
    return length_of(bytes) == length && memcmp(bytes.at, zeros, length) != 0;
}

static PyObject *
trace_id_of(In *in, Bytes bytes)
{
    if (in->trace_id == NULL || memcmp(PyBytes_AS_STRING(in->trace_id), bytes.at, 16) != 0) {
        Py_XSETREF(in->trace_id, new_bytes(bytes));
    }
    return Py_XNewRef(in->trace_id);
}

static PyObject *
text_or_none(In *in, PyObject *text)
{
    return Py_NewRef(text != NULL ? text : in->state->no_text);
}

static int
take_event(In *in, Bytes from, PyObject **events)
{
    PyObject *name = NULL, *attributes = PyDict_New();
    uint64_t at_ns = 0;
    Field field;
    int more = attributes == NULL ? -1 : count_message(in);
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        switch (field.tag) {
        case 1 << 3 | FIXED64:
            at_ns = field.number;
            break;
        case 2 << 3 | LENGTH:
            more = take_text(in, field.content, in->names, &name);
            break;
        case 3 << 3 | LENGTH:
            more = take_attribute(in, field.content, attributes);
            break;
        default:
            more = pass_over(in, &field);
        }
    }
    if (more == 0) {
        State *state = in->state;
        PyObject *fields[EVENT_FIELDS] = {
            text_or_none(in, name),
            PyLong_FromUnsignedLongLong(at_ns > INT64_MAX ? INT64_MAX : at_ns),
            Py_NewRef(attributes),
            Py_NewRef(state->no_bytes),
            Py_NewRef(state->no_bytes),
            Py_NewRef(state->severity),
            Py_NewRef(state->no_text),
            Py_NewRef(state->no_text),
        };
        PyObject *event = new_row(in, ROW_EVENT, fields, EVENT_FIELDS);
        more = *events != NULL || (*events = PyList_New(0)) != NULL ? 0 : -1;
        more = more < 0 ? more : append_owned(*events, Py_XNewRef(event));
        Py_XDECREF(event);
    }
    Py_XDECREF(name);
    Py_XDECREF(attributes);
    return more;
}

static int
take_link(In *in, Bytes from, PyObject **links)
{
    PyObject *attributes = PyDict_New();
    Bytes trace_id = {0}, span_id = {0};
    Field field;
    int more = attributes == NULL ? -1 : count_message(in);
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        switch (field.tag) {
        case 1 << 3 | LENGTH:
            trace_id = field.content;
            break;
        case 2 << 3 | LENGTH:
            span_id = field.content;
            break;
        case 3 << 3 | LENGTH:
            more = check_text(in, field.content);
            break;
        case 4 << 3 | LENGTH:
            more = take_attribute(in, field.content, attributes);
            break;
        default:
            more = pass_over(in, &field);
        }
    }
    if (more == 0 && is_id(trace_id, 16) && is_id(span_id, 8)) {
        PyObject *fields[LINK_FIELDS] = {
            new_bytes(trace_id), new_bytes(span_id), Py_NewRef(attributes)};
        PyObject *link = new_row(in, ROW_LINK, fields, LINK_FIELDS);
        more = *links != NULL || (*links = PyList_New(0)) != NULL ? 0 : -1;
        more = more < 0 ? more : append_owned(*links, Py_XNewRef(link));
        Py_XDECREF(link);
    }
    Py_XDECREF(attributes);
    return more;
}

/* What a span's message holds, before it is known whether it is a span. */
typedef struct {
    Bytes trace_id, span_id, parent_id;
    uint64_t kind, started_ns, ended_ns, status;
    PyObject *name, *message, *attributes, *events, *links;
} Span;

static int
take_status(In *in, Bytes from, Span *span)
{
    Field field;
    int more = count_message(in); /* one told twice is merged: the later number, one text */
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        switch (field.tag) {
        case 2 << 3 | LENGTH:
            more = take_text(in, field.content, in->values, &span->message);
            break;
        case 3 << 3 | VARINT:
            span->status = field.number;
            break;
        default:
            more = pass_over(in, &field);
        }
    }
    return more;
}

static int
take_span_field(In *in, const Field *field, Span *span)
{
    switch (field->tag) {
    case 1 << 3 | LENGTH:
        span->trace_id = field->content;
        return 0;
    case 2 << 3 | LENGTH:
        span->span_id = field->content;
        return 0;
    case 3 << 3 | LENGTH:
        return check_text(in, field->content);
    case 4 << 3 | LENGTH:
        span->parent_id = field->content;
        return 0;
    case 5 << 3 | LENGTH:
        return take_text(in, field->content, in->names, &span->name);
    case 6 << 3 | VARINT:
        span->kind = field->number;
        return 0;
    case 7 << 3 | FIXED64:
        span->started_ns = field->number;
        return 0;
    case 8 << 3 | FIXED64:
        span->ended_ns = field->number;
        return 0;
    case 9 << 3 | LENGTH:
        return take_attribute(in, field->content, span->attributes);
    case 11 << 3 | LENGTH:
        return take_event(in, field->content, &span->events);
    case 13 << 3 | LENGTH:
        return take_link(in, field->content, &span->links);
    case 15 << 3 | LENGTH:
        return take_status(in, field->content, span);
    default:
        return pass_over(in, field);
    }
}

/* Why it is none, as otlp_traces_in says it; REASONS if it is one. */
static int
refusal(const Span *span)
{
    size_t parent = length_of(span->parent_id);
    return !is_id(span->trace_id, 16)                                ? REFUSED_TRACE
        : !is_id(span->span_id, 8)                                   ? REFUSED_SPAN
        : parent != 0 && parent != 8                                 ? REFUSED_PARENT
        : span->started_ns > INT64_MAX || span->ended_ns > INT64_MAX ? REFUSED_TIME
                                                                     : REASONS;
}

/* The member with that number, of which protobuf keeps 32 bits, or else the first. */
static PyObject *
member(PyObject *members, uint64_t number)
{
    uint32_t kept = (uint32_t)number;
    Py_ssize_t index = kept < (size_t)PyTuple_GET_SIZE(members) ? (Py_ssize_t)kept : 0;
    return Py_NewRef(PyTuple_GET_ITEM(members, index));
}

static PyObject *
rows_of(In *in, PyObject *list)
{
    return list == NULL ? Py_NewRef(in->state->no_rows) : PyList_AsTuple(list);
}

static PyObject *
span_record(In *in, const Span *span)
{
    State *state = in->state;
    PyObject *fields[SPAN_FIELDS] = {
        trace_id_of(in, span->trace_id),
        new_bytes(span->span_id),
        is_id(span->parent_id, 8) ? new_bytes(span->parent_id) : Py_NewRef(state->no_bytes),
        text_or_none(in, span->name),
        member(state->kinds, span->kind),
        PyLong_FromUnsignedLongLong(span->started_ns),
        PyLong_FromUnsignedLongLong(span->ended_ns),
        Py_NewRef(span->attributes),
        member(state->statuses, span->status),
        text_or_none(in, span->message),
        rows_of(in, span->events),
        rows_of(in, span->links),
        Py_NewRef(in->scope),
    };
    PyObject *record = new_row(in, ROW_SPAN, fields, SPAN_FIELDS);
    if (record == NULL || !in->of_osprofiler) {
        return record;
    }
    PyObject *understood = PyObject_CallOneArg(state->understood, record);
    Py_DECREF(record);
    return understood;
}

static int
take_span(In *in, Bytes from)
{
    Span span = {.attributes = PyDict_New()};
    Field field;
    int more = span.attributes == NULL ? -1 : count_message(in);
    if (--in->rows_left < 0) {
        more = strange(in);
    }
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        more = take_span_field(in, &field, &span);
    }
    if (more == 0) {
        int reason = refusal(&span);
        if (reason == REASONS) {
            more = append_owned(in->spans, span_record(in, &span));
        }
        else {
            in->refused[reason]++;
        }
    }
    Py_XDECREF(span.name);
    Py_XDECREF(span.message);
    Py_XDECREF(span.attributes);
    Py_XDECREF(span.events);
    Py_XDECREF(span.links);
    return more;
}

/* --- scopes and resources --- */

/* The name of an InstrumentationScope; whatever else it tells is only checked. */
static int
take_scope(In *in, Bytes from, PyObject **name)
{
    PyObject *attributes = PyDict_New();
    Field field;
    int more = attributes == NULL ? -1 : count_message(in);
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        switch (field.tag) {
        case 1 << 3 | LENGTH:
            more = take_text(in, field.content, in->names, name);
            break;
        case 2 << 3 | LENGTH:
            more = check_text(in, field.content);
            break;
        case 3 << 3 | LENGTH:
            more = take_attribute(in, field.content, attributes);
            break;
        default:
            more = pass_over(in, &field);
        }
    }
    Py_XDECREF(attributes);
    return more;
}

static int
take_scope_spans(In *in, Bytes from)
{
    PyObject *name = NULL;
    Field field;
    int more = count_message(in), scopes = 0, spans = 0;
    in->scope = in->state->no_text;
    in->of_osprofiler = 0;
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        switch (field.tag) {
        case 1 << 3 | LENGTH: /* the scope is known before its spans are */
            more = scopes++ || spans ? strange(in) : take_scope(in, field.content, &name);
            if (more == 0 && name != NULL) {
                in->scope = name;
                in->of_osprofiler = PyUnicode_Compare(name, in->state->osprofiler) == 0;
            }
            break;
        case 2 << 3 | LENGTH:
            spans = 1;
            more = take_span(in, field.content);
            break;
        case 3 << 3 | LENGTH:
            more = check_text(in, field.content);
            break;
        default:
            more = pass_over(in, &field);
        }
    }
    Py_XDECREF(name);
    return more;
}

static uint8_t *
put_size(uint8_t *at, size_t size)
{
    while (size >= 128) {
        *at++ = (uint8_t)(size & 127) | 128;
        size >>= 7;
    }
    *at++ = (uint8_t)size;
    return at;
}

/* A request that holds this resource and nothing else: so it stands as deep as it did. */
static PyObject *
request_of(Bytes resource)
{
    uint8_t inner[11], outer[11];
    size_t size = length_of(resource);
    uint8_t *inner_end = put_size(inner + 1, size);
    size_t inner_size = (size_t)(inner_end - inner);
    inner[0] = outer[0] = 1 << 3 | LENGTH;
    size_t outer_size = (size_t)(put_size(outer + 1, inner_size + size) - outer);
    size_t whole = outer_size + inner_size + size;
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)whole);
    if (made != NULL) {
        char *at = PyBytes_AS_STRING(made);
        memcpy(at, outer, outer_size);
        memcpy(at + outer_size, inner, inner_size);
        if (size > 0) {
            memcpy(at + outer_size + inner_size, resource.at, size);
        }
    }
    return made;
}

static int
take_resource_spans(In *in, Bytes from)
{
    PyObject *spans = PyList_New(0);
    Bytes resource = {0};
    Field field;
    int more = spans == NULL ? -1 : count_message(in), resources = 0;
    in->spans = spans;
    while (more >= 0 && (more = next_field(in, &from, &field)) > 0) {
        switch (field.tag) {
        case 1 << 3 | LENGTH:
            resource = field.content;
            in->messages_left -= (Py_ssize_t)length_of(resource) / 2; /* as many as may be */
            more = resources++ ? strange(in) : count_message(in);
            break;
        case 2 << 3 | LENGTH:
            more = take_scope_spans(in, field.content);
            break;
        case 3 << 3 | LENGTH:
            more = check_text(in, field.content);
            break;
        default:
            more = pass_over(in, &field);
        }
    }
    if (more == 0) {
        PyObject *request = request_of(resource);
        PyObject *both = request == NULL ? NULL : PyTuple_Pack(2, request, spans);
        Py_XDECREF(request);
        more = append_owned(in->found, both);
    }
    Py_XDECREF(spans);
    return more;
}

static int
take_request(In *in, Bytes from)
{
    Field field;
    int more;
    while ((more = next_field(in, &from, &field)) > 0) {
        more = field.tag == (1 << 3 | LENGTH) ? take_resource_spans(in, field.content)
                                              : pass_over(in, &field);
        if (more < 0) {
            break;
        }
    }
    return more;
}

/* --- the whole --- */

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

static Py_ssize_t
imported_number(const char *module_name, const char *name)
{
    PyObject *found = imported(module_name, name);
    Py_ssize_t number = found == NULL ? -1 : PyLong_AsSsize_t(found);
    Py_XDECREF(found);
    return number;
}

static PyObject *
refusals(const In *in)
{
    PyObject *counts = PyDict_New();
    for (int i = 0; counts != NULL && i < REASONS; i++) {
        if (in->refused[i] == 0) {
            continue;
        }
        PyObject *count = PyLong_FromSsize_t(in->refused[i]);
        if (count == NULL || PyDict_SetItemString(counts, reasons[i], count) < 0) {
            Py_CLEAR(counts);
        }
        Py_XDECREF(count);
    }
    return counts;
}

/* Asked for only here: what it imports is heavy, and nobody needs it who only has the module. */
#define PURE "nilometer.wire.otlp_spans_pure"

static PyObject *
gathered(const In *in, PyObject *body)
{
    PyObject *gather = imported(PURE, "gathered"), *counts = refusals(in), *result = NULL;
    if (gather != NULL && counts != NULL) {
        result = PyObject_CallFunctionObjArgs(gather, body, in->found, counts, NULL);
    }
    Py_XDECREF(gather);
    Py_XDECREF(counts);
    return result;
}

static PyObject *
decoded_by_specification(PyObject *body)
{
    PyObject *decode = imported(PURE, "decode");
    PyObject *result = decode == NULL ? NULL : PyObject_CallOneArg(decode, body);
    Py_XDECREF(decode);
    return result;
}

static void
drop(In *in)
{
    Py_CLEAR(in->found);
    Py_CLEAR(in->trace_id);
    for (size_t i = 0; i < 1 << MADE_BITS; i++) {
        Py_XDECREF(in->names[i].text);
        Py_XDECREF(in->values[i].text);
    }
}

static PyObject *
decode(PyObject *module, PyObject *body)
{
    State *state = PyModule_GetState(module);
    if (!PyBytes_Check(body)) {
        return decoded_by_specification(body);
    }
    In in = {.state = state, .messages_left = state->messages_max};
    in.rows_left = imported_number("nilometer.wire.otlp_values", "ROWS_MAX");
    in.found = in.rows_left < 0 ? NULL : PyList_New(0);
    if (in.found == NULL) {
        return NULL;
    }
    const uint8_t *start = (const uint8_t *)PyBytes_AS_STRING(body);
    int failed = take_request(&in, (Bytes){start, start + PyBytes_GET_SIZE(body)});
    PyObject *result = failed ? NULL : gathered(&in, body);
    drop(&in);
    /* Only now: what was made so far would be in memory beside what is made anew. */
    return failed && !PyErr_Occurred() ? decoded_by_specification(body) : result;
}

/* --- the module --- */

static PyMethodDef methods[] = {
    {"decode", decode, METH_O,
     "What an ExportTraceServiceRequest holds; WireError too-large or malformed."},
    {NULL, NULL, 0, NULL},
};

/* The class of a row, made sure to be a tuple of so many fields. */
static PyTypeObject *
row_type(const char *name, Py_ssize_t fields)
{
    PyObject *found = imported("nilometer.model", name);
    if (found == NULL) {
        return NULL;
    }
    PyObject *names = PyObject_GetAttrString(found, "_fields");
    PyTypeObject *type = (PyTypeObject *)found;
    if (names == NULL || PyObject_Length(names) != fields || !PyType_Check(found) ||
        !PyType_IsSubtype(type, &PyTuple_Type) ||
        type->tp_basicsize != PyTuple_Type.tp_basicsize) {
        PyErr_Format(PyExc_TypeError, "%s is not the tuple that was known", name);
        Py_CLEAR(found);
    }
    Py_XDECREF(names);
    return (PyTypeObject *)found;
}

static PyObject *
members(const char *name)
{
    PyObject *found = imported("nilometer.model", name);
    PyObject *all = found == NULL ? NULL : PySequence_Tuple(found);
    Py_XDECREF(found);
    return all;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    const char *values = "nilometer.wire.otlp_values";
    const char *osprofiler = "nilometer.wire.osprofiler_otlp";
    if (nilo_add_sources(module) < 0 ||
        !(state->types[ROW_SPAN] = row_type("SpanRecord", SPAN_FIELDS)) ||
        !(state->types[ROW_EVENT] = row_type("Event", EVENT_FIELDS)) ||
        !(state->types[ROW_LINK] = row_type("Link", LINK_FIELDS)) ||
        !(state->kinds = members("SpanKind")) || !(state->statuses = members("Status")) ||
        !(state->severity = imported("nilometer.model.event", "INFO")) ||
        !(state->osprofiler = imported(osprofiler, "SCOPE")) ||
        !(state->understood = imported(osprofiler, "understood")) ||
        !(state->json_text = imported(values, "json_text")) ||
        !(state->base64_text = imported(values, "base64_text")) ||
        !(state->null_text = PyUnicode_FromString("null")) ||
        !(state->no_text = PyUnicode_FromString("")) ||
        !(state->no_bytes = PyBytes_FromStringAndSize(NULL, 0)) ||
        !(state->no_rows = PyTuple_New(0))) {
        return -1;
    }
    state->messages_max = imported_number("nilometer.wire.otlp_count", "MESSAGES_MAX");
    return state->messages_max < 0 ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    for (int i = 0; i < ROW_TYPES; i++) {
        Py_VISIT(state->types[i]);
    }
    Py_VISIT(state->kinds);
    Py_VISIT(state->statuses);
    Py_VISIT(state->understood);
    Py_VISIT(state->json_text);
    Py_VISIT(state->base64_text);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    for (int i = 0; i < ROW_TYPES; i++) {
        Py_CLEAR(state->types[i]);
    }
    Py_CLEAR(state->kinds);
    Py_CLEAR(state->statuses);
    Py_CLEAR(state->severity);
    Py_CLEAR(state->osprofiler);
    Py_CLEAR(state->understood);
    Py_CLEAR(state->json_text);
    Py_CLEAR(state->base64_text);
    Py_CLEAR(state->null_text);
    Py_CLEAR(state->no_text);
    Py_CLEAR(state->no_bytes);
    Py_CLEAR(state->no_rows);
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
    .m_name = "nilometer.wire._otlp_spans",
    .m_doc = "Spans of OTLP in, in C; otlp_spans_pure.py says what it does.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__otlp_spans(void)
{
    return PyModuleDef_Init(&definition);
}
