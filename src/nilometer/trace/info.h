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

/* The six bits of a character of base64, -1 if it is none. "+" and "/" cannot come of these
 * texts, nor can what stands for them in URLs. */
static int
six_bits(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    return c >= '0' && c <= '9' ? c - '0' + 52 : -1;
}

/* Base64 of INFO_CHARS characters into INFO_BYTES bytes; -1 if it is anything else. */
static int
read_base64(const unsigned char *from, unsigned char *to)
{
    uint32_t bits = 0;

    if (from[INFO_CHARS - 1] != '=')
        return -1;
    for (int i = 0; i < INFO_CHARS - 1; i++) {
        int six = six_bits(from[i]);
        if (six < 0)
            return -1;
        bits = bits << 6 | (uint32_t)six;
        if (i % 4 != 0)
            *to++ = (unsigned char)(bits >> (6 - i % 4 * 2));
    }
    return 0;
}

static int
four_bits(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20; /* lower case */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
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
        int high = four_bits(from[i]), low = four_bits(from[i + 1]);
        if (high < 0 || low < 0)
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
    return Py_BuildValue("(s#y#N)", (char *)said + INFO_BASE, (Py_ssize_t)UUID_CHARS,
                         (char *)trace_id, (Py_ssize_t)16,
                         parent == last ? Py_NewRef(core.empty_bytes) : bytes_of(parent));
}

#endif
