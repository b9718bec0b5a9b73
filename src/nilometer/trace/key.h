/* A key that signs: the C twin of key_pure.py; see _core.c.
 */

#ifndef NILOMETER_TRACE_KEY_H
#define NILOMETER_TRACE_KEY_H

#include "trace/hashes.h"
#include "trace/spans.h"

#define MAC_BYTES_MAX 32

typedef struct {
    PyObject_HEAD
    Begun sha1, sha256;
} Key;

/* Write as many hexadecimal digits as there are bytes, twice; gives the place behind them. */
static char *
put_hex(char *to, const unsigned char *from, Py_ssize_t size)
{
    static const char digits[] = "0123456789abcdef";

    for (Py_ssize_t i = 0; i < size; i++) {
        *to++ = digits[from[i] >> 4];
        *to++ = digits[from[i] & 15];
    }
    return to;
}

/* The MAC of a message in hexadecimal digits; gives the place behind them. */
static char *
put_mac(char *to, const Hash *hash, const Begun *begun, const void *message, Py_ssize_t size)
{
    unsigned char mac[MAC_BYTES_MAX];

    hmac_of(hash, begun, message, (size_t)size, mac);
    return put_hex(to, mac, hash->words * 4);
}

static PyObject *
Key_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"secret", NULL};
    PyObject *secret;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "S:Key", names, &secret))
        return NULL;
    Key *self = (Key *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    const unsigned char *bytes = (unsigned char *)PyBytes_AS_STRING(secret);
    hmac_begin(&sha1_hash, &self->sha1, bytes, (size_t)PyBytes_GET_SIZE(secret));
    hmac_begin(&sha256_hash, &self->sha256, bytes, (size_t)PyBytes_GET_SIZE(secret));
    return (PyObject *)self;
}

static void
Key_dealloc(Key *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Key_mac(const Hash *hash, const Begun *begun, PyObject *message)
{
    if (!PyBytes_Check(message)) {
        PyErr_Format(PyExc_TypeError, "a message is bytes, not %s", Py_TYPE(message)->tp_name);
        return NULL;
    }
    PyObject *mac = PyUnicode_New(hash->words * 8, 127);
    if (mac != NULL)
        put_mac((char *)PyUnicode_1BYTE_DATA(mac), hash, begun, PyBytes_AS_STRING(message),
                PyBytes_GET_SIZE(message));
    return mac;
}

static PyObject *
Key_mac_sha1(Key *self, PyObject *message)
{
    return Key_mac(&sha1_hash, &self->sha1, message);
}

static PyObject *
Key_mac_sha256(Key *self, PyObject *message)
{
    return Key_mac(&sha256_hash, &self->sha256, message);
}

static PyObject *
Key_repr(PyObject *Py_UNUSED(self))
{
    return PyUnicode_FromString("Key(...)");
}

static PyObject *
Key_reduce(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    PyErr_SetString(PyExc_TypeError, "a key is not written anywhere");
    return NULL;
}

static PyMethodDef Key_methods[] = {
    {"mac_sha1", (PyCFunction)Key_mac_sha1, METH_O,
     PyDoc_STR("HMAC-SHA1 in 40 hexadecimal digits.")},
    {"mac_sha256", (PyCFunction)Key_mac_sha256, METH_O,
     PyDoc_STR("HMAC-SHA256 in 64 hexadecimal digits.")},
    {"__reduce__", Key_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot Key_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A key that signs and is never shown.")},
    {Py_tp_new, Key_new},
    {Py_tp_dealloc, Key_dealloc},
    {Py_tp_repr, Key_repr},
    {Py_tp_methods, Key_methods},
    {0, NULL},
};

static PyType_Spec Key_spec = {
    .name = "nilometer.trace._core.Key",
    .basicsize = sizeof(Key),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Key_slots,
};

#endif
