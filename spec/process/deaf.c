/* A kill() that sends no SIGKILL and no SIGABRT while the file $DEAF exists: what they are sent to seems not to die. */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int kill(pid_t pid, int number)
{
	int (*real)(pid_t, int) = (int (*)(pid_t, int))dlsym(RTLD_NEXT, "kill");
	const char *mark = getenv("DEAF");
	if ((number == SIGKILL || number == SIGABRT) && mark != NULL && access(mark, F_OK) == 0)
		return 0;
	return real(pid, number);
}
