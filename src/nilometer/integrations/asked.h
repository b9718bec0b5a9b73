/* What stands where functions of clients stood: the fast twin of asked_pure.py, which says what
 * each thing means. Part of _sql.c.
 */

#ifndef NILOMETER_ASKED_H
#define NILOMETER_ASKED_H

#include "integrations/orm.h"

/* What is told cannot fail the application, whose own exception, if any, stays raised. */
static void asked_tell(PyObject *tell, PyObject *what) {
    NiloError raised = nilo_error_save();
    PyObject *result = what == NULL ? NULL : PyObject_CallOneArg(tell, what);
    if (result == NULL) {
        PyErr_WriteUnraisable(tell);
    }
    Py_XDECREF(result);
    nilo_error_restore(raised);
}

static void asked_tell_number(PyObject *tell, long long number) {
    PyObject *what = PyLong_FromLongLong(number);
    asked_tell(tell, what);
    Py_XDECREF(what);
}

/* What was raised, to `failed`; it stays raised. */
static void asked_failed(PyObject *failed) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    asked_tell(failed, value);
    PyErr_Restore(type, value, traceback);
}

/* === Asked: known is `pending`, find is `record`, write is `failed` === */

SWITCHES_GREENLETS
static PyObject *asked_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                            PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    if (!self->on) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    int is_timed = self->known != Py_None;
    long long started = 0;
    Py_INCREF(self); /* whoever asks may end us meanwhile */
    if (is_timed) {
        asked_tell_number(self->known, 1);
        started = watch_now(&self->watch);
    }
    PyObject *result = PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    if (is_timed) {
        NiloError raised = nilo_error_save();
        asked_tell_number(self->find, watch_now(&self->watch) - started);
        asked_tell_number(self->known, -1);
        nilo_error_restore(raised);
    }
    if (result == NULL) {
        asked_failed(self->write);
    } else if (result == Py_False) {
        asked_tell(self->write, Py_None);
    }
    Py_DECREF(self);
    return result;
}

static int asked_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "failed", "pending", "record", "elapsed_ns", NULL};
    PyObject *original, *failed, *pending = Py_None, *record = Py_None;
    PyObject *elapsed_ns = PERF_COUNTER_NS;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOO:Asked", names, &original, &failed,
                                     &pending, &record, &elapsed_ns)) {
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->known, Py_NewRef(pending));
    Py_XSETREF(self->find, Py_NewRef(record));
    Py_XSETREF(self->write, Py_NewRef(failed));
    watch_set(&self->watch, elapsed_ns);
    self->vectorcall = asked_call;
    self->on = 1;
    return 0;
}

/* === Connecting: find is `connect`, write is `connected` === */

SWITCHES_GREENLETS
static PyObject *connecting_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                                 PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    PyObject *run = self->original;
    if (self->on && PyVectorcall_NARGS(nargsf) > 0) {
        PyObject *connected = attribute(args[0], self->write);
        int is_connected = connected == NULL ? 1 : PyObject_IsTrue(connected);
        Py_XDECREF(connected);
        if (is_connected < 0) {
            PyErr_Clear();
        } else if (!is_connected) {
            run = self->find;
        }
    }
    return PyObject_Vectorcall(run, args, nargsf, kwnames);
}

static int connecting_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "connect", "connected", NULL};
    PyObject *original, *connect, *connected;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOU:Connecting", names, &original, &connect,
                                     &connected)) {
        return -1;
    }
    Py_INCREF(connected);
    PyUnicode_InternInPlace(&connected); /* an attribute is looked up by identity first */
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->find, Py_NewRef(connect));
    Py_XSETREF(self->write, connected);
    self->vectorcall = connecting_call;
    self->on = 1;
    return 0;
}

/* === Switch: find is `measured` === */

SWITCHES_GREENLETS
static PyObject *switch_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    return PyObject_Vectorcall(self->on ? self->find : self->original, args, nargsf, kwnames);
}

static int switch_set(Standing *self, vectorcallfunc call, PyObject *original, PyObject *find) {
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->find, Py_NewRef(find));
    self->vectorcall = call;
    self->on = 1;
    return 0;
}

static int switch_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "measured", NULL};
    PyObject *original, *measured;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Switch", names, &original, &measured)) {
        return -1;
    }
    return switch_set(self, switch_call, original, measured);
}

/* === Choice: find is `choose` === */

SWITCHES_GREENLETS
static PyObject *choice_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames) {
    Standing *self = (Standing *)callable;
    if (!self->on) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    PyObject *chosen = PyObject_Vectorcall(self->find, args, nargsf, kwnames);
    if (chosen == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(chosen, args, nargsf, kwnames);
    Py_DECREF(chosen);
    return result;
}

static int choice_init(Standing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "choose", NULL};
    PyObject *original, *choose;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Choice", names, &original, &choose)) {
        return -1;
    }
    return switch_set(self, choice_call, original, choose);
}

static PyTypeObject Asked_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Asked",
    .tp_doc = "Stands where a pool is asked for a connection, or one whether it lives.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_init = (initproc)asked_init,
    STANDING,
};

static PyTypeObject Connecting_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Connecting",
    .tp_doc = "Stands where a client connects that asks for it before each command.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = query_get,
    .tp_init = (initproc)connecting_init,
    STANDING,
};

static PyTypeObject Switch_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Switch",
    .tp_doc = "Stands for a function, and for what measures it while it is on.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = query_get,
    .tp_init = (initproc)switch_init,
    STANDING,
};

static PyTypeObject Choice_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._sql.Choice",
    .tp_doc = "Stands for a function, and while it is on for what is chosen for each call.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = query_get,
    .tp_init = (initproc)choice_init,
    STANDING,
};

/* Make the types of this file ready; -1 with an exception. */
static int asked_add(PyObject *module) {
    return PyModule_AddType(module, &Asked_Type) < 0 ||
                   PyModule_AddType(module, &Connecting_Type) < 0 ||
                   PyModule_AddType(module, &Switch_Type) < 0 ||
                   PyModule_AddType(module, &Choice_Type) < 0
               ? -1
               : 0;
}

#endif
