/* What stands where a framework finds a request's route: the fast twin of routing_pure.py, which
 * says what each thing means. Part of _http.c.
 */

#ifndef NILOMETER_ROUTING_H
#define NILOMETER_ROUTING_H

#include "integrations/exchange.h"
#include "native.h"

static PyObject *s_env, *s_SCRIPT_NAME, *s_dispatched;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original, *tell;
} Routing;

static int routing_traverse(Routing *self, visitproc visit, void *arg) {
    Py_VISIT(self->original);
    Py_VISIT(self->tell);
    return 0;
}

static int routing_clear(Routing *self) {
    Py_CLEAR(self->original);
    Py_CLEAR(self->tell);
    return 0;
}

static void routing_dealloc(Routing *self) {
    PyObject_GC_UnTrack(self);
    routing_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Whether an application is mounted under another, by this environ; -1 with an exception. */
static int routing_is_mounted(PyObject *env) {
    PyObject *script = PyDict_GetItemWithError(env, s_SCRIPT_NAME);
    int is = script == NULL ? (PyErr_Occurred() ? -1 : 0) : PyObject_IsTrue(script);
    return is == 0 ? PyDict_Contains(env, s_dispatched) : is;
}

/* Put the template into the request's environ, or have it told; -1 with an exception. */
static int routing_put(Routing *self, PyObject *request, PyObject *template) {
    PyObject *env = PyObject_GetAttr(request, s_env);
    if (env == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
    }
    int is_asked = env == NULL || !PyDict_CheckExact(env) ? 1 : routing_is_mounted(env);
    int status = is_asked < 0 ? -1 : 0;
    if (is_asked > 0) {
        PyObject *told = PyObject_CallFunctionObjArgs(self->tell, request, template, NULL);
        status = told == NULL ? -1 : 0;
        Py_XDECREF(told);
    } else if (is_asked == 0 && PyDict_SetDefault(env, s_http_route, template) == NULL) {
        status = -1;
    }
    Py_XDECREF(env);
    return status;
}

/* app._get_responder(request, ...) */
static PyObject *routing_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames) {
    Routing *self = (Routing *)callable;
    PyObject *found = PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    if (found == NULL || !PyTuple_CheckExact(found) || PyTuple_GET_SIZE(found) == 0 ||
        PyVectorcall_NARGS(nargsf) < 2) {
        return found;
    }
    PyObject *template = PyTuple_GET_ITEM(found, PyTuple_GET_SIZE(found) - 1);
    if (PyUnicode_CheckExact(template) && routing_put(self, args[1], template) < 0) {
        Py_CLEAR(found);
    }
    return found;
}

/* Routing(original, tell) */
static int routing_init(Routing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "tell", NULL};
    PyObject *original, *tell;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Routing", names, &original, &tell)) {
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->tell, Py_NewRef(tell));
    self->vectorcall = routing_call;
    return 0;
}

/* In a class of applications it is a method. */
static PyObject *routing_get(PyObject *self, PyObject *instance, PyObject *type) {
    (void)type;
    return instance == NULL || instance == Py_None ? Py_NewRef(self)
                                                   : PyMethod_New(self, instance);
}

static PyObject *routing_getattro(PyObject *self, PyObject *name) {
    return nilo_getattr_through(self, ((Routing *)self)->original, name);
}

static PyMemberDef routing_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(Routing, original), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Routing_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._http.Routing",
    .tp_doc = "Stands for a method that finds what answers a request, its second argument.",
    .tp_basicsize = sizeof(Routing),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = routing_get,
    .tp_vectorcall_offset = offsetof(Routing, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)routing_init,
    .tp_getattro = routing_getattro,
    .tp_dealloc = (destructor)routing_dealloc,
    .tp_traverse = (traverseproc)routing_traverse,
    .tp_clear = (inquiry)routing_clear,
    .tp_members = routing_members,
};

#endif
