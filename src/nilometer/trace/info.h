/* OSProfiler's X-Trace-Info in its usual spelling: the C twin of info_pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_INFO_H
#define NILOMETER_TRACE_INFO_H

#include "trace/spans.h"

#define INFO_CHARS 140 /* INFO_BYTES in base64 */
#define INFO_BYTES 104
#define UUID_CHARS 36
#define INFO_BEFORE "{\"base_id\": \""
#define INFO_BETWEEN "\", \"parent_id\": \""
#define INFO_AFTER "\"}"
#define INFO_BASE ((int)sizeof(INFO_BEFORE) - 1)
#define INFO_BASE_END (INFO_BASE + UUID_CHARS)
#define INFO_PARENT (INFO_BASE_END + (int)sizeof(INFO_BETWEEN) - 1)
#define INFO_PARENT_END (INFO_PARENT + UUID_CHARS)

/* So many ASCII characters as a text. */
static PyObject *
ascii_text(const char *from, Py_ssize_t chars)
{
    PyObject *text = PyUnicode_New(chars, 127);

    if (text != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), from, (size_t)chars);
    return text;
}

/* The six bits of a character of base64, and the four of a hexadecimal digit; NO_DIGIT if it is
 * none. "+" and "/" cannot come of these texts, nor can what stands for them in URLs. */
#define NO_DIGIT 0xff
static unsigned char six_bits[256], four_bits[256];

static void
make_digits(void)
{
    memset(six_bits, NO_DIGIT, sizeof(six_bits));
    memset(four_bits, NO_DIGIT, sizeof(four_bits));
    for (unsigned char i = 0; i < 26; i++) {
        six_bits['A' + i] = i;
        six_bits['a' + i] = 26 + i;
    }
    for (unsigned char i = 0; i < 10; i++) {
        six_bits['0' + i] = 52 + i;
        four_bits['0' + i] = i;
    }
    for (unsigned char i = 0; i < 6; i++)
        four_bits['a' + i] = four_bits['A' + i] = 10 + i;
}

/* Base64 of INFO_CHARS characters into INFO_BYTES bytes; -1 if it is anything else. */
static int
read_base64(const unsigned char *from, unsigned char *to)
{
    unsigned bad = from[INFO_CHARS - 1] != '=';
    unsigned char six[4];

    for (int i = 0; i < INFO_CHARS; i += 4) {
        int last = i == INFO_CHARS - 4; /* has three characters and two bytes */
        for (int j = 0; j < 4 - last; j++)
            bad |= (six[j] = six_bits[from[i + j]]) == NO_DIGIT;
        *to++ = (unsigned char)(six[0] << 2 | six[1] >> 4);
        *to++ = (unsigned char)(six[1] << 4 | six[2] >> 2);
        if (!last)
            *to++ = (unsigned char)(six[2] << 6 | six[3]);
    }
    return bad ? -1 : 0;
}

/* A UUID's 16 bytes; -1 if it is none, or spelled in another way. */
static int
read_uuid(const unsigned char *from, unsigned char *to)
{
    for (int i = 0; i < UUID_CHARS;) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (from[i++] != '-')
                return -1;
            continue;
        }
        unsigned char high = four_bits[from[i]], low = four_bits[from[i + 1]];
        if (high == NO_DIGIT || low == NO_DIGIT)
            return -1;
        *to++ = (unsigned char)(high << 4 | low);
        i += 2;
    }
    return 0;
}

static PyObject *
core_osprofiler_ids(PyObject *Py_UNUSED(module), PyObject *info)
{
    unsigned char said[INFO_BYTES], trace_id[16], parent_id[16];

    if (!PyUnicode_Check(info)) {
        PyErr_SetString(PyExc_TypeError, "an X-Trace-Info is text");
        return NULL;
    }
    if (!PyUnicode_IS_READY(info) || !PyUnicode_IS_ASCII(info) ||
        PyUnicode_GET_LENGTH(info) != INFO_CHARS ||
        read_base64(PyUnicode_1BYTE_DATA(info), said) < 0 ||
        memcmp(said, INFO_BEFORE, INFO_BASE) != 0 ||
        memcmp(said + INFO_BASE_END, INFO_BETWEEN, INFO_PARENT - INFO_BASE_END) != 0 ||
        memcmp(said + INFO_PARENT_END, INFO_AFTER, INFO_BYTES - INFO_PARENT_END) != 0 ||
        read_uuid(said + INFO_BASE, trace_id) < 0 ||
        read_uuid(said + INFO_PARENT, parent_id) < 0)
        Py_RETURN_NONE;
    uint64_t first = number_of(trace_id), last = number_of(trace_id + 8);
    uint64_t parent = number_of(parent_id + 8);
    if ((first | last) == 0 || parent == 0)
        Py_RETURN_NONE;
    PyObject *base_id = PyUnicode_New(UUID_CHARS, 127);
    PyObject *trace = PyBytes_FromStringAndSize((char *)trace_id, sizeof(trace_id));
    PyObject *sender = parent == last ? Py_NewRef(core.empty_bytes) : bytes_of(parent);
    PyObject *ids = PyTuple_New(3);
    if (base_id == NULL || trace == NULL || sender == NULL || ids == NULL) {
        Py_XDECREF(base_id);
        Py_XDECREF(trace);
        Py_XDECREF(sender);
        Py_XDECREF(ids);
        return NULL;
    }
    memcpy(PyUnicode_1BYTE_DATA(base_id), said + INFO_BASE, UUID_CHARS);
    PyTuple_SET_ITEM(ids, 0, base_id);
    PyTuple_SET_ITEM(ids, 1, trace);
    PyTuple_SET_ITEM(ids, 2, sender);
    return ids;
}

#endif
