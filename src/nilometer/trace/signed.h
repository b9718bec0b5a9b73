/* A signed traceparent as it nearly always comes: the C twin of signed_pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_SIGNED_H
#define NILOMETER_TRACE_SIGNED_H

#include "trace/info.h"

#define PARENT_CHARS 55
#define SIGNED_BEFORE "nilo=1;"
#define SIGNED_BEFORE_CHARS ((int)sizeof(SIGNED_BEFORE) - 1)
#define EXPIRY_DIGITS_MAX 12
#define NONCE_CHARS 32
#define MAC_CHARS 64
/* "nilo=1\n", the traceparent, "\n", the expiry, "\n", the nonce */
#define MESSAGE_BYTES_MAX (7 + PARENT_CHARS + 1 + EXPIRY_DIGITS_MAX + 1 + NONCE_CHARS)

/* Lower-case hexadecimal digits as bytes; -1 if one is anything else. */
static int
read_hex(const unsigned char *from, unsigned char *to, int bytes)
{
    for (int i = 0; i < bytes; i++, from += 2) {
        unsigned char high = four_bits[from[0]], low = four_bits[from[1]];
        if (high == NO_DIGIT || low == NO_DIGIT || (from[0] >= 'A' && from[0] <= 'F') ||
            (from[1] >= 'A' && from[1] <= 'F'))
            return -1;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return 0;
}

/* The number that so many digits are; -1 if one is none. */
static int64_t
read_digits(const unsigned char *from, Py_ssize_t digits)
{
    int64_t number = 0;

    for (Py_ssize_t i = 0; i < digits; i++) {
        if (from[i] < '0' || from[i] > '9')
            return -1;
        number = number * 10 + (from[i] - '0');
    }
    return number;
}

static const unsigned char *
ascii_of(PyObject *text)
{
    int is_plain = PyUnicode_IS_READY(text) && PyUnicode_IS_ASCII(text);
    return is_plain ? PyUnicode_1BYTE_DATA(text) : NULL;
}

static PyObject *
message_of(const unsigned char *parent, const unsigned char *expiry, Py_ssize_t digits)
{
    char message[MESSAGE_BYTES_MAX], *to = message;

    memcpy(to, SIGNED_BEFORE, SIGNED_BEFORE_CHARS - 1);
    to += SIGNED_BEFORE_CHARS - 1;
    *to++ = '\n';
    memcpy(to, parent, PARENT_CHARS);
    to += PARENT_CHARS;
    *to++ = '\n';
    memcpy(to, expiry, (size_t)digits);
    to += digits;
    *to++ = '\n';
    memcpy(to, expiry + digits + 1, NONCE_CHARS);
    to += NONCE_CHARS;
    return PyBytes_FromStringAndSize(message, to - message);
}

/* A tuple of these, whose references it takes; NULL if one of them is. */
static PyObject *
tuple_of(PyObject *const *items, Py_ssize_t size)
{
    PyObject *tuple = PyTuple_New(size);
    int failed = tuple == NULL;

    for (Py_ssize_t i = 0; i < size; i++) {
        failed |= items[i] == NULL;
        if (tuple == NULL)
            Py_XDECREF(items[i]);
        else
            PyTuple_SET_ITEM(tuple, i, items[i]);
    }
    if (failed)
        Py_CLEAR(tuple);
    return tuple;
}

static PyObject *
core_signed_parts(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    unsigned char trace_id[16], parent_id[8], flags, ignored[MAC_CHARS / 2];

    if (given != 2 || !PyUnicode_Check(args[0]) || !PyUnicode_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "a traceparent and a tracestate are texts");
        return NULL;
    }
    const unsigned char *parent = ascii_of(args[0]), *state = ascii_of(args[1]);
    Py_ssize_t digits = PyUnicode_GET_LENGTH(args[1]) -
                        (SIGNED_BEFORE_CHARS + 1 + NONCE_CHARS + 1 + MAC_CHARS);
    if (parent == NULL || PyUnicode_GET_LENGTH(args[0]) != PARENT_CHARS ||
        memcmp(parent, "00-", 3) != 0 || parent[35] != '-' || parent[52] != '-' ||
        read_hex(parent + 3, trace_id, 16) < 0 || read_hex(parent + 36, parent_id, 8) < 0 ||
        read_hex(parent + 53, &flags, 1) < 0)
        Py_RETURN_NONE;
    if (state == NULL || digits < 1 || digits > EXPIRY_DIGITS_MAX ||
        memcmp(state, SIGNED_BEFORE, SIGNED_BEFORE_CHARS) != 0)
        Py_RETURN_NONE;
    const unsigned char *expiry = state + SIGNED_BEFORE_CHARS, *nonce = expiry + digits + 1;
    const unsigned char *mac = nonce + NONCE_CHARS + 1;
    int64_t expiry_s = read_digits(expiry, digits);
    if (expiry_s < 0 || nonce[-1] != ';' || mac[-1] != ';' ||
        read_hex(nonce, ignored, NONCE_CHARS / 2) < 0 ||
        read_hex(mac, ignored, MAC_CHARS / 2) < 0)
        Py_RETURN_NONE;
    uint64_t first = number_of(trace_id), last = number_of(trace_id + 8);
    uint64_t sender = number_of(parent_id);
    if ((first | last) == 0 || sender == 0)
        Py_RETURN_NONE;
    PyObject *parts[] = {
        PyBytes_FromStringAndSize((char *)trace_id, sizeof(trace_id)),
        sender == last ? Py_NewRef(core.empty_bytes) : bytes_of(sender),
        PyBool_FromLong(flags & 1),
        PyLong_FromLongLong(expiry_s),
        ascii_text((const char *)nonce, NONCE_CHARS),
        ascii_text((const char *)mac, MAC_CHARS),
        message_of(parent, expiry, digits),
    };
    return tuple_of(parts, sizeof(parts) / sizeof(*parts));
}

#endif
