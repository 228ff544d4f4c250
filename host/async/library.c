#include "async/library.h"

#include <dlfcn.h>
#include <string.h>

bool mm_library_load(const char *const *files, const char *package, const struct mm_library_function *functions,
	size_t count, struct mm_fault *why)
{
	void *library = NULL, *known;
	memcpy(&known, functions[count - 1].to, sizeof known);
	if (known != NULL)              /* another thread may call it: nothing is written again */
		return true;
	for (size_t i = 0; library == NULL && files[i] != NULL; i++)
		library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s is missing; install the package %s", files[0], package);
	for (size_t i = 0; i < count; i++) {
		void *function = dlsym(library, functions[i].name);
		if (function == NULL)
			return mm_fault_set(why, MM_FAULT_CONFIG, "%s has no %s: it is another version than that of "
				"the package %s", files[0], functions[i].name, package);
		memcpy(functions[i].to, &function, sizeof function);
	}
	return true;
}
