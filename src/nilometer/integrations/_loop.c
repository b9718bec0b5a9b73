/* How long event loops are held, and by whom: the fast twin of loop_pure.py, which says what
 * each thing means. Same names, same order, same errors; one test-suite runs on both.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "native.h"
#include "sources.h"

static PyObject *PERF_COUNTER_NS; /* time.perf_counter_ns, which on Linux is CLOCK_MONOTONIC */

/* Callbacks and switches leave this by switching greenlets, which copies the C stack away and
 * so reads the zones that AddressSanitizer puts around variables on it. */
#define SWITCHES_GREENLETS __attribute__((no_sanitize_address))

/* What all of them tell, and to whom. */
typedef struct {
    PyObject *told, *elapsed_ns;
    long long slow_ns, calls;
    char monotonic; /* elapsed_ns is the standard one: read the clock without a call */
    char every, on;
} Teller;

/* The clock's nanoseconds; -1 with an exception if the clock that was given failed. */
static long long teller_now(Teller *self) {
    if (self->monotonic) {
        return nilo_now_ns();
    }
    PyObject *result = PyObject_CallNoArgs(self->elapsed_ns);
    if (result == NULL) {
        return -1;
    }
    long long now = PyLong_AsLongLong(result);
    Py_DECREF(result);
    return now;
}

