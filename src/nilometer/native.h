/* What the C twins share: the clock, exceptions in passing, the end of an iteration.
 *
 * Header only, so that each twin stays one translation unit. Nothing here holds state.
 */

#ifndef NILOMETER_NATIVE_H
#define NILOMETER_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <time.h>

/* time.perf_counter_ns() without the call: 20 ns, where the Python function is 34. */
static inline int64_t
nilo_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* An exception set aside while other Python code runs; restoring it replaces whatever is set. */
typedef struct {
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *error;
#else
    PyObject *type, *value, *traceback;
#endif
} NiloError;

static inline NiloError
nilo_error_save(void)
{
    NiloError saved;
#if PY_VERSION_HEX >= 0x030C0000
    saved.error = PyErr_GetRaisedException();
#else
    PyErr_Fetch(&saved.type, &saved.value, &saved.traceback);
#endif
    return saved;
}

static inline void
nilo_error_restore(NiloError saved)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(saved.error);
#else
    PyErr_Restore(saved.type, saved.value, saved.traceback);
#endif
}

static inline void
nilo_error_drop(NiloError saved)
{
#if PY_VERSION_HEX >= 0x030C0000
    Py_XDECREF(saved.error);
#else
    Py_XDECREF(saved.type);
    Py_XDECREF(saved.value);
    Py_XDECREF(saved.traceback);
#endif
}

/* The class of a saved exception, borrowed; NULL if none was set. */
static inline PyObject *
nilo_error_class(const NiloError *saved)
{
#if PY_VERSION_HEX >= 0x030C0000
    return saved->error == NULL ? NULL : (PyObject *)Py_TYPE(saved->error);
#else
    return saved->type;
#endif
}

/* Raise StopIteration(value). PyErr_SetObject alone would spread a tuple into arguments. */
static inline void
nilo_stop_iteration(PyObject *value)
{
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);

    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
}

/* What tp_iternext and send() return for the result of an am_send slot. Takes the reference. */
static inline PyObject *
nilo_sent(PySendResult status, PyObject *result)
{
    if (status != PYGEN_RETURN)
        return result; /* a value on the way, or NULL with the exception set */
    nilo_stop_iteration(result);
    Py_DECREF(result);
    return NULL;
}

/* The attribute of self, or else of what it stands for. */
static inline PyObject *
nilo_getattr_through(PyObject *self, PyObject *inner, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);

    if (found != NULL || inner == NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    PyErr_Clear();
    return PyObject_GetAttr(inner, name);
}

/* __set_name__ of what wraps functions: Python makes classmethods of the two hooks of a class
 * that are such without saying so, but only where they are functions of its own. */
static inline PyObject *
nilo_set_name(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyUnicode_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "__set_name__() takes a class and a name");
    if (PyUnicode_CompareWithASCIIString(args[1], "__init_subclass__") != 0
        && PyUnicode_CompareWithASCIIString(args[1], "__class_getitem__") != 0)
        Py_RETURN_NONE;
    PyObject *method = PyClassMethod_New(self);
    int status = method == NULL ? -1 : PyObject_SetAttr(args[0], args[1], method);
    Py_XDECREF(method);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Whether the interpreter that loads a C file is the one that it serves: the first that did.
 * Others would share with it what lies in static variables. 0 with an ImportError if not. */
static inline int
nilo_serves(int64_t *first)
{
    int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());

    if (id < 0)
        return 0;
    if (*first >= 0 && *first != id) {
        PyErr_SetString(PyExc_ImportError, "the C twin serves one interpreter per process");
        return 0;
    }
    *first = id;
    return 1;
}

#define NILO_NO_INTERPRETER (-1) /* what *first says before that */

/* tp_dealloc of an object without anything of its own to do but tp_clear. */
static inline void
nilo_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

#endif
