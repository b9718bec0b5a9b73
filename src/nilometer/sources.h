/* Which sources a C twin was built from: setup.py says it, nilometer/twin.py asks for it.
 *
 * A twin that lies beside a newer Python file, as after `git pull` without a build, would be
 * asked for names that it lacks. What was not built by setup.py is not known to fit either.
 */

#ifndef NILOMETER_SOURCES_H
#define NILOMETER_SOURCES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifndef NILOMETER_SOURCES
#define NILOMETER_SOURCES "unknown"
#endif

static inline int
nilo_add_sources(PyObject *module)
{
    return PyModule_AddStringConstant(module, "SOURCES", NILOMETER_SOURCES);
}

#endif