/* Call one of ours with a time, and perhaps with whose it is: never a matter of the service. */
static void tell(PyObject *whom, PyObject *who, long long elapsed) {
    PyObject *number = PyLong_FromLongLong(elapsed);
    PyObject *result = NULL;
    if (number != NULL) {
        PyObject *args[] = {NULL, who, number};
        result = who == NULL ? PyObject_CallOneArg(whom, number)
                             : PyObject_Vectorcall(whom, args + 1,
                                                   2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    if (result == NULL) {
        PyErr_WriteUnraisable(whom);
    }
    Py_XDECREF(result);
    Py_XDECREF(number);
}

static void teller_set(Teller *self, PyObject *told, long long slow_ns, PyObject *elapsed_ns) {
    Py_XSETREF(self->told, Py_NewRef(told));
    Py_XSETREF(self->elapsed_ns, Py_NewRef(elapsed_ns));
    self->slow_ns = slow_ns;
    self->on = 1;
    self->every = 0;
    self->calls = 0;
#ifdef __linux__
    self->monotonic = elapsed_ns == PERF_COUNTER_NS;
#endif
}

/* --- Run ---------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original, *weak;
    Teller teller;
} Run;

static int run_traverse(Run *self, visitproc visit, void *arg) {
    Py_VISIT(self->original);
    Py_VISIT(self->teller.told);
    Py_VISIT(self->teller.elapsed_ns);
    return 0;
}

static int run_clear(Run *self) {
    Py_CLEAR(self->original);
    Py_CLEAR(self->teller.told);
    Py_CLEAR(self->teller.elapsed_ns);
    return 0;
}

static void run_dealloc(Run *self) {
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    run_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

SWITCHES_GREENLETS
static PyObject *run_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                          PyObject *kwnames) {
    Run *self = (Run *)callable;
    Teller *teller = &self->teller;
    if (!teller->on) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    teller->calls++;
    long long started = teller_now(teller);
    if (started == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    if (!teller->on || (teller->monotonic && !teller->every &&
                        nilo_now_ns() - started < teller->slow_ns)) {
        return result;
    }
    NiloError raised = nilo_error_save();
    long long now = teller_now(teller);
    if (now == -1 && PyErr_Occurred()) {
        PyErr_WriteUnraisable(callable);
    } else if (teller->every || now - started >= teller->slow_ns) {
        tell(teller->told, PyVectorcall_NARGS(nargsf) ? args[0] : Py_None, now - started);
    }
    nilo_error_restore(raised);
    return result;
}

static int run_init(Run *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "told", "slow_ns", "elapsed_ns", NULL};
    PyObject *original, *told, *elapsed_ns;
    long long slow_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOLO:Run", names, &original, &told,
                                     &slow_ns, &elapsed_ns)) {
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    teller_set(&self->teller, told, slow_ns, elapsed_ns);
    self->vectorcall = run_call;
    return 0;
}

/* In a class it is a method; so are those of the other types. */
static PyObject *bound(PyObject *self, PyObject *instance, PyObject *type) {
    (void)type;
    return instance == NULL || instance == Py_None ? Py_NewRef(self)
                                                   : PyMethod_New(self, instance);
}

static PyMemberDef run_members[] = {
    {"original", T_OBJECT, offsetof(Run, original), READONLY, NULL},
    {"told", T_OBJECT, offsetof(Run, teller.told), READONLY, NULL},
    {"slow_ns", T_LONGLONG, offsetof(Run, teller.slow_ns), 0, NULL},
    {"every", T_BOOL, offsetof(Run, teller.every), 0, NULL},
    {"on", T_BOOL, offsetof(Run, teller.on), 0, NULL},
    {"calls", T_LONGLONG, offsetof(Run, teller.calls), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Run_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._loop.Run",
    .tp_doc = "Stands where a loop runs its callbacks.",
    .tp_basicsize = sizeof(Run),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = bound,
    .tp_vectorcall_offset = offsetof(Run, vectorcall),
    .tp_weaklistoffset = offsetof(Run, weak),
    .tp_call = PyVectorcall_Call,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)run_init,
    .tp_dealloc = (destructor)run_dealloc,
    .tp_traverse = (traverseproc)run_traverse,
    .tp_clear = (inquiry)run_clear,
    .tp_members = run_members,
};

/* --- Handing ------------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original, *run, *weak;
    Py_ssize_t position;
    char on;
} Handing;

/* Arguments of a call that fit on the stack; of more, the slow way makes a tuple. */
#define ARGUMENTS_MAX 16

static int handing_traverse(Handing *self, visitproc visit, void *arg) {
    Py_VISIT(self->original);
    Py_VISIT(self->run);
    return 0;
}

static int handing_clear(Handing *self) {
    Py_CLEAR(self->original);
    Py_CLEAR(self->run);
    return 0;
}

static void handing_dealloc(Handing *self) {
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    handing_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* `args` with `run` at its position, and room before them for a bound self. */
static void insert(Handing *self, PyObject **into, PyObject *const *args, Py_ssize_t all) {
    memcpy(into, args, self->position * sizeof(PyObject *));
    into[self->position] = self->run;
    memcpy(into + self->position + 1, args + self->position,
           (all - self->position) * sizeof(PyObject *));
}

static PyObject *handing_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames) {
    Handing *self = (Handing *)callable;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (!self->on || count <= self->position) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    Py_ssize_t all = count + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject *few[ARGUMENTS_MAX + 2];
    PyObject **given = all <= ARGUMENTS_MAX ? few : PyMem_New(PyObject *, all + 2);
    if (given == NULL) {
        return PyErr_NoMemory();
    }
    given[0] = NULL;
    insert(self, given + 1, args, all);
    PyObject *result = PyObject_Vectorcall(
        self->original, given + 1, (count + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
    if (given != few) {
        PyMem_Free(given);
    }
    return result;
}

static int handing_init(Handing *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "run", "position", NULL};
    PyObject *original, *run;
    Py_ssize_t position;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOn:Handing", names, &original, &run,
                                     &position)) {
        return -1;
    }
    if (position < 0) {
        PyErr_SetString(PyExc_ValueError, "position must be 0 or more");
        return -1;
    }
    Py_XSETREF(self->original, Py_NewRef(original));
    Py_XSETREF(self->run, Py_NewRef(run));
    self->position = position;
    self->vectorcall = handing_call;
    self->on = 1;
    return 0;
}

static PyMemberDef handing_members[] = {
    {"original", T_OBJECT, offsetof(Handing, original), READONLY, NULL},
    {"run", T_OBJECT, offsetof(Handing, run), READONLY, NULL},
    {"on", T_BOOL, offsetof(Handing, on), 0, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Handing_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._loop.Handing",
    .tp_doc = "Stands where a loop is handed callbacks.",
    .tp_basicsize = sizeof(Handing),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_descr_get = bound,
    .tp_vectorcall_offset = offsetof(Handing, vectorcall),
    .tp_weaklistoffset = offsetof(Handing, weak),
    .tp_call = PyVectorcall_Call,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)handing_init,
    .tp_dealloc = (destructor)handing_dealloc,
    .tp_traverse = (traverseproc)handing_traverse,
    .tp_clear = (inquiry)handing_clear,
    .tp_members = handing_members,
};

/* --- Watch -------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *idle, *change, *previous, *weak;
    Teller teller;
    long long started;
    char armed, waits, waited;
} Watch;

static int watch_traverse(Watch *self, visitproc visit, void *arg) {
    Py_VISIT(self->idle);
    Py_VISIT(self->change);
    Py_VISIT(self->previous);
    Py_VISIT(self->teller.told);
    Py_VISIT(self->teller.elapsed_ns);
    return 0;
}

static int watch_clear(Watch *self) {
    Py_CLEAR(self->idle);
    Py_CLEAR(self->change);
    Py_CLEAR(self->previous);
    Py_CLEAR(self->teller.told);
    Py_CLEAR(self->teller.elapsed_ns);
    return 0;
}

static void watch_dealloc(Watch *self) {
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    watch_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* A turn is over, or a wait. */
static int watch_turned(Watch *self, PyObject *who) {
    Teller *teller = &self->teller;
    teller->calls++;
    long long now = teller_now(teller);
    if (now == -1 && PyErr_Occurred()) {
        return -1;
    }
    long long elapsed = now - self->started;
    self->started = now;
    if (self->waits) {
        self->waits = 0;
        tell(self->idle, NULL, elapsed);
    } else if (teller->every || elapsed >= teller->slow_ns) {
        tell(teller->told, who, elapsed);
    }
    return 0;
}

/* Whether to measure; -1 with an exception. That there is something to change is rare. */
static int watch_is_armed(Watch *self) {
    if (self->teller.on == self->armed) {
        return self->armed;
    }
    PyObject *result = PyObject_CallOneArg(self->change, (PyObject *)self);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    self->waits = 0;
    self->started = teller_now(&self->teller);
    return self->started == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *watch_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                            PyObject *kwnames) {
    Watch *self = (Watch *)callable;
    if (PyVectorcall_NARGS(nargsf) != 2 || kwnames != NULL || !PyTuple_Check(args[1]) ||
        PyTuple_GET_SIZE(args[1]) != 2) {
        PyErr_SetString(PyExc_TypeError, "Watch() takes an event and both ends of a switch");
        return NULL;
    }
    PyObject *previous = Py_NewRef(self->previous == NULL ? Py_None : self->previous);
    int status = watch_is_armed(self);
    if (status > 0) {
        status = watch_turned(self, PyTuple_GET_ITEM(args[1], 0));
    }
    PyObject *result = NULL;
    if (status == 0) {
        result = previous == Py_None ? Py_NewRef(Py_None)
                                     : PyObject_Vectorcall(previous, args, 2, NULL);
    }
    Py_DECREF(previous);
    Py_XDECREF(result);
    return result == NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *watch_wait_begins(Watch *self, PyObject *unused) {
    (void)unused;
    int status = watch_is_armed(self);
    if (status < 0 || (status > 0 && watch_turned(self, Py_None) < 0)) {
        return NULL;
    }
    if (status > 0) {
        self->waited = self->waits = 1;
    }
    Py_RETURN_NONE;
}

static PyObject *watch_wait_ends(Watch *self, PyObject *unused) {
    (void)unused;
    if (self->waits && watch_turned(self, Py_None) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int watch_init(Watch *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"told", "idle", "change", "slow_ns", "elapsed_ns", NULL};
    PyObject *told, *idle, *change, *elapsed_ns;
    long long slow_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOLO:Watch", names, &told, &idle,
                                     &change, &slow_ns, &elapsed_ns)) {
        return -1;
    }
    Py_XSETREF(self->idle, Py_NewRef(idle));
    Py_XSETREF(self->change, Py_NewRef(change));
    Py_XSETREF(self->previous, Py_NewRef(Py_None));
    teller_set(&self->teller, told, slow_ns, elapsed_ns);
    self->vectorcall = watch_call;
    self->started = teller_now(&self->teller);
    return self->started == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyMethodDef watch_methods[] = {
    {"wait_begins", (PyCFunction)watch_wait_begins, METH_NOARGS,
     PyDoc_STR("Hear that the hub begins to wait.")},
    {"wait_ends", (PyCFunction)watch_wait_ends, METH_NOARGS,
     PyDoc_STR("Hear that the hub's wait is over.")},
    {NULL, NULL, 0, NULL}};

static PyMemberDef watch_members[] = {
    {"told", T_OBJECT, offsetof(Watch, teller.told), READONLY, NULL},
    {"slow_ns", T_LONGLONG, offsetof(Watch, teller.slow_ns), 0, NULL},
    {"every", T_BOOL, offsetof(Watch, teller.every), 0, NULL},
    {"on", T_BOOL, offsetof(Watch, teller.on), 0, NULL},
    {"calls", T_LONGLONG, offsetof(Watch, teller.calls), READONLY, NULL},
    {"armed", T_BOOL, offsetof(Watch, armed), 0, NULL},
    {"waits", T_BOOL, offsetof(Watch, waits), READONLY, NULL},
    {"waited", T_BOOL, offsetof(Watch, waited), READONLY, NULL},
    {"previous", T_OBJECT_EX, offsetof(Watch, previous), 0, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyTypeObject Watch_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nilometer.integrations._loop.Watch",
    .tp_doc = "Hears of all switches of one thread's greenlets.",
    .tp_basicsize = sizeof(Watch),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Watch, vectorcall),
    .tp_weaklistoffset = offsetof(Watch, weak),
    .tp_call = PyVectorcall_Call,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)watch_init,
    .tp_dealloc = (destructor)watch_dealloc,
    .tp_traverse = (traverseproc)watch_traverse,
    .tp_clear = (inquiry)watch_clear,
    .tp_methods = watch_methods,
    .tp_members = watch_members,
};

static int64_t interpreter = NILO_NO_INTERPRETER;

static int loop_exec(PyObject *self) {
    if (!nilo_serves(&interpreter)) {
        return -1;
    }
    PyObject *time = PyImport_ImportModule("time");
    Py_XSETREF(PERF_COUNTER_NS,
               time == NULL ? NULL : PyObject_GetAttrString(time, "perf_counter_ns"));
    Py_XDECREF(time);
    if (PERF_COUNTER_NS == NULL || nilo_add_sources(self) < 0 ||
        PyModule_AddType(self, &Run_Type) < 0 || PyModule_AddType(self, &Handing_Type) < 0 ||
        PyModule_AddType(self, &Watch_Type) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(self, "IMPLEMENTATION", "c");
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, loop_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.integrations._loop",
    .m_doc = "How long event loops are held, in C; loop_pure.py is the specification.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__loop(void) {
    return PyModuleDef_Init(&module);
}
