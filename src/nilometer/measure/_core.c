/* Instruments: the C twin of pure.py (handles.h) and timed.py (bodies.h), as one module.
 *
 * The Python files are the specification: same names, same order, same errors; tests/measure
 * runs every test on both. Change them together or not at all. Rules for this twin:
 *   1. No policy. Names, levels, bounds and collecting live in registry.py and family.py.
 *   2. The GIL is the lock: what reads and writes values runs without a call back into Python.
 *   3. While an exception passes through, it is set aside before any other Python code runs.
 */

#include "measure/arena.h"
#include "measure/bodies.h"
#include "measure/handles.h"
#include "sources.h"

#define PLAIN (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE)
#define WATCHED (PLAIN | Py_TPFLAGS_HAVE_GC)
#define MADE_HERE (WATCHED | Py_TPFLAGS_DISALLOW_INSTANTIATION)
#define CALLABLE (MADE_HERE | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR)

static PyType_Spec specs[] = {
    {"nilometer.measure._core.Arena", sizeof(Arena), 0, PLAIN, Arena_slots},
    {"nilometer.measure._core.Family", sizeof(Family), 0, WATCHED, Family_slots},
    {"nilometer.measure._core.Counter", sizeof(Handle), 0, WATCHED, Counter_slots},
    {"nilometer.measure._core.Gauge", sizeof(Handle), 0, WATCHED, Gauge_slots},
    {"nilometer.measure._core.Timer", sizeof(Handle), 0, WATCHED, Timer_slots},
    {"nilometer.measure._core.Lap", sizeof(Lap), 0, WATCHED, Lap_slots},
    {"nilometer.measure._core.TimedFunction", sizeof(TimedFunction), 0, CALLABLE,
     Function_slots},
    {"nilometer.measure._core.TimedCoroutine", sizeof(Body), 0, MADE_HERE, Coroutine_slots},
};

/* The types of a module's state, in the order of the specs. */
#define TYPES(state)                                                                           \
    {                                                                                          \
        &(state)->arena, &(state)->family, &(state)->counter, &(state)->gauge,                 \
            &(state)->timer, &(state)->lap, &(state)->function, &(state)->coroutine            \
    }
#define TYPES_PUBLIC 6 /* up to Lap */
#define TYPES_ALL (sizeof(specs) / sizeof(specs[0]))

static int
add_boundaries(PyObject *module)
{
    PyObject *boundaries = PyTuple_New(BUCKETS_PER_OCTAVE);

    for (int i = 0; boundaries != NULL && i < BUCKETS_PER_OCTAVE; i++) {
        PyObject *boundary = PyLong_FromUnsignedLongLong(BOUNDARIES_63[i]);
        if (boundary == NULL)
            Py_CLEAR(boundaries);
        else
            PyTuple_SET_ITEM(boundaries, i, boundary);
    }
    int status = boundaries == NULL
                     ? -1
                     : PyModule_AddObjectRef(module, "BOUNDARIES_63", boundaries);
    Py_XDECREF(boundaries);
    return status;
}

static int
core_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyTypeObject **types[] = TYPES(state);
    PyObject *time = PyImport_ImportModule("time");

    if (time == NULL || nilo_add_sources(module) < 0)
        return -1;
    state->perf_counter_ns = PyObject_GetAttrString(time, "perf_counter_ns");
    Py_DECREF(time);
    if (state->perf_counter_ns == NULL)
        return -1;
    for (size_t i = 0; i < TYPES_ALL; i++) {
        *types[i] = (PyTypeObject *)PyType_FromModuleAndSpec(module, &specs[i], NULL);
        if (*types[i] == NULL || (i < TYPES_PUBLIC && PyModule_AddType(module, *types[i]) < 0))
            return -1;
    }
    return add_boundaries(module);
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    PyTypeObject **types[] = TYPES(state);

    for (size_t i = 0; i < TYPES_ALL; i++)
        Py_VISIT(*types[i]);
    Py_VISIT(state->perf_counter_ns);
    return 0;
}

static int
core_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyTypeObject **types[] = TYPES(state);

    while (state->laps_kept > 0)
        PyObject_GC_Del(state->laps[--state->laps_kept]);
    for (size_t i = 0; i < TYPES_ALL; i++)
        Py_CLEAR(*types[i]);
    Py_CLEAR(state->perf_counter_ns);
    return 0;
}

static void
core_free(void *module)
{
    core_clear(module);
}

static PyMethodDef core_methods[] = {
    {"wrap", wrap, METH_VARARGS,
     PyDoc_STR("wrap($module, timer, function, kind, /)\n--\n\n"
               "Return what times each call of `function`, or each run of the body it makes.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nilometer.measure._core",
    .m_doc = PyDoc_STR("The C twin of nilometer.measure.pure."),
    .m_size = sizeof(State),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
