/* Attributes as JSON texts: the twin of jsontext.encode_all.

   What nearly all attributes are is written here: a dict of texts, numbers and truth values.
   Any other object is for jsontext.encode, one by one. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <string.h>

#include "sources.h"

typedef struct {
    PyObject *encode; /* of jsontext */
} State;

typedef struct {
    char *data;
    size_t size;
    size_t room;
} Out;

enum { WRITTEN, ODD, FAILED = -1 };

/* Room for so many more; FAILED with an exception if there is none. */
static inline int
ensure(Out *out, size_t more)
{
    if (out->room - out->size >= more) {
        return WRITTEN;
    }
    size_t room = out->room * 2 + more;
    char *data = room <= (size_t)PY_SSIZE_T_MAX ? PyMem_Realloc(out->data, room) : NULL;
    if (data == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    out->data = data;
    out->room = room;
    return WRITTEN;
}

static int
add(Out *out, const char *text, size_t length)
{
    if (ensure(out, length) < 0) {
        return FAILED;
    }
    memcpy(out->data + out->size, text, length);
    out->size += length;
    return WRITTEN;
}

static char *
put_escaped(char *at, unsigned char byte)
{
    static const char hexadecimal[] = "0123456789abcdef";
    static const char named[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *found = byte == 0 ? NULL : strchr(named, byte);
    *at++ = '\\';
    if (found != NULL) {
        *at++ = names[found - named];
        return at;
    }
    memcpy(at, "u00", 3);
    at[3] = hexadecimal[byte >> 4];
    at[4] = hexadecimal[byte & 15];
    return at + 5;
}

#define ESCAPED_BYTES_MAX 6

static int
add_text(Out *out, PyObject *text)
{
    Py_ssize_t length;
    const char *content = PyUnicode_AsUTF8AndSize(text, &length);
    if (content == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return FAILED;
        }
        PyErr_Clear(); /* half a surrogate pair */
        return ODD;
    }
    if ((size_t)length > PY_SSIZE_T_MAX / (2 * ESCAPED_BYTES_MAX)) {
        return ODD;
    }
    if (ensure(out, (size_t)length * ESCAPED_BYTES_MAX + 2) < 0) {
        return FAILED;
    }
    char *at = out->data + out->size;
    *at++ = '"';
    for (Py_ssize_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)content[i];
        if (byte < ' ' || byte == '"' || byte == '\\') {
            at = put_escaped(at, byte);
        }
        else {
            *at++ = (char)byte;
        }
    }
    *at++ = '"';
    out->size = (size_t)(at - out->data);
    return WRITTEN;
}

static int
add_whole(Out *out, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow) {
        return ODD;
    }
    if (value == -1 && PyErr_Occurred()) {
        return FAILED;
    }
    char digits[20];
    size_t first = sizeof digits;
    unsigned long long left = value < 0 ? 0ULL - (unsigned long long)value
                                        : (unsigned long long)value;
    do {
        digits[--first] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0) {
        digits[--first] = '-';
    }
    return add(out, digits + first, sizeof digits - first);
}

static int
add_float(Out *out, double value)
{
    if (!isfinite(value)) {
        return ODD;
    }
    char *text = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (text == NULL) {
        return FAILED;
    }
    int status = add(out, text, strlen(text));
    PyMem_Free(text);
    return status;
}

static int
add_value(Out *out, PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        return add_text(out, value);
    }
    if (PyLong_CheckExact(value)) {
        return add_whole(out, value);
    }
    if (PyBool_Check(value)) {
        return value == Py_True ? add(out, "true", 4) : add(out, "false", 5);
    }
    return PyFloat_CheckExact(value) ? add_float(out, PyFloat_AS_DOUBLE(value)) : ODD;
}

/* No code of others runs meanwhile, which might change the dict. */
static int
add_pairs(Out *out, PyObject *pairs)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;
    int status = add(out, "{", 1);
    for (int first = 1; status == WRITTEN && PyDict_Next(pairs, &position, &key, &value);
         first = 0) {
        status = first ? WRITTEN : add(out, ",", 1);
        if (status == WRITTEN) {
            status = PyUnicode_CheckExact(key) ? add_text(out, key) : ODD;
        }
        if (status == WRITTEN) {
            status = add(out, ":", 1);
        }
        if (status == WRITTEN) {
            status = add_value(out, value);
        }
    }
    return status == WRITTEN ? add(out, "}", 1) : status;
}

static PyObject *
encoded(State *state, Out *out, PyObject *object)
{
    out->size = 0;
    int status = PyDict_CheckExact(object) ? add_pairs(out, object) : ODD;
    if (status == WRITTEN) {
        return PyUnicode_DecodeUTF8(out->data, (Py_ssize_t)out->size, NULL);
    }
    if (status == FAILED) {
        return NULL;
    }
    if (PyDict_CheckExact(object)) {
        return PyObject_CallOneArg(state->encode, object);
    }
    PyObject *plain = PyObject_CallOneArg((PyObject *)&PyDict_Type, object);
    PyObject *text = plain == NULL ? NULL : PyObject_CallOneArg(state->encode, plain);
    Py_XDECREF(plain);
    return text;
}

static PyObject *
encode_all(PyObject *module, PyObject *objects)
{
    PyObject *all = PySequence_Tuple(objects); /* what odd ones run may change a list */
    PyObject *texts = all == NULL ? NULL : PyList_New(PyTuple_GET_SIZE(all));
    Out out = {0};
    for (Py_ssize_t i = 0; texts != NULL && i < PyTuple_GET_SIZE(all); i++) {
        PyObject *text = encoded(PyModule_GetState(module), &out, PyTuple_GET_ITEM(all, i));
        if (text == NULL) {
            Py_CLEAR(texts);
        }
        else {
            PyList_SET_ITEM(texts, i, text);
        }
    }
    PyMem_Free(out.data);
    Py_XDECREF(all);
    return texts;
}

static PyMethodDef methods[] = {
    {"encode_all", encode_all, METH_O, "JSON text of each object."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyObject *specification = PyImport_ImportModule("nilometer.store.jsontext");
    if (specification == NULL) {
        return -1;
    }
    state->encode = PyObject_GetAttrString(specification, "encode");
    Py_DECREF(specification);
    return state->encode == NULL ? -1 : nilo_add_sources(module);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(((State *)PyModule_GetState(module))->encode);
    return 0;
}

static int
module_clear(PyObject *module)
{
    Py_CLEAR(((State *)PyModule_GetState(module))->encode);
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
    .m_name = "nilometer.store._jsontexts",
    .m_doc = "Attributes as JSON texts, in C; jsontext.encode_all says what it does.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__jsontexts(void)
{
    return PyModuleDef_Init(&definition);
}
